"""Invokers whose tasks are written here: what the cases for strategies run, in this process and in others."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

from stem_core.contracts import Call, ChildPlan
from stem_core.errors import RemoteError, TaskInterrupted
from stem_core.testing.contracts.base import PATIENCE
from stem_core.testing.scripted import label


async def until(ready: Callable[[], bool]) -> None:
    """Return when ``ready()`` holds, which may be the doing of a thread."""
    async with asyncio.timeout(PATIENCE):
        while not ready():  # noqa: ASYNC110 - events of asyncio cannot be set by a thread
            await asyncio.sleep(0.002)


class ScriptedInvoker:
    """An invoker whose tasks are the methods of this class, named by ``Call.task``.

    ``started`` is set when a call begins and ``gate`` lets the ones that wait go on. Both are of ``threading``;
    on the event loop they are polled.
    """

    def __init__(self) -> None:
        self.started = threading.Event()
        self.gate = threading.Event()
        self.lock = threading.Lock()
        self.threads: set[int] = set()
        self._now = 0
        self._most = 0
        self._ended: list[str] = []

    @property
    def now(self) -> int:
        """How many functions run."""
        return self._now

    @property
    def most(self) -> int:
        """The most that ever ran at once."""
        return self._most

    @property
    def ended(self) -> list[str]:
        """The ids of calls that have ended, in order."""
        return self._ended

    @property
    def children(self) -> ChildPlan:
        """Functions run in this process."""
        raise NotImplementedError

    def begin(self, call: Call) -> bytes:
        raise NotImplementedError

    def news(self, call: Call, message: bytes) -> None:
        raise NotImplementedError

    def finish(self, call: Call, report: bytes) -> bytes:
        raise NotImplementedError

    async def call(self, call: Call) -> bytes:
        self._enter()
        try:
            if call.task == "wait":
                await until(self.gate.is_set)
            return self._body(call)
        finally:
            self._leave(call)

    def call_sync(self, call: Call) -> bytes:
        self._enter()
        try:
            if call.task == "wait":
                self.gate.wait(PATIENCE)
            return self._body(call)
        finally:
            self._leave(call)

    def _enter(self) -> None:
        with self.lock:
            self._now += 1
            self._most = max(self._most, self._now)
            self.threads.add(threading.get_ident())
        self.started.set()

    def _leave(self, call: Call) -> None:
        with self.lock:
            self._now -= 1
            self._ended.append(call.id)

    def _body(self, call: Call) -> bytes:
        if call.task == "fail":
            raise ValueError(call.payload.decode())
        if call.task == "interrupt":
            raise TaskInterrupted("revoked")
        if call.task == "stop":
            raise StopIteration
        if call.task == "label":
            seen = label.get()
            label.set("changed by the task")
            return seen.encode()
        return call.payload


class _Gate(threading.Event):
    """An event that is a file, so that other processes see it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def set(self) -> None:
        self._path.touch()

    def is_set(self) -> bool:
        return self._path.exists()


class RemoteScript(ScriptedInvoker):
    """The same for a strategy whose functions run in other processes: see :mod:`stem_core.testing.scripted`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.gate = _Gate(folder / "gate")
        self.started = _Gate(folder / "events")

    @property
    def events(self) -> list[list[str]]:
        """What happened there: ``+ id pid``, ``! id reason``, ``- id``."""
        path = self._folder / "events"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def now(self) -> int:
        kinds = [kind for kind, *_ in self.events]
        return kinds.count("+") - kinds.count("-")

    @property
    def ended(self) -> list[str]:
        return [rest[0] for kind, *rest in self.events if kind == "-"]

    @property
    def children(self) -> ChildPlan:
        return ChildPlan(host="stem_core.testing.scripted:open_script", setup=str(self._folder).encode(), processes=16)

    def begin(self, call: Call) -> bytes:
        return json.dumps([call.id, call.task, call.payload.decode()]).encode()

    def finish(self, call: Call, report: bytes) -> bytes:
        kind, *rest = json.loads(report)
        if kind == "error":
            raise RemoteError(rest[0], rest[1])
        if kind == "interrupted":
            raise TaskInterrupted(rest[0])
        result: str = rest[0]
        return result.encode()


def raised(error: BaseException) -> str:
    """The error of a function, wherever it ran."""
    if isinstance(error, RemoteError):
        return f"{error.error_type}: {error.error}"
    return f"{type(error).__name__}: {error}"


def call(id: str = "a", task: str = "echo", payload: bytes = b"[[],{}]") -> Call:
    """One call; ``task`` names what the scripted invoker does."""
    return Call(id=id, attempt=1, task=task, payload=payload, context=None)
