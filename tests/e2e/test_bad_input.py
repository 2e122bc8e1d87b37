from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import attrs
import pytest

from e2e.bad_input_cases import CASES, TASKS
from e2e.bad_input_redis import REDIS_CASES
from stem_core.worker.identity import host_name
from support.copied import Ended, original
from support.wrong_servers import wrong_server

ROWS = [*CASES, *REDIS_CASES]
#: The first of each group is typed as a person types it; of the others, each is a copy of one process that has
#: imported Stem: what they do is the same, and a hundred starts of an interpreter cost half a minute.
TYPED = {row.group: row.name for row in reversed(ROWS)}.values()

_PLACEHOLDERS = {
    "{pid}": r"\d+",
    "{seconds}": r"\d+",
    "{size}": r"\d,\d\d\d",
    "{time}": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00",
}

# Where installed plugins are listed, the cases know core and SQLite; the environment of the tests has more.
_OTHER_PLUGINS = re.compile(r"\b(nats|nats\+tls|redis|rediss|redis\+unix|redis\+unixs)(://)?, ")


@pytest.fixture
def case(request):
    """The row, with the port of the server that it needs."""
    row = request.param
    if not row.server:
        yield row
        return
    with wrong_server(row.server) as port:
        environment = {name: text.replace("{port}", str(port)) for name, text in row.environment.items()}
        yield attrs.evolve(row, environment=environment, stderr=row.stderr.replace("{port}", str(port)))


@pytest.fixture(scope="module")
def copied():
    with original({"PATH": os.environ.get("PATH", os.defpath), "PYTHONDONTWRITEBYTECODE": "1"}) as interpreter:
        yield interpreter


@pytest.mark.parametrize("case", ROWS, indirect=True, ids=lambda case: case.name)
def test_bad_input_is_told_in_full(case, tmp_path, tmp_path_factory, copied):
    for name, text in {"tasks.py": TASKS, **case.files}.items():
        (tmp_path / name).write_text(text)
    for name, script in case.databases.items():
        with closing(sqlite3.connect(tmp_path / name)) as database:
            database.executescript(script)
    with meanwhile(case, tmp_path):
        if case.name in TYPED:
            done = typed(case, tmp_path)
        else:
            output = tmp_path_factory.mktemp("output")
            done = copied.run(case.arguments, folder=tmp_path, environment=environment(case), output=output)
    assert "Traceback" not in done.stderr
    told = _OTHER_PLUGINS.sub("", done.stderr)
    if re.fullmatch(pattern(case.stderr, tmp_path), told) is None:
        # Shows the difference.
        assert told == case.stderr.replace("{home}", str(tmp_path))
    assert done.stdout == ""
    assert done.returncode == case.exit_code


def test_names_are_unique():
    names = [case.name for case in ROWS]
    assert sorted(set(names)) == sorted(names)


def typed(case, folder):
    done = subprocess.run(
        [sys.executable, "-m", "stem_core", *case.arguments],
        cwd=folder,
        env=environment(case),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def environment(case):
    # A home of its own is not needed: nothing is read from it.
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONDONTWRITEBYTECODE": "1", **case.variables}


@contextmanager
def meanwhile(case, folder):
    if not case.meanwhile:
        yield
        return
    command = [sys.executable, "-m", "stem_core", *case.meanwhile.split()[1:]]
    with subprocess.Popen(command, cwd=folder, env=environment(case), stderr=subprocess.PIPE, text=True) as running:
        try:
            # Its banner comes when it is known to all.
            assert "worker web1" in running.stderr.readline()
            yield
        finally:
            running.terminate()
            running.stderr.read()
    assert running.returncode == 0


def pattern(text, home):
    escaped = re.escape(text.replace("{home}", str(home)).replace("{host}", host_name()))
    for placeholder, expression in _PLACEHOLDERS.items():
        escaped = escaped.replace(re.escape(placeholder), expression)
    return escaped
