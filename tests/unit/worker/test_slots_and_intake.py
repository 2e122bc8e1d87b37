import asyncio
import contextvars

import pytest

from stem_core import TaskContext
from stem_core.errors import StoreUnavailable
from stem_core.model import Release, Settlement, TaskState
from stem_core.tasks.context import current
from stem_core.testing.clock import FakeClock
from stem_core.worker.inflight import Stage
from support.bench import bench, flaky_app
from support.until import until

mark = contextvars.ContextVar("mark", default="clean")


@pytest.fixture
def app():
    return flaky_app()


class Gate:
    """Tasks that wait until they are let go, and are counted while they run."""

    def __init__(self, app):
        self.open = asyncio.Event()
        self.running = 0
        self.most = 0

        @app.task(name="gated")
        async def gated(number: int) -> int:
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await self.open.wait()
            finally:
                self.running -= 1
            return number

        self.task = gated

    async def until(self, count):
        await until(lambda: self.running == count)


async def publish(app, task, count):
    return await app.enqueue_many([task.call(n) for n in range(count)])


class TestSlots:
    async def test_no_more_run_at_once_than_there_are_slots(self, app):
        gate = Gate(app)
        async with bench(app, concurrency=3) as line:
            await publish(app, gate.task, 10)
            await line.take(10)
            await gate.until(3)
            assert len(line.inflight.waiting) == 7
            assert line.line.slots.free == 0
            gate.open.set()
            await line.finished()
        assert gate.most == 3

    @pytest.mark.parametrize("step", ["_gate.judge", "_executor.prepare", "_executor.execute"])
    async def test_a_step_that_raises_fails_the_task_for_good(self, app, monkeypatch, caplog, step):
        @app.task(name="fine")
        async def fine(): ...

        def broken(entry):
            raise LookupError("a mistake of ours")

        async with bench(app) as line:
            owner, method = step.split(".")
            monkeypatch.setattr(type(getattr(line.line.slots, owner)), method, lambda _self, entry: broken(entry))
            handle = await fine.enqueue()
            await line.take()
            await line.finished()
            depth = await line.depth()
            assert (depth.ready, depth.dead) == (0, 1)
            if step != "_gate.judge":
                # The gate reads the header, and without it nothing is known that a status could be kept of.
                status = await line.status(handle.id)
                assert (status.state, status.reason, status.error.type) == (TaskState.FAILED, "failed", "LookupError")
                assert "a mistake of ours" in status.error.traceback
        assert f"{handle.id} cannot be run" in caplog.text
        assert "LookupError: a mistake of ours" in caplog.text

    async def test_what_one_task_sets_is_not_seen_by_the_next(self, app):
        seen = []

        @app.task
        async def coroutine():
            seen.append(mark.get())
            mark.set("dirty")

        @app.task
        def thread():
            seen.append(mark.get())
            mark.set("dirty")

        async with bench(app, concurrency=1) as line:
            for task in (coroutine, thread) * 3:
                await task.enqueue()
            await line.take()
            await line.finished()
        assert seen == ["clean"] * 6
        assert current.get() is None

    async def test_each_sees_its_own_context(self, app):
        @app.task
        async def coroutine(ctx: TaskContext):
            await asyncio.sleep(0)
            return [current.get().id, ctx.id]

        @app.task
        def thread(ctx: TaskContext):
            return [current.get().id, ctx.id]

        async with bench(app) as line:
            handles = [await task.enqueue() for task in (coroutine, thread) * 5]
            await line.take()
            await line.finished()
            for handle in handles:
                assert await handle.result(1) == [handle.id, handle.id]

    async def test_the_value_of_the_lifespan_reaches_the_task(self, app):
        @app.task
        async def t(ctx: TaskContext):
            return ctx.state["answer"]

        async with bench(app, state={"answer": 42}) as line:
            handle = await t.enqueue()
            await line.take()
            await line.finished()
            assert await handle.result(1) == 42

    async def test_one_that_is_interrupted_before_its_first_step_runs_no_line(self, app):
        ran = []

        @app.task
        async def t():
            ran.append(1)

        async with bench(app) as line:
            await t.enqueue()
            (entry,) = await line.take()
            assert entry.stage is Stage.RUNNING
            line.line.interrupt_all()
            await line.finished()
            assert ran == []
            (again,) = await line.claim()
            assert again.attempt == 1

    async def test_closing_gives_back_what_has_not_started_at_once_and_uncounted(self, app):
        gate = Gate(app)
        async with bench(app, concurrency=2) as line:
            await publish(app, gate.task, 5)
            await line.take(5)
            await gate.until(2)
            line.line.stop_claiming()
            await line.line.settler.settled()
            others = await line.claim()
            assert len(others) == 3
            assert {(d.attempt, d.crashes) for d in others} == {(1, 0)}
            gate.open.set()
            await line.finished()
            assert not len(line.inflight)


