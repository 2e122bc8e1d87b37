"""Copies of broadcasts and jobs in one worker: neither takes from the other what is its own."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest

from stem_core import RetryPolicy, Stem, TaskContext
from stem_core.errors import ConfigurationError, InvalidOption, InvalidSetting
from stem_core.testing import FakeClock, SignalRecorder
from stem_core.worker import Worker, life
from support.until import until

_numbers = itertools.count(1)

ROUTING = {"channels": {"news": {}}, "routes": [{"task": "news.*", "channel": "news"}]}


def make_app(**given):
    return Stem("t", broker_url=f"memory://beside-{next(_numbers)}", plugins=[], routing_config=ROUTING, **given)


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def runs(app):
    """What ran by name; the tasks ``news.hold`` and ``hold`` run until ``go`` is set."""

    runs = SimpleNamespace(of=[], done=[], go=asyncio.Event())

    @app.task(name="news.hold", aliases=["hold"])
    async def hold(ctx: TaskContext):
        runs.of.append(ctx.queue)
        await runs.go.wait()
        runs.done.append(ctx.queue)

    return runs


def worker(app, **options):
    return Worker(app, **{"broadcasts": ["news"], **options})


def inflight_of(one):
    return one._life._inflight


class TestRoom:
    def test_reserves_leave_a_slot_for_copies(self, app):
        with pytest.raises(InvalidSetting) as refused:
            worker(app, queues=["mail", "bulk"], concurrency=2, reserve={"mail": 1, "bulk": 1})
        assert refused.value.message.endswith("all 2 slots are reserved, and none is left for broadcasts on news")
        worker(app, queues=["mail", "bulk"], concurrency=2, reserve={"mail": 1, "bulk": 1}, broadcasts=[])

    def test_and_do_so_when_the_slots_become_fewer(self, app):
        one = worker(app, queues=["mail"], concurrency=3, reserve={"mail": 2})
        with pytest.raises(InvalidOption, match="concurrency"):
            one.scale(2)

    @pytest.mark.parametrize("prefetch", [0, 4])
    async def test_a_flood_of_copies_takes_no_reserve(self, app, runs, prefetch):
        options = {"queues": ["mail", "bulk"], "concurrency": 2, "reserve": {"mail": 1}, "prefetch": prefetch}
        async with app.open(), worker(app, **options) as one:
            await app.enqueue_many([app.call("news.hold") for _ in range(12)])
            await until(lambda: one.heartbeat().prefetched == 11)
            await app.submit(app.call("hold", queue="mail"))
            await until(lambda: "mail" in runs.of)
            assert runs.of == ["news", "mail"]
            lanes = inflight_of(one).lanes
            assert dict(lanes.counts) == {"mail": 1}
            runs.go.set()
            await until(lambda: len(runs.done) == 13)
            await until(lambda: not len(inflight_of(one)))
            assert (lanes.total, inflight_of(one).copies) == (0, 0)

    async def test_a_flood_of_copies_stops_no_claim(self, app, runs):
        async with app.open(), worker(app, concurrency=1, prefetch=1) as one:
            await app.enqueue_many([app.call("news.hold") for _ in range(12)])
            await until(lambda: one.heartbeat().prefetched == 11)
            await app.enqueue_many([app.call("hold") for _ in range(3)])
            # One for the slot, and one for the prefetch.
            await until(lambda: one.heartbeat().prefetched == 13)
            runs.go.set()
            await until(lambda: len(runs.done) == 15)

    async def test_a_pause_takes_no_copies(self, app, runs):
        async with app.open(), worker(app, concurrency=1, prefetch=2) as one:
            await app.enqueue_many([app.call("news.hold") for _ in range(3)])
            await until(lambda: one.heartbeat().prefetched == 2)
            await one._life._line.steering.pause("news", "test")
            assert one.heartbeat().prefetched == 2
            runs.go.set()
            await until(lambda: len(runs.done) == 3)


class TestTheSameId:
    @pytest.mark.parametrize("order", [("hold", "news.hold"), ("news.hold", "hold")])
    async def test_a_job_and_a_copy_know_nothing_of_each_other(self, app, runs, order, caplog):
        async with app.open(), worker(app) as one:
            for number, task in enumerate(order, 1):
                await app.submit(app.call(task, id="nightly"))
                await until(lambda number=number: len(runs.of) == number)
            inflight = inflight_of(one)
            job, copy = inflight.get("nightly"), inflight.get("nightly", "news")
            assert (job.leased, copy.leased, len(inflight)) == (True, False, 2)
            # Both are renewed and stopped from what is held.
            assert set(inflight.snapshot()) == {job, copy}
            runs.go.set()
            await until(lambda: not len(inflight))
        assert sorted(runs.done) == ["default", "news"]
        assert "lost its lease" not in caplog.text

    async def test_the_end_of_the_copy_leaves_the_job(self, app, runs):
        @app.task(name="news.quick")
        async def quick():
            pass

        async with app.open(), worker(app) as one:
            await app.submit(app.call("hold", id="nightly"))
            await until(lambda: runs.of)
            with SignalRecorder(app.signals, "task-succeeded") as heard:
                await app.submit(app.call("news.quick", id="nightly"))
                await until(lambda: heard.events)
            assert inflight_of(one).get("nightly").asyncio_task is not None
            runs.go.set()

    async def test_a_revocation_stops_both(self, app, runs):
        async with app.open(), worker(app):
            for task in ("hold", "news.hold"):
                await app.submit(app.call(task, id="nightly"))
            await until(lambda: len(runs.of) == 2)
            with SignalRecorder(app.signals, "task-revoked") as heard:
                await app.handle("nightly").cancel()
                await until(lambda: len(heard.events) == 2)
        assert sorted(event.queue for event in heard.events) == ["default", "news"]
        assert runs.done == []

    async def test_a_copy_tells_of_its_progress(self, app):
        go = asyncio.Event()

        @app.task(name="news.tells")
        async def tells(ctx: TaskContext):
            ctx.progress(40)
            await go.wait()

        async with app.open(), worker(app):
            with SignalRecorder(app.signals, "task-progress") as heard:
                await tells.enqueue()
                await until(lambda: heard.events)
            go.set()
        assert heard.events[0].queue == "news"


async def test_a_retried_copy_expires():
    clock = FakeClock()
    app, ran = make_app(clock=clock), []

    @app.task(name="news.late", retry=RetryPolicy.fixed(0))
    async def late():
        ran.append(clock.now())
        clock.advance(2.0)
        raise ValueError("broken")

    async with app.open(), worker(app):
        with SignalRecorder(app.signals, "task-expired") as heard:
            await late.options(expires=1.0).enqueue()
            await until(lambda: heard.events or len(ran) > 1)
    assert len(ran) == 1


class TestNames:
    def test_a_queue_of_the_worker(self, app):
        with pytest.raises(InvalidSetting) as refused:
            worker(app, queues=["mail", "news:2"])
        assert ": worker.queues = mail,news:2: 'news' is a broadcast channel (code " in refused.value.message
        assert refused.value.hint == "listen to it with --broadcast news, or give one of the two another name"

    def test_the_queue_of_a_task(self, app):
        @app.task(name="own", queue="news")
        async def own():
            pass

        with pytest.raises(ConfigurationError) as refused:
            worker(app)
        assert "task own has the queue 'news', which is the name of a broadcast channel (code " in refused.value.message
        assert refused.value.hint.endswith("route it: task = 'own', channel = 'news'")

    def test_a_task_that_a_route_sends_there_needs_no_queue(self, app):
        @app.task(name="news.own", queue="news")
        async def own():
            pass

        worker(app)


async def test_a_start_that_fails_leaves_no_listener(app, monkeypatch):
    async def fails(*arguments):
        raise ConfigurationError("no children today")

    async with app.open() as session:
        channels = session.broker._store.channels
        async with worker(app):
            assert len(channels._listeners) == 1
        assert channels._listeners == []
        monkeypatch.setattr(life, "start_strategies", fails)
        with pytest.raises(ConfigurationError, match="no children today"):
            await worker(app).run()
        assert channels._listeners == []
