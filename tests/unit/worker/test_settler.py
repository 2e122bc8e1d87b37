import asyncio
import logging
import threading

import attrs
import pytest

from stem_core import RetryPolicy, TaskContext
from stem_core.contracts import Middleware
from stem_core.errors import ConfigurationError, StoreRefused
from stem_core.model import TaskState
from support.bench import bench, flaky_app
from support.until import until


@pytest.fixture
def app():
    return flaky_app()


@pytest.fixture
def double(app):
    @app.task(name="double")
    async def double(number: int) -> int:
        return 2 * number

    return double


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Trying again takes no time: the order of events is what is tested."""
    monkeypatch.setattr("stem_core.worker.backoff.Backoff.FIRST", 0.001)
    monkeypatch.setattr("stem_core.worker.backoff.Backoff.CAP", 0.001)


class TestGroupCommit:
    async def test_what_finishes_together_is_written_together(self, app, double):
        async with bench(app) as line:
            await app.enqueue_many([double.call(n) for n in range(100)])
            await line.take()
            await line.finished()
            assert line.faults.batches == [100]

    async def test_one_write_is_in_flight_and_the_next_takes_all_that_came_meanwhile(self, app, double):
        async with bench(app) as line:
            handles = await app.enqueue_many([double.call(n) for n in range(30)])
            line.faults.held["settle"] = gate = asyncio.Event()
            await line.take(10)
            await until(lambda: line.faults.waiting["settle"])
            await line.take(10)
            await line.take(10)
            await line.line.slots.drained()
            # Slots do not wait for the settler.
            assert len(line.inflight) == 30
            gate.set()
            await line.finished()
            assert line.faults.batches == [10, 20]
            assert [await handle.result(1) for handle in handles] == [2 * n for n in range(30)]

    async def test_a_batch_is_bounded(self, app, double):
        async with bench(app, concurrency=1200) as line:
            await app.enqueue_many([double.call(n) for n in range(1200)])
            await line.take(1200)
            await line.finished()
            assert line.faults.batches == [500, 500, 200]

    async def test_a_result_is_recorded_before_the_ack_where_they_cannot_be_one_step(self, app, double):
        async with bench(app) as line:
            line.faults.together = False
        async with bench(app) as line:
            handle = await double.enqueue(1)
            line.faults.held["settle"] = gate = asyncio.Event()
            await line.take()
            await until(lambda: line.faults.waiting["settle"])
            assert (await line.status(handle.id)).state is TaskState.SUCCEEDED
            assert (await line.depth()).leased == 1
            gate.set()
            await line.finished()
            assert (await line.depth()).leased == 0


class TestOutage:
    async def test_settlements_are_tried_again_until_the_store_returns(self, app, double, caplog):
        async with bench(app) as line:
            handles = await app.enqueue_many([double.call(n) for n in range(3)])
            line.faults.down.add("settle")
            await line.take()
            await until(lambda: line.faults.calls["settle"] >= 5)
            assert line.line.settler.failing
            assert len(line.inflight) == 3
            line.faults.down.clear()
            await line.finished()
            assert not line.line.settler.failing
            assert [await handle.result(1) for handle in handles] == [0, 2, 4]
        assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == [
            "cannot settle 3 deliveries, trying on: settle: the store is down"
        ]

    async def test_a_lost_reply_changes_nothing(self, app, double):
        async with bench(app) as line:
            handle = await double.enqueue(4)
            line.faults.lost_replies.add("settle")
            await line.take()
            await line.finished()
            assert line.faults.calls["settle"] == 2
            assert await handle.result(1) == 8
            assert (await line.depth()).ready == 0
            assert not len(line.inflight)

    async def test_what_was_finished_first_is_written_first_after_an_outage(self, app):
        finished, settled = [], []

        @app.task
        async def t(number: int):
            finished.append(number)
            return number

        app.signals.task_succeeded.connect(lambda event: settled.append(int(event.result)))
        async with bench(app) as line:
            await app.enqueue_many([t.call(n) for n in range(20)])
            line.faults.down.add("settle")
            await line.take(10)
            await until(lambda: line.faults.calls["settle"] >= 3)
            await line.take(10)
            line.faults.down.clear()
            await line.finished()
            line.line.announcer.close()
            await asyncio.sleep(0)
        assert settled == finished == list(range(20))

    async def test_a_call_without_an_answer_is_given_up_and_made_again(self, app, double):
        async with bench(app) as line:
            line.session.call_timeout = 0.01
            handle = await double.enqueue(4)
            line.faults.held["settle"] = asyncio.Event()
            await line.take()
            await until(lambda: line.faults.cancelled["settle"])
            del line.faults.held["settle"]
            await line.finished()
            assert await handle.result(1) == 8


class LateReplies:
    """Settlements are carried out at once, and answered when :attr:`answer` is set."""

    def __init__(self, line):
        self.written, self.answer = asyncio.Event(), asyncio.Event()
        broker = line.session.broker
        settle = broker.settle_with_results

        async def late(*args):
            verdicts = await settle(*args)
            self.written.set()
            await self.answer.wait()
            return verdicts

        broker.settle_with_results = late


class TestGrantedAgain:
    """The same message comes back to this worker while the reply to its settlement is under way."""

    @pytest.fixture
    def told(self, app):
        told = []
        for name in ("retried", "succeeded", "handed_back", "lease_lost", "postrun"):
            signal = getattr(app.signals, f"task_{name}")
            signal.connect(lambda event, name=name: told.append((event.run, name)))
        return told

    async def end(self, line):
        await line.idle()
        line.line.announcer.close()
        await asyncio.sleep(0)

    async def test_each_run_is_told_of_once_as_what_became_of_it(self, app, told, caplog):
        @app.task(max_retries=1, retry=RetryPolicy.fixed(0))
        async def t(ctx: TaskContext) -> int:
            if ctx.attempt == 1:
                raise ValueError("once")
            return ctx.run

        async with bench(app) as line:
            replies = LateReplies(line)
            handle = await t.enqueue()
            line.start_intake()
            await replies.written.wait()
            first = line.inflight.get(handle.id)
            await until(lambda: line.inflight.get(handle.id) is not first)
            replies.answer.set()
            await self.end(line)
            assert await handle.result(1) == 2
        assert sorted(told) == [(1, "postrun"), (1, "retried"), (2, "postrun"), (2, "succeeded")]
        assert "lost its lease" not in caplog.text

    async def test_what_ends_after_it_was_handed_back_and_lost_is_told_of_once(self, app, told):
        go = threading.Event()

        @app.task
        def stubborn() -> None:
            go.wait(10)

        async with bench(app) as line:
            replies = LateReplies(line)
            await stubborn.enqueue()
            (entry,) = await line.take()
            await until(lambda: entry.started)
            line.view.interrupt(entry, "lease-lost", "a test")
            line.line.hand_back_all()
            await replies.written.wait()
            go.set()
            await until(lambda: line.inflight.running == 0)
            replies.answer.set()
            await line.finished()
            line.line.announcer.close()
            await asyncio.sleep(0)
        assert sorted(told) == [(1, "handed_back"), (1, "postrun")]


class TestBadItems:
    async def test_one_bad_item_spoils_no_other(self, app, double, caplog):
        async with bench(app) as line:
            handles = await app.enqueue_many([double.call(n) for n in range(3)])
            # The batch is refused, then the second of the single ones.
            line.faults.errors["settle"] = [StoreRefused("too much")]
            settle = line.session.broker.settle_with_results

            async def refusing(settlements, statuses):
                if settlements[0].receipt.id == handles[1].id:
                    raise StoreRefused("not this one")
                return await settle(settlements, statuses)

            line.session.broker.settle_with_results = refusing
            line.faults.errors["settle"] = [StoreRefused("one of them is bad")]
            await line.take()
            await line.finished()
            assert [await handles[n].result(1) for n in (0, 2)] == [0, 4]
            assert (await line.status(handles[1].id)) is None
            assert not len(line.inflight)
            # Its lease ends, and it is delivered again.
            assert (await line.depth()).leased == 1
        assert "refused to settle" in caplog.text
        assert "not this one" in caplog.text

    async def test_an_error_of_a_store_that_is_no_store_error_ends_no_worker(self, app, double):
        async with bench(app) as line:
            handle = await double.enqueue(1)
            line.faults.errors["settle"] = [TypeError("a bug of the plugin")]
            await line.take()
            await line.finished()
            assert not len(line.inflight)
            again = await double.enqueue(2)
            await line.take()
            await line.finished()
            assert await again.result(1) == 4
            assert (await line.status(handle.id)) is None

    async def test_results_that_are_not_wanted_are_not_recorded(self, app, double):
        async with bench(app) as line:
            handle = await double.options(store_result=False).enqueue(1)
            await line.take()
            await line.finished()
            assert await line.status(handle.id) is None
            assert (await line.depth()).leased == 0


class TestLostLeases:
    async def test_a_completion_after_the_grant_to_another_is_dropped(self, app, clock_app, caplog):
        app, clock = clock_app
        go = asyncio.Event()

        @app.task
        async def t(ctx: TaskContext):
            if ctx.run == 1:
                await go.wait()
            return ctx.run

        lost = []
        app.signals.task_lease_lost.connect(lost.append)
        app.signals.task_succeeded.connect(lost.append)
        async with bench(app) as line:
            handle = await t.enqueue()
            await line.take()
            await asyncio.sleep(0)
            clock.advance(31)
            (other,) = await line.claim()
            assert other.receipt.run == 2
            go.set()
            await line.finished()
            assert await line.status(handle.id) is None
            assert (await line.depth()).leased == 1
            line.line.announcer.close()
            await asyncio.sleep(0)
        (event,) = lost
        assert (event.event_name, event.run) == ("task-lease-lost", 1)
        assert "its outcome is dropped" in caplog.text

    async def test_an_entry_that_was_lost_is_never_written(self, app, double):
        async with bench(app) as line:
            await double.enqueue(1)
            (entry,) = await line.take()
            entry.interrupt = "lease-lost"
            await line.finished()
            assert line.faults.batches == []
            assert not len(line.inflight)


@pytest.fixture
def clock_app():
    from stem_core.testing.clock import FakeClock

    clock = FakeClock()
    return flaky_app(clock=clock), clock


class TestOutbox:
    async def test_is_published_with_the_success(self, app, double):
        @app.task
        async def parent(ctx: TaskContext):
            handles = [ctx.enqueue(double, n) for n in range(2)]
            assert (await app.session.broker.depth(["default"]))["default"].ready == 0
            return [handle.id for handle in handles]

        async with bench(app) as line:
            handle = await parent.enqueue()
            line.start_intake()
            await line.idle()
            children = [app.handle(id) for id in await handle.result(1)]
            assert [await child.result(1) for child in children] == [0, 2]

    async def test_is_dropped_with_the_failure_and_a_second_run_makes_the_same_ids(self, app, double):
        ids = []

        @app.task(retry=RetryPolicy.fixed(0))
        async def parent(ctx: TaskContext):
            ids.append(ctx.enqueue(double, 1).id)
            if ctx.attempt == 1:
                raise ValueError
            return

        async with bench(app) as line:
            await parent.enqueue()
            await line.take()
            await line.finished()
            assert (await line.depth()).ready == 1
            line.start_intake()
            await line.idle()
            assert await app.handle(ids[0]).result(1) == 2
        assert ids[0] == ids[1]
        assert line.faults.calls["publish"] == 2

    async def test_is_published_before_the_ack(self, app, double):
        @app.task
        def parent(ctx: TaskContext):
            ctx.enqueue(double, 1)

        async with bench(app) as line:
            await parent.enqueue()
            line.faults.down.add("settle")
            await line.take()
            await until(lambda: line.faults.calls["settle"])
            depth = await line.depth()
            assert (depth.ready, depth.leased) == (1, 1)

    async def test_is_tried_again_while_the_broker_is_away(self, app, double):
        @app.task
        async def parent(ctx: TaskContext):
            return ctx.enqueue(double, 1).id

        async with bench(app) as line:
            handle = await parent.enqueue()
            line.faults.down.add("publish")
            await line.take()
            await until(lambda: line.faults.calls["publish"] >= 4)
            line.faults.down.clear()
            await line.finished()
            line.start_intake()
            await line.idle()
            assert await app.handle(await handle.result(1)).result(1) == 2

    @pytest.mark.parametrize(
        "error", [ConfigurationError("not allowed"), PermissionError("not allowed")], ids=["ours", "another"]
    )
    async def test_one_that_is_refused_fails_its_own_task_only(self, error):
        class Guard(Middleware):
            def enqueue(self, envelope):
                if envelope.header.headers.get("tenant") == "bad":
                    raise error
                return envelope

        app = flaky_app(middleware=[Guard()])

        @app.task
        async def child():
            pass

        @app.task
        async def parent(ctx: TaskContext, tenant: str):
            ctx.enqueue(child.options(headers={"tenant": tenant}))

        async with bench(app) as line:
            good, bad = [await parent.enqueue(tenant) for tenant in ("good", "bad")]
            await line.take()
            await line.finished()
            assert (await line.status(good.id)).state is TaskState.SUCCEEDED
            status = await line.status(bad.id)
            assert (status.state, status.reason) == (TaskState.FAILED, "outbox-refused")
            assert "not allowed" in status.error.message
            depth = await line.depth()
            assert (depth.ready, depth.dead) == (1, 1)

    async def test_of_a_run_that_lost_its_lease_is_not_published(self, app, double):
        go = asyncio.Event()

        @app.task
        async def parent(ctx: TaskContext):
            ctx.enqueue(double, 1)
            await go.wait()

        async with bench(app) as line:
            await parent.enqueue()
            (entry,) = await line.take()
            await until(lambda: entry.ctx is not None and entry.ctx.outbox)
            line.line.settler.lose(entry)
            go.set()
            await line.finished()
            assert line.faults.calls["publish"] == 1


class TestStatuses:
    async def test_a_success_has_its_result_and_its_times(self, app, double):
        async with bench(app) as line:
            handle = await double.enqueue(2)
            await line.take()
            await line.finished()
            status = await line.status(handle.id)
        assert attrs.asdict(status) | {"enqueued_at": 0, "started_at": 0, "finished_at": 0} == {
            "id": handle.id,
            "task": "double",
            "queue": "default",
            "state": TaskState.SUCCEEDED,
            "run": 1,
            "attempt": 1,
            "result": b"4",
            "error": None,
            "reason": None,
            "progress": None,
            "worker": line.plan.worker,
            "enqueued_at": 0,
            "started_at": 0,
            "alive_at": None,
            "finished_at": 0,
            "retry_at": None,
            "ttl": 86400.0,
        }
        assert status.enqueued_at <= status.started_at <= status.finished_at

    async def test_the_time_to_live_comes_from_the_call_the_task_or_the_settings(self, app):
        @app.task(result_ttl=50)
        async def own():
            pass

        async with bench(app) as line:
            first = await own.enqueue()
            second = await own.options(result_ttl=20).enqueue()
            await line.take()
            await line.finished()
            assert (await line.status(first.id)).ttl == 50
            assert (await line.status(second.id)).ttl == 20

    async def test_a_message_that_cannot_be_trusted_leaves_no_status(self, app, double):
        from support.deliveries import sealed

        async with bench(app) as line:
            await line.session.broker.publish([attrs.evolve(sealed("forged"), header=b"{}")])
            await line.take()
            await line.finished()
            assert await line.status("forged") is None
            assert (await line.depth()).dead == 1
