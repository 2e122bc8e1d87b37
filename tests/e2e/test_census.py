from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "examples" / "census" / "run.py"
LIBRARY = Path(os.__file__).parent


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def census(folder, scratch, **environment):
    # A shell's own settings must not reach the demo.
    environment = {"STEM_WORKER_CONCURRENCY": "many", "STEM_BROKER_URL": "nowhere://", **environment}
    return subprocess.Popen(
        [sys.executable, str(RUN), str(folder)],
        env={**os.environ, **environment, "TMPDIR": str(scratch)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(report):
    return {
        name: int(number.replace(",", ""))
        for name, number in re.findall(r"^  (\S.*?) {2,}([\d,]+) ", report, re.MULTILINE)
    }


def left_behind(scratch):
    """What a census left: files, and processes that know its folder."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(scratch).encode() in entry.read_bytes():
                processes.append(entry.parent.name)
        except OSError:  # ended meanwhile
            continue
    return [*scratch.iterdir(), *processes]


def make_files(folder):
    for number in range(400):
        path = folder / f"part{number % 7}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def f{number}():\n    return {number}\n" * 20)
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "latin.py").write_bytes(b"name = '\xe9'\n")
    (folder / "picture.png").write_bytes(bytes(range(256)))
    (folder / "notes.txt").write_text("one\ntwo\n")
    (folder / "empty").write_text("")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "file.pyc").write_bytes(b"\xff")


def test_every_file_has_one_outcome_although_a_worker_is_killed(tmp_path, scratch):
    folder = tmp_path / "with spaces & 100% of it"
    make_files(folder)
    fingerprints = set()
    for kill in ("1", "0"):
        with census(folder, scratch, KILL=kill) as running:
            report, told = running.communicate(timeout=50)
        assert (running.returncode, told.count("kill -9")) == (0, int(kill)), told
        assert "complete: every file has exactly one outcome" in report
        counted = rows(report)
        assert {name: counted[name] for name in ("files in", "succeeded", "dead", "missing", "retried", "killed")} == {
            "files in": 405, "succeeded": 402, "dead": 3, "missing": 0, "retried": 3, "killed": int(kill)
        }  # fmt: skip
        if kill == "1":
            assert counted["repeated"] <= 8
        assert "16,002 lines, 8,000 functions" in report
        fingerprints.add(re.search(r"fingerprint (\w+)", report)[1])
    assert len(fingerprints) == 1
    assert left_behind(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_census_that_is_stopped_leaves_nothing_behind(scratch, number):
    with census(LIBRARY, scratch) as running:
        assert "files" in running.stderr.readline()
        running.send_signal(number)
        _, told = running.communicate(timeout=30)
    assert told.endswith("census: stopped; the workers have ended, nothing is left behind\n")
    assert running.returncode == 130
    assert left_behind(scratch) == []


def test_an_empty_folder_is_told(scratch):
    with census(scratch, scratch) as running:
        _, told = running.communicate(timeout=30)
    assert (running.returncode, told) == (2, f"census: there are no files under {scratch}\n")
