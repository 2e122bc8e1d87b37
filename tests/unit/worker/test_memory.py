import pytest

from stem_core.model import _cgroups as cgroups
from stem_core.worker import memory
from stem_core.worker.memory import Memory, read_memory

MIB = 2**20


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 16 MiB with 10 available, and an empty tree of control groups, this process in ``/pods/mine``."""
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "own")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "own").write_text("4:memory:/elsewhere\n0::/pods/mine\n")
    (tmp_path / "meminfo").write_text("MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:   10240 kB\n")
    (tmp_path / "cgroup/pods/mine").mkdir(parents=True)
    return tmp_path


def group(folder, limit, current, inactive=0, *, stat="anon 5\nfile 6\ninactive_anon 7\ninactive_file {}\n"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(stat.format(inactive))


THE_MACHINE = Memory(limit=16 * MIB, used=6 * MIB)


def test_the_machine_where_no_group_has_a_limit(machine):
    group(machine / "cgroup/pods/mine", "max", 5 * MIB)
    assert read_memory() == (THE_MACHINE,)


def test_the_own_group_and_those_above_without_what_the_kernel_would_give_back(machine):
    group(machine / "cgroup/pods/mine", 4 * MIB, 3 * MIB, 1 * MIB)
    group(machine / "cgroup/pods", 8 * MIB, 7 * MIB)
    assert read_memory() == (
        Memory(limit=4 * MIB, used=2 * MIB),
        Memory(limit=8 * MIB, used=7 * MIB),
        THE_MACHINE,
    )


def test_a_container_sees_its_own_group_as_the_root(machine):
    (machine / "own").write_text("0::/\n")
    group(machine / "cgroup", 4 * MIB, 3 * MIB)
    assert read_memory() == (Memory(limit=4 * MIB, used=3 * MIB), THE_MACHINE)


@pytest.mark.parametrize(("limit", "found"), [(4 * MIB, 1), (9223372036854771712, 0)])
@pytest.mark.parametrize("place", ["memory", "memory/elsewhere"])
def test_the_older_kind_of_groups(machine, limit, found, place):
    # The own group, or in a container the root of what is mounted.
    folder = machine / "cgroup" / place
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{3 * MIB}\n")
    (folder / "memory.stat").write_text(f"inactive_file 1\ntotal_inactive_file {MIB}\n")
    assert read_memory() == (Memory(limit=4 * MIB, used=2 * MIB),) * found + (THE_MACHINE,)


@pytest.mark.parametrize(
    ("file", "text"),
    [("meminfo", "MemTotal: 16384 kB\n"), ("meminfo", "MemTotal: many\n"), ("meminfo", "")],
)
def test_what_says_nothing_is_no_limit(machine, file, text):
    (machine / file).write_text(text)
    assert read_memory() == ()


def test_a_system_without_such_files(machine, monkeypatch):
    for name in ("own", "meminfo"):
        (machine / name).unlink()
    assert read_memory() == ()


def test_a_group_that_tells_half(machine):
    group(machine / "cgroup/pods/mine", 4 * MIB, 3 * MIB, stat="anon 5\n")
    assert read_memory() == (THE_MACHINE,)
