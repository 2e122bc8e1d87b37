"""Broadcasts in workers on the memory broker."""

import asyncio
import itertools
import logging
import math

import attrs
import pytest

from stem_core import RetryPolicy, Stem, TaskContext
from stem_core.client import broadcasting, sync
from stem_core.client.broadcasting import on_wire
from stem_core.contracts import Middleware
from stem_core.errors import (
    ConfigurationError,
    InvalidSetting,
    ProcessLost,
    PublishError,
    ResultError,
    StoreUnavailable,
)
from stem_core.testing import SignalRecorder
from stem_core.worker import Worker
from stem_core.worker.broadcasts import Listening
from stem_core.worker.inflight import Entry
from stem_core.worker.leases import Leases
from support.deliveries import delivery
from support.until import until

_numbers = itertools.count(1)

ROUTING = {
    "channels": {"news": {}, "kept": {"delivery": "retained", "ttl": "1m"}},
    "routes": [{"task": "kept.*", "channel": "kept"}, {"task": "news.*", "channel": "news"}],
}


@pytest.fixture
def app():
    return Stem("t", broker_url=f"memory://broadcasts-{next(_numbers)}", plugins=[], routing_config=ROUTING)


@pytest.fixture
def ran(app):
    """Which worker ran what, by the tasks ``news.note`` and ``kept.note``."""
    ran = []

    @app.task(name="news.note", aliases=["kept.note"])
    async def note(ctx: TaskContext, what: str = ""):
        ran.append((ctx.worker, what))

    return ran


def worker(app, name, **options):
    return Worker(app, **{"name": name, "broadcasts": ["news", "kept"], **options})


async def dead(app):
    broker = app.session.broker
    return [letter for queue in await broker.queues() for letter in await broker.dead_letters(queue)]


class TestFanOut:
    async def test_each_worker_that_listens_runs_its_copy_once(self, app, ran):
        async with app.open(), worker(app, "a"), worker(app, "b"), worker(app, "deaf", broadcasts=["kept"]):
            await app.enqueue("news.note", "x")
            await until(lambda: len(ran) >= 2)
        assert sorted(ran) == [("a", "x"), ("b", "x")]

    async def test_who_starts_later_gets_what_is_retained(self, app, ran):
        async with app.open():
            await app.enqueue("news.note", "live")
            await app.enqueue("kept.note", "retained")
            async with worker(app, "late"):
                await app.enqueue("news.note", "end")
                await until(lambda: len(ran) >= 2)
        assert sorted(ran) == [("late", "end"), ("late", "retained")]

    async def test_what_is_sent_again_runs_once(self, app, ran):
        async with app.open(), worker(app, "a"):
            for what in ("first", "again"):
                await app.submit(app.call("news.note", [what], id="same"))
            await app.enqueue("news.note", "end")
            await until(lambda: ("a", "end") in ran)
        assert ran == [("a", "first"), ("a", "end")]

    async def test_one_id_on_two_channels_is_two_copies_also_while_both_wait_for_a_retry(self, app):
        runs = []

        @app.task(name="news.flaky", aliases=["kept.flaky"], retry=RetryPolicy.fixed(0.2))
        async def flaky(ctx: TaskContext):
            runs.append((ctx.queue, ctx.attempt))
            if ctx.attempt == 1:
                raise ValueError("once")

        async with app.open(), worker(app, "a"):
            for name in ("news.flaky", "kept.flaky"):
                await app.submit(app.call(name, id="same"))
            await until(lambda: len(runs) == 4)
        assert sorted(runs) == [("kept", 1), ("kept", 2), ("news", 1), ("news", 2)]

    async def test_queues_and_channels_in_one_call(self, app, ran):
        @app.task(name="own")
        async def own(ctx: TaskContext):
            ran.append((ctx.queue, ctx.header.channel))

        async with app.open(), worker(app, "a"):
            await app.enqueue_many([app.call("own"), app.call("news.note"), own.call()])
            await until(lambda: len(ran) == 3)
        assert sorted(ran, key=str) == [("a", ""), ("default", None), ("default", None)]

    async def test_a_copy_is_seen_as_its_channel_and_needs_a_slot(self, app):
        running, seen, go = [], [], asyncio.Event()

        @app.task(name="news.hold")
        async def hold(ctx: TaskContext):
            seen.append((ctx.queue, ctx.header.channel, ctx.attempt, ctx.run))
            running.append(ctx.id)
            await go.wait()
            running.remove(ctx.id)

        async with app.open(), worker(app, "a", concurrency=2) as one:
            await app.enqueue_many([hold.call() for _ in range(5)])
            await until(lambda: one.heartbeat().prefetched == 3)
            assert len(running) == 2
            go.set()
            await until(lambda: len(seen) == 5)
        assert set(seen) == {("news", "news", 1, 1)}

    async def test_what_its_success_enqueues_is_enqueued_once_for_all_copies(self, app, ran):
        @app.task(name="news.parent")
        async def parent(ctx: TaskContext):
            ctx.enqueue(child)
            ran.append((ctx.worker, "parent"))

        @app.task(name="child")
        async def child(ctx: TaskContext):
            ran.append(("any", "child"))

        async with app.open(), worker(app, "a", queues=["x"]), worker(app, "b", queues=["x"]):
            with SignalRecorder(app.signals, "task-succeeded") as heard:
                await parent.enqueue()
                await until(lambda: len(heard.events) == 2)
            assert (await app.session.broker.depth(["default"]))["default"].ready == 1

    async def test_a_task_may_broadcast_with_its_success(self, app, ran):
        @app.task(name="own")
        async def own(ctx: TaskContext):
            ctx.enqueue(app.tasks["news.note"], "from the outbox")

        async with app.open(), worker(app, "a"):
            await own.enqueue()
            await until(lambda: ran)
        assert ran == [("a", "from the outbox")]


