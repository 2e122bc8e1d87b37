"""The built-in strategies against the contract cases, and what is special about each."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading

import pytest

from stem_core.builtin.plugin import stem_register_concurrency_strategies
from stem_core.contracts import Call, ChildPlan, StrategyProvider
from stem_core.errors import ProcessLost, TaskInterrupted, WorkerFailed
from stem_core.testing.contracts.base import PATIENCE
from stem_core.testing.contracts.scripts import ScriptedInvoker, call, until
from stem_core.testing.contracts.strategy import StrategyContract

PROVIDERS = {provider.name: provider for provider in stem_register_concurrency_strategies()}


class TestEventLoop(StrategyContract):
    @pytest.fixture
    def provider(self) -> StrategyProvider:
        return PROVIDERS["event_loop"]

    async def test_it_runs_on_the_loop_of_the_caller(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 1)
        await strategy.run(call())
        assert invoker.threads == {threading.get_ident()}

    async def test_a_cancellation_reaches_the_function_at_its_await(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 1)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await asyncio.sleep(0.01)
        run.cancel()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(asyncio.CancelledError):
                await run
        assert not invoker.gate.is_set()
        assert invoker.ended == ["a"]


class TestProcesses(StrategyContract):
    @pytest.fixture
    def provider(self) -> StrategyProvider:
        return PROVIDERS["processes"]

    async def running(self, strategy, invoker, **given):
        run = asyncio.create_task(strategy.run(one := call(task="wait", **given)))
        await until(lambda: any(event[:2] == ["+", one.id] for event in invoker.events))
        return run, one

    async def test_an_interruption_is_told_to_the_process(self, provider, invoker) -> None:
        strategy = provider.open(invoker, 1)
        run, one = await self.running(strategy, invoker)
        assert strategy.interrupt(one, "revoked")
        await until(lambda: ["!", "a", "revoked"] in invoker.events)
        invoker.gate.set()
        assert await run == b"[[],{}]"
        await strategy.close("drain")

    async def test_a_killed_call_is_interrupted_and_its_process_replaced(self, provider, invoker) -> None:
        strategy = provider.open(invoker, 1)
        run, one = await self.running(strategy, invoker)
        assert not strategy.kill(call(id="another"), "time-limit")
        assert strategy.kill(one, "time-limit")
        with pytest.raises(TaskInterrupted) as caught:
            await run
        assert caught.value.reason == "time-limit"
        assert not strategy.kill(one, "time-limit")
        assert await strategy.run(call(id="b")) == b"[[],{}]"
        first, second = (event[2] for event in invoker.events if event[0] == "+")
        assert first != second
        await strategy.close("drain")

    async def test_a_process_that_ends_costs_the_one_call(self, provider, invoker) -> None:
        strategy = provider.open(invoker, 2)
        run, _ = await self.running(strategy, invoker, id="neighbour")
        with pytest.raises(ProcessLost) as caught:
            await strategy.run(call(task="exit", payload=b"7"))
        assert (caught.value.exit_status, caught.value.signal) == (7, None)
        assert caught.value.peak_rss > 2**20
        invoker.gate.set()
        assert await run == b"[[],{}]"
        assert await strategy.run(call(id="b")) == b"[[],{}]"
        await strategy.close("drain")

    @pytest.mark.parametrize("way", ["interrupt", "kill", "cancel"])
    async def test_what_waits_for_a_process_never_starts(self, provider, invoker, way) -> None:
        strategy = provider.open(invoker, 1)
        first, _ = await self.running(strategy, invoker, id="first")
        waiting = asyncio.create_task(strategy.run(second := call(id="second")))
        await asyncio.sleep(0.01)
        if way == "cancel":
            waiting.cancel()
        else:
            getattr(strategy, way)(second, "revoked")
        with pytest.raises((TaskInterrupted, asyncio.CancelledError)):
            await waiting
        invoker.gate.set()
        await first
        await strategy.close("drain")
        assert invoker.ended == ["first"]

    async def test_a_call_that_is_not_to_run_any_more(self, provider, invoker) -> None:
        strategy = provider.open(invoker, 1)
        begin = invoker.begin

        def refuse(one: Call) -> bytes:
            raise TaskInterrupted("revoked")

        invoker.begin = refuse
        with pytest.raises(TaskInterrupted):
            await strategy.run(call())
        invoker.begin = begin
        assert await strategy.run(call(id="b")) == b"[[],{}]"
        await strategy.close("drain")
        assert invoker.ended == ["b"]

    async def test_requests_and_reports_larger_than_any_buffer(self, provider, invoker) -> None:
        strategy = provider.open(invoker, 1)
        large = b"x" * (5 * 2**20)
        for _ in range(2):
            assert await strategy.run(call(payload=large)) == large
        await strategy.close("drain")

    async def test_it_starts_before_the_first_call_and_ends_with_the_drain(self, provider, invoker) -> None:
        strategy = provider.open(invoker, 2)
        await strategy.start()
        pids = [child.pid for child in strategy._children]
        assert len(pids) == 2
        await strategy.close("drain")
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    async def test_children_that_cannot_start(self, provider, invoker, caplog) -> None:
        plan = invoker.children

        class Broken(type(invoker)):
            children = ChildPlan(host="no.such.module:host", setup=plan.setup)

        strategy = provider.open(Broken(invoker._folder), 1)
        with pytest.raises(WorkerFailed, match="a child process could not start: ModuleNotFoundError"):
            await strategy.start()
        await strategy.close("abandon")
        assert "No module named 'no'" in caplog.text


class TestThreads(StrategyContract):
    @pytest.fixture
    def provider(self) -> StrategyProvider:
        return PROVIDERS["threads"]

    async def test_it_runs_in_threads_of_its_own(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 3)
        await asyncio.gather(*(strategy.run(call(id=f"c{n}")) for n in range(50)))
        assert threading.get_ident() not in invoker.threads
        assert len(invoker.threads) <= 3
        await strategy.close("drain")

    async def test_never_more_at_once_than_slots(self, provider: StrategyProvider, invoker: ScriptedInvoker) -> None:
        strategy = provider.open(invoker, 2)
        runs = [asyncio.create_task(strategy.run(call(id=f"c{n}", task="wait"))) for n in range(6)]
        await until(lambda: invoker.now == 2)
        await asyncio.sleep(0.02)
        invoker.gate.set()
        await asyncio.gather(*runs)
        assert invoker.most == 2
        await strategy.close("drain")

    async def test_threads_start_when_they_are_needed(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        before = threading.active_count()
        strategy = provider.open(invoker, 100)
        assert threading.active_count() == before
        for _ in range(5):
            await strategy.run(call())
        assert threading.active_count() <= before + 2
        await strategy.close("drain")

    async def test_a_cancelled_run_waits_for_its_thread_however_often_it_is_cancelled(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 1)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        for _ in range(3):
            run.cancel()
            await asyncio.sleep(0.01)
            assert not run.done()
        invoker.gate.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([run])
        assert run.cancelled()
        assert invoker.ended == ["a"]
        await strategy.close("drain")

    async def test_a_run_that_is_cancelled_before_it_starts_never_starts(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 1)
        first = asyncio.create_task(strategy.run(call(id="first", task="wait")))
        await until(invoker.started.is_set)
        second = asyncio.create_task(strategy.run(call(id="second")))
        await asyncio.sleep(0)
        second.cancel()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(asyncio.CancelledError):
                await second
        invoker.gate.set()
        await first
        await strategy.close("drain")
        assert invoker.ended == ["first"]

    async def test_an_error_after_a_cancellation_is_not_complained_about(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        class Failing(ScriptedInvoker):
            def call_sync(self, call: Call) -> bytes:
                self.started.set()
                self.gate.wait(PATIENCE)
                raise ValueError("too late")

        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        failing = Failing()
        strategy = provider.open(failing, 1)
        run = asyncio.create_task(strategy.run(call()))
        await until(failing.started.is_set)
        run.cancel()
        await asyncio.sleep(0.01)
        failing.gate.set()
        await asyncio.wait([run])
        assert run.cancelled()
        del run
        gc.collect()
        await strategy.close("drain")
        assert complaints == []

    async def test_an_abandoned_run_is_let_go_without_being_cancelled(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 1)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        await strategy.close("abandon")
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([run])
        assert run.cancelled()
        invoker.gate.set()

    async def test_what_is_cancelled_and_waits_for_its_thread_is_let_go_when_abandoned(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 1)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        run.cancel()
        await asyncio.sleep(0.01)
        await strategy.close("abandon")
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([run])
        assert run.cancelled()
        invoker.gate.set()

    async def test_a_drain_that_is_overtaken_by_abandoning_returns(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 1)
        run = asyncio.create_task(strategy.run(call(task="wait")))
        await until(invoker.started.is_set)
        draining = asyncio.create_task(strategy.close("drain"))
        await asyncio.sleep(0.01)
        await strategy.close("abandon")
        async with asyncio.timeout(PATIENCE):
            await draining
            await asyncio.wait([run])
        assert invoker.ended == []
        invoker.gate.set()

    async def test_shrinking_twice_leaves_a_thread_for_what_comes(
        self, provider: StrategyProvider, invoker: ScriptedInvoker
    ) -> None:
        strategy = provider.open(invoker, 4)
        runs = [asyncio.create_task(strategy.run(call(id=f"c{n}", task="wait"))) for n in range(4)]
        await until(lambda: invoker.now == 4)
        await strategy.resize(1)
        await strategy.resize(1)
        runs += [asyncio.create_task(strategy.run(call(id=f"later-{n}"))) for n in range(3)]
        await asyncio.sleep(0)
        invoker.gate.set()
        async with asyncio.timeout(PATIENCE):
            assert len(await asyncio.gather(*runs)) == 7
        await strategy.close("drain")

    def test_a_thread_that_never_ends_does_not_hold_up_the_interpreter(self) -> None:
        program = """
import asyncio, threading
from stem_core.builtin.strategies.threads import ThreadStrategy
from stem_core.contracts import Call

class Stuck:
    def call_sync(self, call):
        started.set()
        threading.Event().wait()

started = threading.Event()

async def main():
    strategy = ThreadStrategy(Stuck(), 1)
    run = asyncio.create_task(strategy.run(Call(id="a", attempt=1, task="t", payload=b"", context=None)))
    while not started.is_set():
        await asyncio.sleep(0.001)
    await strategy.close("abandon")
    await asyncio.wait([run])

asyncio.run(main())
print("out")
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
