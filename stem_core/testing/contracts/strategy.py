"""Concurrency strategies: where a function runs, and what comes back of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from stem_core.contracts import StrategyProvider
from stem_core.errors import RemoteError, TaskInterrupted
from stem_core.plugins.runtime import assemble
from stem_core.testing.contracts.base import PATIENCE
from stem_core.testing.contracts.case import Case
from stem_core.testing.contracts.scripts import RemoteScript, ScriptedInvoker, call, raised, until
from stem_core.testing.scripted import label


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
        assert raised(caught.value) == "ValueError: no"
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
        assert "StopIteration" in raised(caught.value)
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

    async def test_more_slots_take_no_less_memory(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 2)
        await strategy.start()
        sizes = [strategy.memory_for(slots) for slots in (1, 2, 4, 8)]
        assert sizes[:2] == [0, 0]
        assert sizes == sorted(sizes)
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
