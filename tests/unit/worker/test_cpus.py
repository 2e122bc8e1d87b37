import os

import pytest

from stem_core.model import _cgroups as cgroups
from stem_core.worker import cpus


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Eight processors, and an empty tree of control groups in which this process is in ``/pods/mine``."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "own")
    (tmp_path / "own").write_text("0::/pods/mine\n")
    (tmp_path / "cgroup/pods/mine").mkdir(parents=True)
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("9900000 100000", 8),
        ("?", 8),
    ],
)
def test_the_quota_of_the_own_group(machine, limit, expected):
    (machine / "pods/mine/cpu.max").write_text(limit)
    assert cpus.usable_cpus() == expected


def test_the_smallest_quota_on_the_way_up(machine):
    (machine / "pods/mine/cpu.max").write_text("400000 100000")
    (machine / "pods/cpu.max").write_text("300000 100000")
    assert cpus.usable_cpus() == 3


def test_the_older_kind_of_groups(machine):
    (machine / "cpu").mkdir()
    (machine / "cpu/cpu.cfs_quota_us").write_text("250000\n")
    (machine / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cpus.usable_cpus() == 3
    (machine / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert cpus.usable_cpus() == 8


def test_the_own_group_of_the_older_kind_and_those_above(machine, tmp_path):
    (tmp_path / "own").write_text("5:cpu,cpuacct:/pods/mine\n4:memory:/other\n")
    for folder, quota in (("cpu/pods/mine", 600_000), ("cpu/pods", 250_000)):
        (machine / folder).mkdir(parents=True, exist_ok=True)
        (machine / folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (machine / folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus.usable_cpus() == 3


def test_no_groups_at_all(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "nowhere")
    assert cpus.usable_cpus() == 8
