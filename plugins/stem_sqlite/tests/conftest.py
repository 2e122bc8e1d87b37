"""What the tests of this plugin share."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts import StoreContext
from stem_core.model import StoreUrl
from stem_core.testing.contracts.base import WINDOW, OpenedStore
from stem_sqlite import opening
from stem_sqlite.connection import EngineOptions
from stem_sqlite.database import Database
from stem_sqlite.settings import SqliteSettings

OpenSqlite = Callable[..., AbstractAsyncContextManager[OpenedStore]]

#: What the programs of other processes begin with.
_PREAMBLE = """
import asyncio, json, os, sys, time
from stem_core.contracts import StoreContext
from stem_core.model import *
from stem_core.clock import SYSTEM_CLOCK
from stem_sqlite import opening
from stem_sqlite.settings import SqliteSettings

PATH = sys.argv[1]

def context(**changes):
    return StoreContext(url=StoreUrl.parse("sqlite:///" + PATH), namespace="test", **changes)

def message(id, **changes):
    return Message(**{"id": id, "queue": "default", "priority": 5, "header": b"{}", "payload": b"[[],{}]"} | changes)

def say(**content):
    print(json.dumps(content), flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of the test is."""
    return tmp_path / "stem.db"


@pytest.fixture
def open_sqlite(path: Path) -> OpenSqlite:
    """Opens broker, backend and state store of the test's database."""

    @asynccontextmanager
    async def opener(
        clock: Clock = SYSTEM_CLOCK,
        *,
        dedupe_window: float = WINDOW,
        namespace: str = "test",
        settings: SqliteSettings | None = None,
    ) -> AsyncIterator[OpenedStore]:
        context = StoreContext(
            url=StoreUrl.parse(f"sqlite:///{path}"),
            namespace=namespace,
            clock=clock,
            dedupe_window=dedupe_window,
            settings=settings,
        )
        async with (
            opening.open_broker(context) as broker,
            opening.open_backend(context) as backend,
            opening.open_state(context) as state,
        ):
            yield OpenedStore(broker=broker, backend=backend, state=state)

    return opener


@pytest.fixture
def options(path: Path) -> EngineOptions:
    """How :class:`Database` opens the test's database."""
    return EngineOptions(path=path, clock=SYSTEM_CLOCK, synchronous="full", busy_timeout=5.0, poll_interval=0.025)


@pytest.fixture
async def database(options: EngineOptions) -> AsyncIterator[Database]:
    """The test's database, without a broker."""
    opened = Database(options)
    await opened.start()
    yield opened
    await opened.close()


class Program:
    """A Python program in a process of its own, which says JSON lines."""

    def __init__(self, path: Path, source: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PREAMBLE + textwrap.dedent(source), str(path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> dict[str, Any]:
        """The next line that the program says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the program ended with {self.process.wait()} and said nothing"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def tell(self) -> None:
        """Let the program go on that waits for a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for the end of the program; its exit code."""
        self.process.communicate(timeout=30)
        return self.process.returncode


StartProgram = Callable[..., Program]


@pytest.fixture
def start(path: Path) -> Iterator[StartProgram]:
    """Starts programs that work on the test's database, and ends those that are left."""
    programs: list[Program] = []

    def starter(source: str, *arguments: object) -> Program:
        programs.append(Program(path, source, *arguments))
        return programs[-1]

    yield starter
    for program in programs:
        program.process.kill()
        program.process.communicate()