class TestOutcomes:
    async def test_the_signals_of_success(self, app, ran):
        async with app.open(), worker(app, "a"):
            with SignalRecorder(app.signals) as heard:
                handle = await app.enqueue("news.note")
                await until(lambda: heard.of("task-postrun"))
            assert heard.names == [
                "before-task-publish",
                "after-task-publish",
                "task-received",
                "task-prerun",
                "task-succeeded",
                "task-postrun",
            ]
            (received,) = heard.of("task-received")
            assert (received.task, received.queue, received.id) == ("news.note", "news", handle.id)
            assert await app.session.backend.get([handle.id]) == {}

    async def test_a_retry_stays_in_the_worker(self, app):
        attempts = []

        @app.task(name="news.flaky", retry=RetryPolicy.fixed(0.01))
        async def flaky(ctx: TaskContext):
            attempts.append((ctx.worker, ctx.attempt, ctx.run))
            if ctx.attempt == 1:
                raise ValueError("broken")

        async with app.open(), worker(app, "a"), worker(app, "b"):
            await flaky.enqueue()
            await until(lambda: len(attempts) == 4)
            assert await app.session.broker.queues() == []
        assert sorted(attempts) == [("a", 1, 1), ("a", 2, 2), ("b", 1, 1), ("b", 2, 2)]

    async def test_who_fails_for_good_is_told_of_and_is_no_dead_letter(self, app, caplog):
        @app.task(name="news.broken", max_retries=1, retry=RetryPolicy.fixed(0))
        async def broken():
            raise ValueError("broken")

        async with app.open(), worker(app, "a"):
            with SignalRecorder(app.signals) as heard:
                await broken.enqueue()
                await until(lambda: len(heard.of("task-postrun")) == 2)
            assert heard.names[2:] == [
                "task-received",
                "task-prerun",
                "task-retried",
                "task-postrun",
                "task-received",
                "task-prerun",
                "task-failed",
                "task-postrun",
            ]
            assert await dead(app) == []
        assert "failed for good in attempt 2 (failed): ValueError: broken" in caplog.text

    async def test_a_copy_whose_process_is_lost_runs_again_until_it_is_a_suspect_too_often(self, app, caplog):
        ran = []

        @app.task(name="news.perish")
        async def perish(ctx: TaskContext):
            ran.append((ctx.attempt, ctx.run))
            raise ProcessLost("killed")

        async with app.open(), worker(app, "a", max_crashes=2):
            with SignalRecorder(app.signals, "task-rejected", "task-dead-lettered") as heard:
                await perish.enqueue()
                await until(lambda: heard.events)
            assert heard.names == ["task-rejected"]
        assert ran == [(1, 1), (1, 2)]
        assert "is dropped as max-crashes: lost 2 times with the worker or process that ran it" in caplog.text

    async def test_an_unknown_task_is_dropped(self, app, caplog):
        async with app.open(), worker(app, "a"):
            with SignalRecorder(app.signals, "task-rejected", "task-dead-lettered") as heard:
                await app.enqueue("news.nowhere")
                await until(lambda: heard.events)
            assert heard.names == ["task-rejected"]
            assert await dead(app) == []
        assert "is dropped as unknown-task: no task 'news.nowhere' is registered here" in caplog.text
        assert "dead letters" not in caplog.text

    async def test_a_revoked_copy_does_not_run(self, app, ran):
        async with app.open():
            handle = await app.enqueue("kept.note")
            assert await handle.cancel() is False
            with SignalRecorder(app.signals, "task-revoked") as heard:
                async with worker(app, "a"):
                    await until(lambda: heard.events)
        assert ran == []

    async def test_a_time_limit_holds(self, app):
        @app.task(name="news.slow", soft_time_limit=0.05, max_retries=0)
        async def slow():
            await asyncio.Event().wait()

        async with app.open(), worker(app, "a"):
            with SignalRecorder(app.signals, "task-failed") as heard:
                await slow.enqueue()
                await until(lambda: heard.events)
        assert heard.events[0].reason == "time-limit"

    async def test_bytes_that_are_no_message_are_dropped(self, app, ran, caplog):
        async with app.open() as session, worker(app, "a"):
            await session.broker.send(on_wire("stem", "news"), b"junk", 60.0)
            await app.enqueue("news.note", "after")
            await until(lambda: ran)
        assert "dropped a message on the channel news: the broadcast is unreadable" in caplog.text

    async def test_a_message_of_another_channel_is_dropped(self, app, ran, caplog):
        heard = []
        async with app.open() as session:
            stream = session.broker.listen([on_wire("stem", "news")])
            await app.enqueue("news.note", "replayed")
            heard.append((await anext(stream))[1])
            async with worker(app, "a"):
                await session.broker.send(on_wire("stem", "kept"), heard[0], 60.0)
                await app.enqueue("news.note", "after")
                await until(lambda: ran)
        assert ran == [("a", "after")]
        assert "dropped a message on the channel kept: it was sealed for 'news'" in caplog.text


