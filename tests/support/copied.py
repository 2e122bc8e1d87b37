"""Commands of ``stem`` in copies of an interpreter that has imported it: each is a process with a folder, variables,
streams and an end of its own, and saves the third of a second that the imports take.

As a program this is that interpreter. It reads one JSON line for each command from standard input, forks, and answers
with the copy's exit code.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from stem_core.cli.main import main

#: What nearly every command imports.
IMPORTED = (
    "stem_core.bootstrap",
    "stem_core.builtin.plugin",
    "stem_core.plugins.runtime",
    "stem_core.worker.logs",
    "stem_core.worker.worker",
    "stem_redis.opening",
    "stem_sqlite.opening",
)
#: A command that takes longer, in seconds, is ended by SIGALRM.
PATIENCE = 30


@attrs.frozen
class Ended:
    """What came of one command."""

    returncode: int
    stdout: str
    stderr: str


class Original:
    """The interpreter that is copied, as the tests see it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], output: Path) -> Ended:
        """Run ``python -m stem_core`` with these arguments there; its output goes through files in ``output``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        streams = [output / "stdout", output / "stderr"]
        asked = {
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "streams": [str(path) for path in streams],
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Ended(code, *(path.read_text() for path in streams))


@contextmanager
def original(environment: Mapping[str, str]) -> Iterator[Original]:
    """Start the interpreter; it ends at the end. What Python itself reads of the environment, the copies have of it."""
    with subprocess.Popen(
        [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Original(process)


def _serve() -> None:
    """Returns in a copy, which is to be the command now; the original ends here."""
    gc.freeze()
    for line in sys.stdin:
        if (copy := os.fork()) == 0:
            return _become(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), flush=True)
    sys.exit()


def _become(asked: dict[str, Any]) -> None:
    signal.alarm(PATIENCE)
    folder, arguments, environment, streams = (asked[key] for key in ("folder", "arguments", "environment", "streams"))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate([os.devnull, *streams]):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.path[0] = folder
    sys.argv[1:] = arguments


if __name__ == "__main__":
    for module in IMPORTED:
        import_module(module)
    _serve()
    main()
