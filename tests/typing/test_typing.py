"""Type checkers know what may be enqueued. The files in ``cases`` are checked, not run.

A line that must be refused says by which errors: ``# error: arg-type``. All other lines must pass.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = sorted((Path(__file__).parent / "cases").glob("*.py"))


def expected(path):
    found = set()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        _, marker, codes = line.partition("# error: ")
        if marker:
            found |= {(number, code) for code in codes.split()}
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_mypy_refuses_exactly_the_marked_lines(path, tmp_path):
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--hide-error-context"),
            *("--no-pretty", "--cache-dir", tmp_path, path),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert checked.stderr == ""
    lines = [line for line in checked.stdout.splitlines() if ": error: " in line]
    found = set()
    for line in lines:
        match = re.fullmatch(r"(.+?):(\d+):\d+: error: .* +\[([a-z-]+)\]", line)
        assert match, line
        assert (ROOT / match[1]) == path, line
        found.add((int(match[2]), match[3]))
    assert found == expected(path), checked.stdout


def test_there_are_cases_and_each_refuses_something():
    assert CASES
    assert all(expected(path) for path in CASES)


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "stem_core" / "py.typed").is_file()
