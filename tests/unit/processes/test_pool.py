"""Which children a pool keeps: worn ones go when another is ready, dying ones come back more and more slowly."""

import asyncio
import itertools
import os
import signal

import attrs
import pytest

from stem_core.builtin.strategies.processes import backoff, handle
from stem_core.builtin.strategies.processes.pool import ProcessStrategy
from stem_core.errors import TaskInterrupted
from stem_core.testing.contracts.scripts import RemoteScript, call
from support.until import PATIENCE, until


class Watched(ProcessStrategy):
    """Remembers what happened, in order: ``+ pid`` began, ``ready pid``, ``- pid`` ended, and when."""

    def __init__(self, invoker, slots):
        super().__init__(invoker, slots)
        self.happened = []

    def on_ready(self, child):
        self._note("ready", child)
        super().on_ready(child)

    def on_ended(self, child, job, ending):
        self._note("-", child)
        super().on_ended(child, job, ending)

    def _spawn(self):
        child = super()._spawn()
        if child is not None:
            self._note("+", child)
        return child

    def _note(self, what, child):
        self.happened.append((what, child.pid, self._loop.time()))

    def pids(self, what):
        return [pid for kind, pid, _ in self.happened if kind == what]


@pytest.fixture
async def make(tmp_path):
    made = []

    def make(slots=1, **plan):
        class Script(RemoteScript):
            @property
            def children(self):
                return attrs.evolve(super().children, **plan)

        made.append(Watched(invoker := Script(tmp_path), slots))
        return made[-1], invoker

    yield make
    for strategy in made:
        await strategy.close("abandon")


def replaced_first(strategy):
    """Whether no child ended before the one that took its place was ready."""
    order = [(what, pid) for what, pid, _ in strategy.happened]
    pids = strategy.pids("+")
    return all(
        order.index(("ready", heir)) < order.index(("-", old))
        for old, heir in itertools.pairwise(pids)
        if ("-", old) in order
    )


async def test_a_child_that_has_run_enough_goes_when_its_replacement_is_ready(make):
    strategy, invoker = make(max_tasks=4)
    await strategy.start()
    async with asyncio.timeout(PATIENCE):
        for number in itertools.count():
            await strategy.run(call(id=f"c{number}"))
            if len(strategy.pids("-")) == 3:
                break
            await asyncio.sleep(0.01)
    assert replaced_first(strategy)
    ran = [event[2] for event in invoker.events if event[0] == "+"]
    # Nothing ran anywhere else, and nobody came back.
    assert list(dict.fromkeys(ran)) == [str(pid) for pid in strategy.pids("+")][: len(set(ran))]


async def test_an_idle_child_that_is_too_old_is_replaced_first(make):
    strategy, _ = make(slots=2, processes=2, max_age=0.5)
    await strategy.start()
    await until(lambda: len(strategy.pids("-")) >= 2)
    order = [(what, pid) for what, pid, _ in strategy.happened]
    for count, (what, _) in enumerate(order):
        if what == "-":
            before = order[:count]
            ready = {pid for kind, pid in before if kind == "ready"} - {pid for kind, pid in before if kind == "-"}
            # Itself, the other one, and whoever takes its place.
            assert len(ready) >= 3
    assert await strategy.run(call()) == b"[[],{}]"


def no_room():
    raise BlockingIOError("no room for another process")


@pytest.mark.parametrize("how", ["dies", "cannot be started"])
async def test_an_idle_one_whose_replacement_failed_is_replaced_without_a_call(make, monkeypatch, how):
    monkeypatch.setattr(backoff, "FIRST_BACKOFF", 0.01)
    strategy, _ = make(max_memory=1)
    await strategy.start()
    good = strategy._plan
    strategy._plan = attrs.evolve(good, host="no.such.module:host")
    if how == "cannot be started":
        monkeypatch.setattr(handle, "spawn", no_room)
    await strategy.run(call())
    await until(lambda: strategy._heirs._failures >= 2)
    monkeypatch.undo()
    strategy._plan = good
    (old, *_) = strategy.pids("+")
    # No call comes.
    await until(lambda: old in strategy.pids("-"))
    assert strategy.pids("ready")[-1] == strategy.pids("+")[-1] != old


async def test_a_busy_child_is_never_replaced(make):
    strategy, invoker = make(max_age=0.2, max_tasks=1)
    # Given work before it is ready, so that it is never idle: an idle one of this age would be replaced.
    run = asyncio.create_task(strategy.run(call(task="wait")))
    await until(invoker.started.is_set)
    await asyncio.sleep(0.5)
    assert len(strategy.pids("+")) == 1
    invoker.gate.set()
    assert await run == b"[[],{}]"
    await until(lambda: strategy.pids("-"))
    assert replaced_first(strategy)
    assert strategy.pids("-")[0] == strategy.pids("+")[0]


async def test_a_child_that_holds_too_much_memory_is_replaced_first(make):
    strategy, _ = make(max_memory=1)
    await strategy.start()
    await strategy.run(call())
    await until(lambda: strategy.pids("-"))
    assert replaced_first(strategy)


async def test_one_that_was_told_to_end_and_does_not_is_killed(make, monkeypatch, caplog):
    monkeypatch.setattr(handle, "END_GRACE", 0.1)
    strategy, _ = make(max_memory=1)
    await strategy.start()
    await strategy.run(call())
    (stuck, _) = strategy.pids("+")
    os.kill(stuck, signal.SIGSTOP)
    await until(lambda: strategy.pids("-"))
    assert strategy.pids("-") == [stuck]
    assert f"child process {stuck} has not ended in 0.1 s and is killed" in caplog.text