class TestStopping:
    async def test_what_runs_is_awaited(self, app, ran):
        started = asyncio.Event()

        @app.task(name="news.slow")
        async def slow(ctx: TaskContext):
            started.set()
            await asyncio.sleep(0.05)
            ran.append("done")

        async with app.open(), worker(app, "a") as one:
            await slow.enqueue()
            await started.wait()
        assert ran == ["done"]
        assert one.exit_code == 0

    @pytest.mark.parametrize("mode", ["soft", "hard"])
    async def test_what_is_interrupted_is_dropped(self, app, mode, caplog):
        caplog.set_level(logging.INFO)
        started = asyncio.Event()

        @app.task(name="news.endless")
        async def endless(ctx: TaskContext):
            started.set()
            await asyncio.Event().wait()

        async with app.open(), worker(app, "a") as one:
            handle = await endless.enqueue()
            await started.wait()
            one.stop(mode)
        assert one.exit_code == 4
        assert f"news.endless[{handle.id}] dropped: shutdown" in caplog.text
        assert "could not" not in caplog.text

    async def test_what_has_not_started_is_dropped(self, app):
        go, order = asyncio.Event(), []

        @app.task(name="news.hold")
        async def hold(ctx: TaskContext, n: int):
            order.append(n)
            await go.wait()

        async with app.open(), worker(app, "a", concurrency=1) as one:
            await app.enqueue_many([hold.call(n) for n in range(3)])
            await until(lambda: one.heartbeat().prefetched == 2)
            one.stop()
            await until(lambda: one.heartbeat().prefetched == 0)
            go.set()
        assert (order, one.exit_code) == ([0], 0)

    async def test_a_retry_that_is_not_due_is_dropped(self, app, caplog):
        @app.task(name="news.broken", retry=RetryPolicy.fixed(60))
        async def broken():
            raise ValueError("broken")

        async with app.open(), worker(app, "a") as one:
            with SignalRecorder(app.signals, "task-retried") as heard:
                await broken.enqueue()
                await until(lambda: heard.events)
        assert one.exit_code == 0
        assert "copies of broadcasts dropped, which had not started or waited for a retry: 1" in caplog.text

    async def test_a_retry_that_is_decided_while_stopping_is_dropped(self, app, caplog):
        started, go, stopping = asyncio.Event(), asyncio.Event(), asyncio.Event()
        app.signals.worker_stopping.connect(lambda _: stopping.set())

        @app.task(name="news.broken", retry=RetryPolicy.fixed(0))
        async def broken():
            started.set()
            await go.wait()
            raise ValueError("broken")

        async with app.open(), worker(app, "a") as one:
            handle = await broken.enqueue()
            await started.wait()
            one.stop()
            await stopping.wait()
            go.set()
        assert f"dropped the copy {handle.id} of news: the worker stops before its retry" in caplog.text

    async def test_a_copy_whose_arrival_is_being_told_is_dropped(self, app, ran):
        told = asyncio.Event()

        @app.signals.task_received.connect
        async def slow_handler(event):
            told.set()
            await asyncio.sleep(0.2)

        async with app.open(), worker(app, "a") as one:
            await app.enqueue("news.note")
            await told.wait()
        assert (ran, one.exit_code) == ([], 0)


