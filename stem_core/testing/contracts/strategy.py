"""Concurrency strategies: where a function runs, and what comes back of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from stem_core.contracts import Call, ChildPlan, StrategyProvider
from stem_core.errors import RemoteError, TaskInterrupted
from stem_core.plugins.runtime import assemble
from stem_core.testing.contracts.base import PATIENCE
from stem_core.testing.contracts.case import Case
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


def _raised(error: BaseException) -> str:
    """The error of a function, wherever it ran."""
    if isinstance(error, RemoteError):
        return f"{error.error_type}: {error.error}"
    return f"{type(error).__name__}: {error}"


def call(id: str = "a", task: str = "echo", payload: bytes = b"[[],{}]") -> Call:
    """One call; ``task`` names what the scripted invoker does."""
    return Call(id=id, attempt=1, task=task, payload=payload, context=None)


class StrategyContract(Case):
    """:class:`~stem_core.contracts.ConcurrencyStrategy`. Set :attr:`strategy`, or override the fixture ``provider``."""

    #: The name of the strategy, as in ``strategy="mine"``.
    strategy: ClassVar[str] = ""
    #: What ``-p`` would say: names of installed plugins, modules that are not installed. None: all that are installed.
    plugins: ClassVar[Sequence[str] | None] = None

    @pytest.fixture
    def provider(self) -> StrategyProvider:
        """What the plugin declares for the strategy."""
        if not self.strategy:
            raise pytest.UsageError(f"{type(self).__name__} has to set strategy, or to override the fixture provider")
        return assemble(environ={}, selection=self.plugins).strategies.get(self.strategy)

    @pytest.fixture
    def invoker(self, provider: StrategyProvider, tmp_path: Path) -> ScriptedInvoker:
        """What the strategy calls."""
        return RemoteScript(tmp_path) if provider.isolated else ScriptedInvoker()

    async def test_the_result_comes_back(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 4)
        assert await strategy.run(call(payload=b"\xc3\xa9")) == b"\xc3\xa9"
        await strategy.close("drain")

    async def test_the_error_comes_back(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 4)
        with pytest.raises((ValueError, RemoteError)) as caught:
            await strategy.run(call(task="fail", payload=b"no"))
        assert _raised(caught.value) == "ValueError: no"
        assert await strategy.run(call()) == b"[[],{}]"
        await strategy.close("drain")

    async def test_an_interruption_comes_back(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 4)
        with pytest.raises(TaskInterrupted) as caught:
            await strategy.run(call(task="interrupt"))
        assert caught.value.reason == "revoked"
        assert await strategy.run(call()) == b"[[],{}]"
        await strategy.close("drain")

    async def test_a_stop_iteration_does_not_hang(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 4)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises((RuntimeError, RemoteError)) as caught:
                await strategy.run(call(task="stop"))
        assert "StopIteration" in _raised(caught.value)
        await strategy.close("drain")

    async def test_many_calls_end_each_with_its_own_result(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 8)
        calls = [call(id=f"c{n}", payload=b"%d" % n) for n in range(200)]
        results = await asyncio.gather(*(strategy.run(one) for one in calls))
        assert results == [b"%d" % n for n in range(200)]
        await strategy.close("drain")

    async def test_slots_run_at_once(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 5)
        runs = [asyncio.create_task(strategy.run(call(id=f"c{n}", task="wait"))) for n in range(5)]
        await until(lambda: invoker.now == 5)
        invoker.gate.set()
        assert len(await asyncio.gather(*runs)) == 5
        await strategy.close("drain")

    async def test_more_slots_run_more_at_once(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 1)
        await strategy.resize(4)
        runs = [asyncio.create_task(strategy.run(call(id=f"c{n}", task="wait"))) for n in range(4)]
        await until(lambda: invoker.now == 4)
        invoker.gate.set()
        await asyncio.gather(*runs)
        await strategy.close("drain")

    async def test_fewer_slots_cut_nothing(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 4)
        runs = [asyncio.create_task(strategy.run(call(id=f"c{n}", task="wait"))) for n in range(4)]
        await until(lambda: invoker.now == 4)
        await strategy.resize(1)
        assert invoker.now == 4
        invoker.gate.set()
        await asyncio.gather(*runs)
        assert await strategy.run(call()) == b"[[],{}]"
        await strategy.close("drain")

    async def test_resizing_down_and_up_again_keeps_it_running(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 4)
        for slots in (1, 4, 2, 4):
            await strategy.resize(slots)
            calls = [strategy.run(call(id=f"c{n}")) for n in range(20)]
            async with asyncio.timeout(PATIENCE):
                assert len(await asyncio.gather(*calls)) == 20
        await strategy.close("drain")

    async def test_the_function_sees_the_context_of_its_call_and_changes_only_its_own(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 2)

        async def run(name: str) -> bytes:
            label.set(name)
            return await strategy.run(call(task="label"))

        # Each in an asyncio task of its own, as the worker does it.
        results = await asyncio.gather(*(asyncio.create_task(run(f"job {n}")) for n in range(6)))
        if provider.isolated:
            # Context variables stay in the process; but no call sees what another one set there.
            assert results == [b"unset"] * 6
        else:
            assert results == [b"job %d" % n for n in range(6)]
        assert label.get() == "unset"
        await strategy.close("drain")

    async def test_draining_waits_for_what_runs(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 2)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        closing = asyncio.create_task(strategy.close("drain"))
        await asyncio.sleep(0.02)
        assert not closing.done()
        invoker.gate.set()
        async with asyncio.timeout(PATIENCE):
            await closing
        assert await run == b"[[],{}]"
        assert invoker.ended == ["a"]

    async def test_draining_twice_at_once(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 2)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        first, second = (asyncio.create_task(strategy.close("drain")) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait([first])
        assert not second.done()
        invoker.gate.set()
        async with asyncio.timeout(PATIENCE):
            await second
        await run

    async def test_draining_an_idle_strategy(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        async with asyncio.timeout(PATIENCE):
            await provider.open(invoker, 2).close("drain")

    async def test_draining_ends_the_threads(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        before = set(threading.enumerate())
        strategy = provider.open(invoker, 3)
        await asyncio.gather(*(strategy.run(call(id=f"c{n}")) for n in range(12)))
        await strategy.close("drain")
        assert set(threading.enumerate()) <= before

    async def test_abandoning_returns_at_once(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 2)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        async with asyncio.timeout(PATIENCE / 2):
            await strategy.close("abandon")
            run.cancel()
            await asyncio.wait([run])
        assert run.cancelled()
        invoker.gate.set()

    async def test_a_cancelled_run_ends_as_cancelled(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 2)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        run.cancel()
        await asyncio.sleep(0.01)
        invoker.gate.set()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(asyncio.CancelledError):
                await run
        assert invoker.ended == ["a"]
        await strategy.close("drain")
