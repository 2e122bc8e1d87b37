"""What the pulse thread does, each part on its own."""

import asyncio
import logging
import os
import threading

import pytest

from stem_core import TaskContext
from stem_core.errors import StoreUnavailable
from stem_core.model import LOST, TaskState, Verdict
from stem_core.testing.clock import FakeClock
from stem_core.worker import Worker
from stem_core.worker.leases import Leases
from stem_core.worker.progress import ProgressWriter
from stem_core.worker.pulse import Pulse
from stem_core.worker.watchdog import Watchdog
from support.bench import bench, flaky_app
from support.until import PATIENCE, until


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    return flaky_app(clock=clock)


@pytest.fixture
def waits(app):
    """A task that waits for an event, beside the event and the contexts of its runs."""
    go = asyncio.Event()
    contexts = []

    @app.task(name="waits")
    async def waits(ctx: TaskContext):
        contexts.append(ctx)
        await go.wait()

    waits.go, waits.contexts = go, contexts
    return waits


async def started(line, task, count=1):
    for _ in range(count):
        await task.enqueue()
    entries = await line.take()
    await until(lambda: len(task.contexts) == count)
    return entries


class TestLeases:
    async def test_all_that_is_held_is_renewed_in_one_call(self, app, clock, waits):
        async with bench(app, concurrency=1) as line:
            for _ in range(3):
                await waits.enqueue()
            entries = await line.take()
            leases = Leases(line.view, line.session)
            clock.advance(10)
            await leases.renew()
            assert line.faults.calls["extend"] == 1
            assert {entry.lease_deadline for entry in entries} == {clock.monotonic() + 30}
            clock.advance(25)
            assert await line.claim() == []
            waits.go.set()
            await line.finished()

    async def test_what_waits_to_be_settled_is_renewed_too(self, app, clock, waits):
        async with bench(app) as line:
            await started(line, waits)
            line.faults.down.add("settle")
            waits.go.set()
            await until(lambda: line.faults.calls["settle"])
            clock.advance(20)
            await Leases(line.view, line.session).renew()
            clock.advance(20)
            line.faults.down.clear()
            assert await line.claim() == []
            await line.finished()

    async def test_nothing_held_is_no_call(self, app):
        async with bench(app) as line:
            await Leases(line.view, line.session).renew()
            assert line.faults.calls["extend"] == 0

    async def test_a_lost_one_is_interrupted_and_its_neighbours_are_not(self, app, clock, waits):
        async with bench(app) as line:
            lost, kept = await started(line, waits, 2)
            extend = line.session.broker.extend

            async def one_lost(receipts, lease):
                verdicts = await extend(receipts, lease)
                return [LOST if receipts[n] == lost.delivery.receipt else verdict for n, verdict in enumerate(verdicts)]

            line.session.broker.extend = one_lost
            await Leases(line.view, line.session).renew()
            await until(lambda: lost.delivery.message.id not in line.inflight)
            assert kept.interrupt is None
            waits.go.set()
            await line.finished()
            assert line.faults.batches == [1]

    async def test_a_lost_one_that_has_not_started_is_dropped(self, app, clock, waits):
        async with bench(app, concurrency=1, prefetch=1) as line:
            for _ in range(2):
                await waits.enqueue()
            _, waiting = await line.take()
            line.view.interrupt(waiting, "lease-lost", "")
            await until(lambda: waiting.delivery.message.id not in line.inflight)
            waits.go.set()
            await line.finished()
            assert len(waits.contexts) == 1

    async def test_a_refused_extension_is_no_loss(self, app, waits):
        async with bench(app) as line:
            (entry,) = await started(line, waits)

            async def refusing(receipts, lease):
                return [Verdict(kind="refused", error="not now")]

            line.session.broker.extend = refusing
            await Leases(line.view, line.session).renew()
            assert entry.interrupt is None

    async def test_trust_runs_from_before_the_request(self, app, clock, waits):
        async with bench(app) as line:
            (entry,) = await started(line, waits)
            sent = clock.monotonic()
            extend = line.session.broker.extend

            async def slow(receipts, lease):
                verdicts = await extend(receipts, lease)
                clock.advance(5)
                return verdicts

            line.session.broker.extend = slow
            await Leases(line.view, line.session).renew()
            assert entry.lease_deadline == sent + 30

    async def test_an_outage_touches_no_task_until_the_deadline(self, app, clock, waits):
        async with bench(app) as line:
            (entry,) = await started(line, waits)
            leases = Leases(line.view, line.session)
            line.faults.down.add("extend")
            with pytest.raises(StoreUnavailable):
                await leases.renew()
            clock.advance(30)
            leases.fence()
            assert entry.interrupt is None
            clock.advance(0.5)
            leases.fence()
            assert entry.interrupt == "lease-lost"
            assert waits.contexts[0].interrupt == "lease-lost"
            await line.finished()
            assert line.faults.batches == []

    async def test_the_fence_leaves_what_is_being_settled_alone(self, app, clock, waits):
        async with bench(app) as line:
            await started(line, waits)
            line.faults.down.add("settle")
            waits.go.set()
            await until(lambda: line.faults.calls["settle"])
            clock.advance(40)
            Leases(line.view, line.session).fence()
            line.faults.down.clear()
            await line.finished()
            # Over, but granted to nobody: the settlement is still good.
            assert (await line.depth()).leased == 0
            assert (await line.depth()).ready == 0


