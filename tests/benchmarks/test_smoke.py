"""The harness itself: each row with a handful of jobs, and what is reported of it. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import pools, report
from benchmarks.catalog import MEASURES, SUBJECTS, TABLES, TARGETS
from benchmarks.command import main
from benchmarks.model import Subject
from benchmarks.sampling import Samples
from benchmarks.sampling import missing as left_out
from benchmarks.servers import Servers

ABOUT = {
    "date": "2030-01-01T00:00:00+00:00",
    "commit": "0123456789ab",
    "changed": False,
    "versions": {"python": "3.11.0"},
    "machine": {
        "system": "Linux",
        "processor": "a processor",
        "cpus": 2,
        "memory_gb": 1.0,
        "load": 0.0,
        "fdatasync_us": 100,
    },
}


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_every_row_is_measured_and_reported(
    subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "bench.json"
    given = ["--size", "tiny", "-r", "1", "--no-warm-up", "--json", str(written), "--folder", str(tmp_path)]
    code = main([*given, "-s", subject.name])
    markdown, told = capsys.readouterr()
    found = json.loads(written.read_text())
    assert found["failed"] == []
    assert code == 0
    missing = bool(left_out(subject, Servers(tmp_path)))
    assert set(found["skipped"]) == ({subject.name} if missing else set())
    assert (f"| {subject.name} |" in markdown) != missing
    measured = {MEASURES[row["measure"]].scenario for row in found["rows"] if row["measure"] in MEASURES}
    assert measured == (set() if missing else set(subject.scenarios))
    for row in found["rows"]:
        assert row["subject"] == subject.name
        assert row["min"] <= row["median"] <= row["max"]
        # What costs next to nothing may have come out faster.
        assert row["min"] >= 0 or row["measure"].endswith("_cost")
        assert row["samples"]
    assert {"python", "sqlite", "stem-core"} <= found["versions"].keys()
    assert found["commit"]
    assert found["machine"]["fdatasync_us"] >= 0
    keys = {row["measure"] for row in found["rows"]}
    for title, _, measures in TABLES:
        assert (f"**{title}**" in markdown) == bool({measure.key for measure in measures} & keys)
    assert "written: " in told
    assert list(tmp_path.iterdir()) == [written], "the databases are gone"


@pytest.mark.slow
def test_a_job_on_redis_costs_few_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands are counted, not timed: this holds on a busy machine too. Of scripts, each command in them counts."""
    written = tmp_path / "bench.json"
    given = ["--size", "quick", "-r", "1", "--no-warm-up", "--json", str(written), "--folder", str(tmp_path)]
    main([*given, "-s", "stem redis", "-m", "drain", "-m", "drain_bare"])
    capsys.readouterr()
    found = json.loads(written.read_text())
    if "stem redis" in found["skipped"]:
        pytest.skip(found["skipped"]["stem redis"])
    assert found["failed"] == []
    rows = {(row["subject"], row["measure"]): row["max"] for row in found["rows"]}
    assert rows["stem redis", "drain_commands"] <= 2.2
    # One, and the share of a claim and a settlement of some 67 jobs each.
    assert rows["stem redis", "drain_bare_commands"] <= 1.4


def test_cells_are_medians_and_ratios_are_of_one_repetition() -> None:
    samples = Samples()
    for ours, theirs in ((9_000.0, 3_000.0), (12_000.0, 2_000.0), (8_000.0, 1_600.0)):
        samples.add("stem sqlite", {"drain": ours})
        samples.add("huey sqlite", {"drain": theirs})
    judged = {target.text: (value, met) for target, value, met in report.judged(samples)}
    # Ratios 3, 6 and 5: that of the medians would be 4.5.
    assert judged["SQLite drain with results, times that of huey"] == (5.0, True)
    assert judged["SQLite drain with results, jobs/s"] == (9_000.0, True)
    markdown = report.as_markdown(samples, ABOUT, 3)
    assert "| stem sqlite | - | - | - | 9,000 (8,000 to 12,000) | - |" in markdown
    assert "| SQLite drain with results, times that of huey | >= 4 | 5.00 | yes |" in markdown
    assert "**Latency**" not in markdown, "a table without a row is left out"


def test_a_pool_is_judged_by_the_time_in_which_all_its_processes_work() -> None:
    # One process ends a task each 10 ms from the start, the other joins after a second; each task takes it 8 ms.
    alone = [(number / 100, number * 0.008, 1) for number in range(300)]
    joined = [(1 + number / 100 + 0.005, number * 0.008, 2) for number in range(200)]
    assert pools.rate(alone) == pytest.approx(100)
    assert pools.rate(alone + joined) == pytest.approx(200, rel=0.01)
    assert pools.processor_time(alone + joined) == pytest.approx(8_000)
    assert pools.gain("work", alone, alone + joined)["work_gain"] == pytest.approx(2, rel=0.01)
    # The parent's second is shared by all.
    assert pools.calls(alone + joined, 1.0)["calls_cpu"] == pytest.approx(10_000)


def test_of_a_handful_of_tasks_one_process_may_have_run_all() -> None:
    early = [(number / 100, 0.0, 1) for number in range(20)]
    assert pools.rate([*early, (0.5, 0.0, 2)]) > 0


def test_what_was_left_out_or_failed_is_told() -> None:
    samples = Samples(skipped={"huey sqlite": "huey is not installed"}, failed={("stem sqlite", "drain"): "disk full"})
    markdown = report.as_markdown(samples, {**ABOUT, "changed": True}, 1)
    assert "Left out: huey sqlite: huey is not installed." in markdown
    assert "FAILED: stem sqlite, drain: disk full" in markdown
    assert "commit 0123456789ab with local changes" in markdown


def test_targets_name_rows_and_columns_that_are_there() -> None:
    names = {subject.name for subject in SUBJECTS}
    for target in TARGETS:
        assert target.subject in names
        assert set(target.beside) <= names
        assert target.key in MEASURES
        assert target.beside_key in {"", *MEASURES}


def test_rows_and_columns_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "-s", "memory", "-m", "drain"]) == 0
    assert capsys.readouterr().out.splitlines() == ["stem memory: drain", "raw loop memory: drain"]
    with pytest.raises(SystemExit, match="nothing is called"):
        main(["--list", "-s", "no such row"])