async def test_replacements_that_die_are_started_more_and_more_slowly(make, monkeypatch):
    monkeypatch.setattr(backoff.random, "uniform", lambda _, most: most)
    strategy, _ = make(max_memory=1)
    await strategy.start()
    # As after an installation that does not work.
    strategy._plan = attrs.evolve(strategy._plan, host="no.such.module:host")
    async with asyncio.timeout(PATIENCE):
        while len(strategy.pids("+")) < 6:
            # A call that ends well in the worn one shortens no pause.
            assert await strategy.run(call()) == b"[[],{}]"
            await asyncio.sleep(0.01)
    moments = [at for what, _, at in strategy.happened[2:] if what in ("+", "-")]
    pauses = [begun - ended for ended, begun in zip(moments[1::2], moments[2::2], strict=False)]
    assert pauses[0] < 0.1
    assert all(pause >= least for pause, least in zip(pauses[1:], (0.1, 0.2, 0.4), strict=True))


def test_limits_differ_by_a_tenth():
    drawn = [handle._about(1000) for _ in range(2000)]
    assert 900 <= min(drawn) < 920
    assert 1080 < max(drawn) <= 1100
    assert handle._about(None) is None


async def test_children_that_die_again_and_again_are_started_more_and_more_slowly(make, monkeypatch, caplog):
    monkeypatch.setattr(backoff, "FIRST_BACKOFF", 0.1)
    monkeypatch.setattr(backoff, "MAX_BACKOFF", 0.3)
    monkeypatch.setattr(backoff.random, "uniform", lambda _, most: most)
    strategy, _ = make(host="no.such.module:host")
    run = asyncio.create_task(strategy.run(call()))
    await until(lambda: len(strategy.pids("+")) == 6)
    run.cancel()
    moments = [at for what, _, at in strategy.happened if what in ("+", "-")]
    pauses = [begun - ended for ended, begun in zip(moments[1::2], moments[2::2], strict=False)]
    # The first failure may have been an accident.
    assert pauses[0] < 0.1
    assert all(round(pause, 1) >= least for pause, least in zip(pauses[1:], (0.1, 0.2, 0.3, 0.3), strict=True))
    assert max(pauses) < 1.0
    assert "exited with code 1" in caplog.text


async def test_a_call_that_ends_well_ends_the_row_of_failures(make):
    strategy, _ = make()
    for _ in range(3):
        with pytest.raises(Exception, match="exited with code 7"):
            await strategy.run(call(task="exit", payload=b"7"))
        assert await strategy.run(call()) == b"[[],{}]"
        assert strategy._failures == 0


async def test_all_are_back_after_all_have_died_at_once(make, monkeypatch):
    monkeypatch.setattr(backoff, "FIRST_BACKOFF", 0.01)
    strategy, invoker = make(slots=3, processes=3)
    await strategy.start()
    await until(lambda: len(strategy.pids("ready")) == 3)
    runs = [asyncio.create_task(strategy.run(call(id=f"a{number}", task="wait"))) for number in range(3)]
    await until(lambda: invoker.now == 3)
    for pid in strategy.pids("ready"):
        os.kill(pid, signal.SIGKILL)
    assert all(isinstance(lost, Exception) for lost in await asyncio.gather(*runs, return_exceptions=True))
    # No call ends meanwhile.
    await until(lambda: len(strategy.pids("ready")) == 6)
    assert len(strategy.pids("+")) == 6


def kill_unnoticed(strategy):
    """Kill the only child; it has ended then, and the loop has not had a turn to notice."""
    (pid,) = strategy.pids("ready")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


@pytest.mark.parametrize("size", [10, 5 * 2**20])
async def test_a_call_for_a_child_that_is_gone_already_runs_in_another(make, size):
    strategy, _ = make(slots=1)
    await strategy.start()
    pid = kill_unnoticed(strategy)
    assert await strategy.run(call(payload=b"x" * size)) == b"x" * size
    assert strategy.pids("-") == [pid]


async def test_it_may_be_killed_before_it_begins_there(make):
    strategy, invoker = make(slots=1)
    await strategy.start()
    kill_unnoticed(strategy)
    run = asyncio.create_task(strategy.run(one := call()))
    await asyncio.sleep(0)
    strategy.kill(one, "revoked")
    with pytest.raises(TaskInterrupted, match="revoked"):
        await run
    assert await strategy.run(call(id="b")) == b"[[],{}]"
    assert invoker.ended == ["b"]


async def test_one_that_is_cancelled_meanwhile_does_not_run_there(make):
    strategy, invoker = make(slots=1)
    await strategy.start()
    kill_unnoticed(strategy)
    run = asyncio.create_task(strategy.run(call()))
    await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await strategy.run(call(id="b")) == b"[[],{}]"
    assert invoker.ended == ["b"]


async def test_memory_for_more_slots_is_that_of_so_many_children(make):
    strategy, _ = make(slots=2, processes=4)
    # None were started yet: they come with the first call, not with the slots.
    assert strategy.memory_for(4) == 0
    await strategy.start()
    await until(lambda: len(strategy.pids("ready")) == 2)
    one = strategy.memory_for(3)
    assert 2 * 2**20 < one < 200 * 2**20
    assert strategy.memory_for(4) == pytest.approx(2 * one, rel=0.1)
    # As many as there may be, and no more.
    assert strategy.memory_for(100) == pytest.approx(2 * one, rel=0.1)
    assert strategy.memory_for(2) == strategy.memory_for(1) == 0