class TestRunningAndProgress:
    async def test_the_first_renewal_says_running_and_when_it_began(self, app, clock, waits):
        async with bench(app) as line:
            begun = clock.now()
            (entry,) = await started(line, waits)
            id = entry.delivery.message.id
            assert await line.status(id) is None
            writer, leases = ProgressWriter(line.view, line.session), Leases(line.view, line.session)
            clock.advance(10)
            await leases.renew()
            await writer.flush()
            status = await line.status(id)
            assert (status.state, status.started_at, status.worker) == (TaskState.RUNNING, begun, line.plan.worker)
            calls = line.faults.calls["record"]
            await leases.renew()
            await writer.flush()
            assert line.faults.calls["record"] == calls

    async def test_progress_moves_no_other_fact(self, app, clock, waits):
        async with bench(app) as line:
            begun = clock.now()
            (entry,) = await started(line, waits)
            writer = ProgressWriter(line.view, line.session)
            for percent in (10, 20):
                clock.advance(7)
                waits.contexts[0].progress(percent, {"stage": "pixels"})
                await writer.flush()
                status = await line.status(entry.delivery.message.id)
                assert (status.progress.percent, status.started_at) == (percent, begun)
            assert status.progress.data == b'{"stage":"pixels"}'

    async def test_signs_of_life_are_written_and_are_no_progress(self, app, clock, waits):
        async with bench(app) as line:
            (entry,) = await started(line, waits)
            writer, id, ctx = ProgressWriter(line.view, line.session), entry.delivery.message.id, waits.contexts[0]
            told = []
            line.view.on_progress = told.extend
            for give_sign in (ctx.heartbeat, lambda: ctx.progress(60), ctx.heartbeat, lambda: ctx.extend(1)):
                clock.advance(7)
                give_sign()
                await writer.flush()
                status = await line.status(id)
                assert (status.state, status.alive_at) == (TaskState.RUNNING, clock.now())
            assert status.progress.percent == 60
            await asyncio.sleep(0)
            assert told == [entry]

    async def test_only_the_latest_of_many_is_written(self, app, waits):
        async with bench(app) as line:
            await started(line, waits, 3)
            for percent in range(100):
                for ctx in waits.contexts:
                    ctx.progress(percent)
            await ProgressWriter(line.view, line.session).flush()
            assert line.faults.calls["record"] == 1

    async def test_what_could_not_be_written_is_written_later(self, app, waits):
        async with bench(app) as line:
            (entry,) = await started(line, waits)
            writer = ProgressWriter(line.view, line.session)
            told = []
            line.view.on_progress = told.extend
            waits.contexts[0].progress(60)
            line.faults.down.add("record")
            with pytest.raises(StoreUnavailable):
                await writer.flush()
            line.faults.down.clear()
            await writer.flush()
            assert (await line.status(entry.delivery.message.id)).progress.percent == 60
            await asyncio.sleep(0)
            assert told == [entry]

    async def test_track_started_writes_at_once(self, app, waits):
        async with bench(app, track_started=True) as line:
            (entry,) = await started(line, waits)
            await ProgressWriter(line.view, line.session).flush()
            assert (await line.status(entry.delivery.message.id)).state is TaskState.RUNNING

    async def test_progress_from_a_thread_reaches_the_signal(self):
        app = flaky_app()
        heard, go = [], threading.Event()
        app.signals.task_progress.connect(heard.append)

        @app.task
        def t(ctx: TaskContext):
            ctx.progress(50, "half")
            go.wait(10)

        async with app.open(), Worker(app):
            handle = await t.enqueue()
            await until(lambda: heard)
            # The signal is told first, and the record written in another thread.
            async with asyncio.timeout(PATIENCE):
                while (progress := (await handle.status()).progress) is None:  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0.001)
            assert progress.percent == 50
            go.set()
        assert (heard[0].progress.percent, heard[0].id) == (50.0, handle.id)

    async def test_a_result_that_is_not_wanted_has_no_running_record(self, app, waits):
        async with bench(app, track_started=True) as line:
            handle = await waits.options(store_result=False).enqueue()
            await line.take()
            await until(lambda: waits.contexts)
            await ProgressWriter(line.view, line.session).flush()
            assert await line.status(handle.id) is None