class TestBound:
    async def test_counts_what_runs_what_waits_and_what_is_not_settled(self, app):
        gate = Gate(app)
        async with bench(app, concurrency=4, prefetch=2) as line:
            await publish(app, gate.task, 20)
            line.start_intake()
            await gate.until(4)
            assert len(line.inflight) == 6
            line.faults.down.add("settle")
            gate.open.set()
            await until(lambda: line.faults.calls["settle"] >= 3)
            # All six have ended; none is confirmed, so nothing new is claimed.
            assert line.line.slots.free == 4
            assert len(line.inflight) == 6
            assert (await line.depth()).ready == 14
            line.faults.down.clear()
            await line.idle()
            assert (await line.depth()).ready == 0

    async def test_prefetch_0_holds_nothing_beside_the_running(self, app):
        gate = Gate(app)
        async with bench(app, concurrency=2, prefetch=0) as line:
            await publish(app, gate.task, 5)
            line.start_intake()
            await gate.until(2)
            assert len(line.inflight) == 2
            gate.open.set()
            await line.idle()
        assert gate.most == 2

    async def test_a_free_slot_is_filled_though_the_rest_is_full(self, app):
        releases = [asyncio.Event() for _ in range(9)]
        started = []

        @app.task
        async def t(number: int):
            started.append(number)
            await releases[number].wait()

        async with bench(app, concurrency=8, prefetch=0) as line:
            await publish(app, t, 9)
            line.start_intake()
            await until(lambda: len(started) == 8)
            releases[3].set()
            async with asyncio.timeout(5):
                await until(lambda: len(started) == 9)
            for release in releases:
                release.set()
            await line.idle()

    async def test_holds_one_suspect_at_a_time(self):
        clock = FakeClock()
        app = flaky_app(clock=clock)
        gate = Gate(app)
        async with bench(app, concurrency=10) as line:
            await publish(app, gate.task, 3)
            assert len(await line.claim()) == 3
            clock.advance(31)
            await publish(app, gate.task, 2)
            line.start_intake()
            await gate.until(3)
            assert line.inflight.suspects == 1
            assert (await line.depth()).ready == 2
            gate.open.set()
            await line.idle()
            assert line.inflight.suspects == 0
            assert (await line.depth()).ready == 0

    async def test_the_next_suspect_is_taken_at_once_though_other_work_is_held(self, app, monkeypatch):
        monkeypatch.setattr("stem_core.worker.intake.IDLE_WAIT", 3600.0)
        gate = Gate(app)
        ran = []

        @app.task
        async def quick(number: int):
            ran.append(number)

        async with bench(app, concurrency=10) as line:
            await publish(app, quick, 3)
            crashed = [Settlement(receipt=d.receipt, action=Release(charge=True)) for d in await line.claim()]
            await line.session.broker.settle(crashed)
            await publish(app, gate.task, 1)
            line.start_intake()
            await gate.until(1)
            await until(lambda: len(ran) == 3)
            gate.open.set()