class TestLeases:
    async def test_no_broker_is_asked_about_a_copy(self, app):
        async with app.open() as session:
            copy, leased = Entry(delivery(), 0.0, math.inf), Entry(delivery(), 0.0, 30.0)
            assert (copy.leased, leased.leased) == (False, True)

            @attrs.define
            class View:
                inflight: object
                clock: object = session.clock

            @attrs.define
            class Held:
                entries: list

                def snapshot(self):
                    return self.entries

            # Both would fail with an error: the view has nothing that renewing or interrupting needs.
            leases = Leases(View(Held([copy])), session)
            await leases.renew()
            leases.fence()


class TestListening:
    """What becomes of a stream that fails."""

    async def test_is_replaced_by_one_that_hears_what_was_missed(self, app, caplog):
        heard, opened = [], []

        class Failing:
            def listen(self, channels, since=None):
                opened.append(since)
                return self.stream(len(opened))

            async def stream(self, number):
                yield "news", b"%d" % number
                if number == 1:
                    raise StoreUnavailable("cut off")
                await asyncio.Event().wait()

        async def hear(channel, data):
            heard.append((channel, data))

        async with app.open() as session:
            began = session.clock.now()
            listening = asyncio.create_task(Listening(session, Failing(), ["news"], retained=False, hear=hear).run())
            await until(lambda: len(heard) == 2)
            listening.cancel()
            await asyncio.wait([listening])
        assert heard == [("news", b"1"), ("news", b"2")]
        assert opened[0] is None
        assert opened[1] == pytest.approx(began, abs=5.0)
        assert "cannot listen to broadcasts, trying on: cut off" in caplog.text


class TestRefusals:
    async def test_a_channel_that_is_not_declared(self, app):
        with pytest.raises(InvalidSetting) as caught:
            Worker(app, broadcasts="new")
        assert caught.value.message.endswith(": worker.broadcasts = 'new': expected a channel that [routing] declares")
        assert caught.value.hint == "did you mean news?"

    @pytest.fixture
    def mute(self, monkeypatch):
        """The memory broker counts as one without broadcasts."""
        monkeypatch.setattr(broadcasting, "Broadcasts", type("Another", (), {}))

    async def test_a_broker_without_broadcasts_fails_the_worker_at_its_start(self, app, mute):
        with pytest.raises(ConfigurationError) as caught:
            async with worker(app, "a"):
                raise AssertionError("it must not start")
        assert str(caught.value) == (
            "this worker is to listen to the broadcast channel news, kept, but MemoryBroker has no broadcasts\n"
            "  hint: use a broker that has them, such as sqlite:// or redis://, or route the task to a queue"
        )

    async def test_a_broker_without_broadcasts_fails_the_producer(self, app, ran, mute):
        async with app.open() as session:
            with pytest.raises(ConfigurationError, match=r"news\.note goes to the broadcast channel news, but"):
                await app.enqueue_many([app.call("own"), app.call("news.note")])
            # Nothing was sent.
            assert await session.broker.queues() == []


class Moved(Middleware):
    def enqueue(self, envelope):
        return envelope.replace(**self.changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"channel": "other", "queue": "other"}, "the channel 'other', which is not declared"),
        ({"queue": "other"}, "the channel 'news', but its queue is 'other'"),
        ({"queue": "other", "channel": None}, None),
    ],
    ids=["to another channel", "to a queue alone", "to a queue"],
)
async def test_what_middleware_may_change(app, ran, changes, told):
    layer = Moved()
    layer.changes = changes
    app.middleware = (layer,)
    async with app.open() as session:
        if told is None:
            await app.enqueue("news.note")
            assert await session.broker.queues() == ["other"]
        else:
            with pytest.raises(PublishError, match=told):
                await app.enqueue("news.note")
            assert await session.broker.queues() == []


async def test_a_handle_says_at_once_that_there_is_no_result(app, ran):
    async with app.open():
        handle = await app.enqueue("news.note")
        for wait in (handle.result(), anext(handle.watch())):
            with pytest.raises(ResultError) as caught:
                await wait
            assert str(caught.value) == (
                f"news.note [{handle.id}] is a broadcast on the channel 'news': every worker that listens runs a copy "
                "of it, and none of them has a result\n"
                "  hint: name a queue to have it run once: options(queue=...)"
            )
        assert (await handle.status()).state == "unknown"


def test_code_without_a_loop_may_broadcast(app, ran):
    try:
        handle = app.enqueue_sync("news.note")
        with pytest.raises(ResultError, match="is a broadcast"):
            handle.result_sync()
    finally:
        sync.close()