class SilentLoop:
    """A loop that answers when the test says so."""

    def __init__(self):
        self.owed = []

    def is_closed(self):
        return False

    def call_soon_threadsafe(self, callback):
        self.owed.append(callback)

    def turn(self):
        while self.owed:
            self.owed.pop(0)()


class TestWatchdog:
    def test_a_loop_that_turns_is_never_reported(self, clock, caplog):
        loop = SilentLoop()
        dog = Watchdog(loop, clock, stall_limit=10)
        for _ in range(100):
            dog.look()
            clock.advance(0.5)
            loop.turn()
        assert not caplog.records
        assert dog.stalled_for == 0

    def test_a_stall_is_reported_once_with_the_stacks(self, clock, caplog):
        loop = SilentLoop()
        dog = Watchdog(loop, clock, stall_limit=10)
        dog.look()
        clock.advance(10)
        dog.look()
        assert not dog.wedged
        clock.advance(0.5)
        dog.look()
        dog.look()
        assert dog.wedged
        assert dog.stalled_for == 10.5
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "the worker's loop has been blocked for 10.5 s; its leases are kept" in record.message
        assert "test_a_stall_is_reported_once_with_the_stacks" in record.message

    def test_the_end_of_a_stall_is_told_and_the_next_is_reported_anew(self, clock, caplog):
        loop = SilentLoop()
        dog = Watchdog(loop, clock, stall_limit=10)
        for _ in range(2):
            dog.look()
            clock.advance(11)
            dog.look()
            loop.turn()
            assert not dog.wedged
        assert [r.levelname for r in caplog.records] == ["ERROR", "WARNING", "ERROR", "WARNING"]
        assert "turns again after 11.0 s" in caplog.records[1].message


class TestLastResort:
    """The worker's loop does not turn. The thread has a loop and a session of its own; here they are the test's."""

    async def resort(self, app, clock, waits, *, phase, stalled):
        async with bench(app, concurrency=1, prefetch=2, wedge_timeout=300.0) as line:
            for _ in range(3):
                await waits.enqueue()
            await line.take()
            await until(lambda: waits.contexts)
            view = line.view
            view.watchdog = Watchdog(SilentLoop(), clock, stall_limit=10)
            view.machine.begin()
            if phase == "hard":
                view.machine.request("hard", "SIGQUIT")
            pulse = Pulse(view, None, os_signals=None)
            leases = Leases(view, line.session)
            view.lease = 10_000.0
            await leases.renew()
            for step in (0.0, stalled):
                clock.advance(step)
                for _ in range(3):
                    await pulse._watch(line.session, leases)
            pulse._ready.cancel()
            return await line.depth(), await line.claim(), line.faults.batches

    async def test_a_blocked_hard_stop_gives_everything_back_uncounted_and_once(self, app, clock, waits, caplog):
        depth, deliveries, batches = await self.resort(app, clock, waits, phase="hard", stalled=1.5)
        assert depth.ready == 3
        assert {(d.attempt, d.crashes) for d in deliveries} == {(1, 0)}
        assert batches == [3]
        assert caplog.text.count("handed back 3 deliveries") == 1

    async def test_a_wedged_worker_gives_up_after_the_wedge_timeout_and_charges_what_ran(self, app, clock, waits):
        _, deliveries, batches = await self.resort(app, clock, waits, phase="running", stalled=301.0)
        assert sorted(d.crashes for d in deliveries) == [0, 0, 1]
        assert batches == [3]

    async def test_a_wedged_worker_keeps_its_leases_until_then(self, app, clock, waits):
        depth, deliveries, batches = await self.resort(app, clock, waits, phase="running", stalled=299.0)
        assert (depth.leased, deliveries, batches) == (3, [], [])

    async def test_the_process_is_ended_with_the_code_when_it_is_the_workers_own(self, app, clock, waits, monkeypatch):
        codes = []
        monkeypatch.setattr(os, "_exit", codes.append)
        monkeypatch.setattr(logging, "shutdown", lambda: None)
        async with bench(app) as line:
            line.view.owns_process = True
            pulse = Pulse(line.view, None, os_signals=None)
            await pulse._last_resort(line.session, 4, "it hangs")
            pulse._ready.cancel()
        assert codes == [4]


class TestRevocationWhileRunning:
    async def test_reaches_a_running_task_and_one_that_waits(self):
        app = flaky_app()
        entered = asyncio.Event()

        @app.task
        async def waits():
            entered.set()
            await asyncio.Event().wait()

        async with app.open(), Worker(app, concurrency=1) as worker:
            running, waiting = await waits.enqueue(), await waits.enqueue()
            await entered.wait()
            assert not await running.cancel("not wanted")
            await waiting.cancel("nor this")
            for handle in (running, waiting):
                await until(lambda handle=handle: worker._life._inflight.get(handle.id) is None)
                status = await handle.status()
                assert (status.state, status.reason) == (TaskState.CANCELLED, "revoked")
            assert worker._life._inflight.running == 0