class TestClaims:
    async def test_a_claim_is_never_cancelled(self, app):
        gate = Gate(app)
        async with bench(app, call_timeout=0.1) as line:
            await publish(app, gate.task, 1)
            line.faults.held["receive"] = answer = asyncio.Event()
            line.start_intake()
            await until(lambda: line.line.intake.failing)
            line.line.intake.wake()
            assert line.faults.cancelled["receive"] == 0
            assert line.faults.calls["receive"] == 1
            answer.set()
            await gate.until(1)
            assert not line.line.intake.failing
            gate.open.set()
            await line.idle()

    async def test_what_a_claim_brings_after_the_stop_is_handed_back(self, app):
        gate = Gate(app)
        async with bench(app) as line:
            await publish(app, gate.task, 3)
            line.faults.held["receive"] = answer = asyncio.Event()
            line.start_intake()
            await until(lambda: line.faults.waiting["receive"])
            line.line.stop_claiming()
            answer.set()
            await line.intake
            await line.finished()
            assert gate.most == 0
            del line.faults.held["receive"]
            assert {(d.attempt, d.crashes, d.receipt.run) for d in await line.claim()} == {(1, 0, 2)}

    async def test_a_stop_during_a_claim_that_finds_nothing_is_not_slept_over(self, app):
        async with bench(app) as line:
            line.faults.held["receive"] = answer = asyncio.Event()

            async def sleeps(subscription, timeout):
                raise AssertionError("nobody would wake it")

            line.session.broker.wait_for_work = sleeps
            line.start_intake()
            await until(lambda: line.faults.waiting["receive"])
            line.line.stop_claiming()
            answer.set()
            await line.intake

    @pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("no hint")], ids=["cancelled", "error"])
    async def test_a_wait_that_ends_by_itself_does_not_end_the_intake(self, app, error):
        gate = Gate(app)
        gate.open.set()
        async with bench(app) as line:
            line.faults.errors["wait_for_work"] = [error]
            line.start_intake()
            await until(lambda: line.faults.calls["wait_for_work"] == 2)
            (handle,) = await publish(app, gate.task, 1)
            assert await handle.result(1) == 0

    async def test_an_outage_is_a_state_that_ends_by_itself(self, app, caplog):
        caplog.set_level("INFO")
        gate = Gate(app)
        gate.open.set()
        async with bench(app) as line:
            line.faults.errors["receive"] = [StoreUnavailable("away")] * 3
            handles = await publish(app, gate.task, 3)
            line.start_intake()
            await line.idle()
            assert [await handle.result(1) for handle in handles] == [0, 1, 2]
        assert [r.message for r in caplog.records if "the broker" in r.message] == [
            "cannot reach the broker, trying on: away",
            "the broker answers again",
        ]

    async def test_is_not_idle_when_the_last_job_enqueued_another_while_a_claim_was_under_way(self, app):
        gate = Gate(app)

        @app.task
        async def child():
            pass

        @app.task
        async def parent(ctx: TaskContext):
            ctx.enqueue(child)
            await gate.open.wait()

        async with bench(app) as line:
            await parent.enqueue()
            await line.take()
            receive = line.session.broker.receive
            claimed, answer = asyncio.Event(), asyncio.Event()

            async def slow(*args, **kwargs):
                found = await receive(*args, **kwargs)
                if not claimed.is_set():
                    claimed.set()
                    await answer.wait()
                return found

            line.session.broker.receive = slow
            line.start_intake()
            await claimed.wait()
            # The claim found nothing; only now does the parent end and publish its child.
            gate.open.set()
            await line.finished()
            answer.set()
            await line.line.intake.idle.wait()
            assert (await line.depth()).ready == 0

    async def test_a_message_that_is_granted_to_the_same_worker_again_is_one_run(self, caplog):
        clock = FakeClock()
        app = flaky_app(clock=clock)
        go = asyncio.Event()

        @app.task
        async def t(ctx: TaskContext):
            await go.wait()
            return ctx.run

        async with bench(app) as line:
            handle = await t.enqueue()
            (old,) = await line.take()
            await until(lambda: old.started)
            clock.advance(31)
            line.start_intake()
            await until(lambda: line.inflight.get(handle.id) is not old)
            go.set()
            await line.idle()
            assert await handle.result(1) == 2
            assert old.stage is Stage.GONE
            assert line.inflight.running == 0
        assert "lost its lease: the message was granted to another, its outcome is dropped" in caplog.text

    async def test_several_queues_take_turns(self, app):
        @app.task(queue="a")
        async def a():
            pass

        @app.task(queue="b")
        async def b():
            pass

        order = []
        app.signals.task_prerun.connect(lambda event: order.append(event.queue))
        async with bench(app, queues=["a", "b"], concurrency=1, prefetch=0) as line:
            await app.enqueue_many([a.call() for _ in range(4)])
            await app.enqueue_many([b.call() for _ in range(4)])
            line.start_intake()
            await line.idle()
        assert sorted(order[:4]) == ["a", "a", "b", "b"]


class TestHandBack:
    async def test_everything_goes_back_at_a_hard_stop_and_what_ends_later_counts_for_nothing(self, app):
        import threading

        go = threading.Event()

        @app.task
        def stubborn():
            go.wait(10)
            return "late"

        async with bench(app, concurrency=2) as line:
            handles = [await stubborn.enqueue() for _ in range(3)]
            await line.take(3)
            await until(lambda: sum(entry.started for entry in line.inflight.snapshot()) == 2)
            assert line.line.hand_back_all()
            await line.line.settler.settled()
            assert line.line.settler.interrupted == 2
            deliveries = await line.claim()
            assert {d.message.id for d in deliveries} == {handle.id for handle in handles}
            assert {(d.attempt, d.crashes) for d in deliveries} == {(1, 0)}
            go.set()
            await line.line.slots.drained()
            await line.line.settler.settled()
            for handle in handles:
                assert await line.status(handle.id) is None
            await line.session.broker.settle([Settlement(receipt=d.receipt, action=Release()) for d in deliveries])

    async def test_a_run_that_was_seen_running_is_queued_again(self, app):
        gate = Gate(app)
        async with bench(app) as line:
            handle = (await publish(app, gate.task, 1))[0]
            (entry,) = await line.take()
            await gate.until(1)
            entry.running_recorded = True
            line.line.interrupt_all()
            await line.finished()
            assert (await line.status(handle.id)).state is TaskState.QUEUED
