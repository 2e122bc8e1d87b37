"""Which signals a delivery and a worker fire, and in which order."""

import asyncio

import attrs
import pytest

from stem_core import RetryPolicy, TaskContext
from stem_core.errors import ProcessLost
from stem_core.model import Failed, HandedBack, QueueDepth, Succeeded
from stem_core.testing.clock import FakeClock
from stem_core.worker import Worker
from support.bench import bench, flaky_app
from support.deliveries import sealed
from support.until import until


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    return flaky_app(clock=clock)


@pytest.fixture
def heard(app):
    """Everything that is fired for tasks, in order."""
    events = []
    for signal in app.signals:
        if signal.name.startswith("task-"):
            signal.connect(events.append)
    return events


async def names(line, heard):
    """The events so far, once the announcer has caught up."""
    await line.finished()
    await until(lambda: not line.line.announcer._ends)
    await asyncio.sleep(0)
    return [event.event_name for event in heard]


async def run(app, heard, *calls, **options):
    async with bench(app, **options) as line:
        handles = [await call.enqueue() for call in calls]
        await deliver(line)
        return handles, await names(line, heard)


async def deliver(line):
    """As the intake does it: what is received is told of."""
    line.start_intake()
    await line.idle()


class TestOrder:
    async def test_success(self, app, heard):
        @app.task
        async def t():
            heard.append(attrs.make_class("Run", {"event_name": attrs.field(default="the function")})())
            return 1

        (handle,), order = await run(app, heard, t)
        assert order == ["task-received", "task-prerun", "the function", "task-succeeded", "task-postrun"]
        received, prerun, _, succeeded, postrun = heard
        assert (received.crashes, succeeded.result, postrun.outcome) == (0, b"1", Succeeded(result=b"1"))
        for event in (received, prerun, succeeded, postrun):
            identity = (event.id, event.task, event.queue, event.attempt, event.run)
            assert identity == (handle.id, t.name, "default", 1, 1)
            assert event.worker == succeeded.worker != ""

    async def test_failure(self, app, heard):
        @app.task(max_retries=0)
        async def t():
            raise ValueError("broken")

        _, order = await run(app, heard, t)
        assert order == ["task-received", "task-prerun", "task-failed", "task-dead-lettered", "task-postrun"]
        failed, dead, postrun = heard[2:]
        assert (failed.reason, failed.error.message) == ("failed", "broken")
        assert (dead.reason, dead.detail) == ("failed", "ValueError: broken")
        assert isinstance(postrun.outcome, Failed)

    async def test_retry(self, app, heard):
        @app.task(retry=RetryPolicy.fixed(0))
        async def t(ctx: TaskContext):
            if ctx.attempt == 1:
                raise ValueError("broken")

        _, order = await run(app, heard, t)
        assert order[:4] == ["task-received", "task-prerun", "task-retried", "task-postrun"]
        assert order[4:] == ["task-received", "task-prerun", "task-succeeded", "task-postrun"]
        assert (heard[2].reason, heard[2].delay, heard[2].attempt) == ("failed", 0.0, 1)
        assert [event.attempt for event in heard[4:]] == [2] * 4

    async def test_revoked_before_its_start(self, app, heard):
        @app.task
        async def t():
            raise AssertionError("is not called")

        async with bench(app) as line:
            handle = await t.options(delay=10).enqueue()
            app.clock.advance(10)
            line.view.revocations.known[handle.id] = ("no more", app.clock.now())
            await deliver(line)
            assert await names(line, heard) == ["task-received", "task-revoked"]
        assert heard[1].detail == "no more"

    async def test_expired(self, app, heard):
        @app.task
        async def t():
            raise AssertionError("is not called")

        async with bench(app) as line:
            await t.options(expires=5).enqueue()
            app.clock.advance(6)
            await deliver(line)
            assert await names(line, heard) == ["task-received", "task-expired"]

    async def test_rejected(self, app, heard):
        async with bench(app) as line:
            await line.session.broker.publish([attrs.evolve(sealed(), header=b"{}")])
            await deliver(line)
            assert await names(line, heard) == ["task-received", "task-rejected", "task-dead-lettered"]
        assert (heard[1].reason, heard[1].task, heard[2].reason) == ("unreadable", "", "unreadable")

    async def test_handed_back(self, app, heard):
        started = asyncio.Event()

        @app.task
        async def t():
            started.set()
            await asyncio.Event().wait()

        async with bench(app, concurrency=1) as line:
            for _ in range(2):
                await t.enqueue()
            line.start_intake()
            await started.wait()
            await until(lambda: len(line.inflight) == 2)
            line.line.stop_claiming()
            line.line.interrupt_all()
            order = await names(line, heard)
        # The one that had not started has no postrun.
        assert sorted(order) == sorted(
            ["task-received", "task-received", "task-prerun", "task-handed-back", "task-handed-back", "task-postrun"]
        )
        (postrun,) = [event for event in heard if event.event_name == "task-postrun"]
        assert postrun.outcome == HandedBack(reason="shutdown")

    async def test_unknown_task(self, app, heard):
        async with bench(app) as line:
            await line.session.broker.publish([sealed(task="nobody")])
            await deliver(line)
            assert await names(line, heard) == ["task-received", "task-handed-back"]
        assert (heard[1].reason, heard[1].task) == ("unknown-task", "nobody")

    async def test_crashed(self, app, heard, clock):
        @app.task
        async def t():
            pass

        async with bench(app) as line:
            await t.enqueue()
            await line.claim()
            clock.advance(31)
            await deliver(line)
            order = await names(line, heard)
        assert order == ["task-crashed", "task-received", "task-prerun", "task-succeeded", "task-postrun"]
        assert (heard[0].crashes, heard[1].crashes) == (1, 1)

    async def test_a_lost_process_is_told_of_with_how_it_ended(self, app, heard):
        @app.task
        async def t():
            raise ProcessLost("process 7 was killed by SIGSEGV", signal=11, peak_rss=2**20)

        async with bench(app) as line:
            await t.enqueue()
            await deliver(line)
            await names(line, heard)
        crashed = next(event for event in heard if event.event_name == "task-crashed")
        assert (crashed.detail, crashed.crashes) == ("process 7 was killed by SIGSEGV", 1)
        assert (crashed.exit_status, crashed.signal, crashed.peak_rss) == (None, 11, 2**20)

    async def test_ends_are_told_only_when_the_store_has_confirmed_them(self, app, heard):
        @app.task
        async def t():
            pass

        async with bench(app) as line:
            await t.enqueue()
            line.faults.down.add("settle")
            line.start_intake()
            await until(lambda: line.faults.calls["settle"] > 1)
            assert [event.event_name for event in heard] == ["task-received", "task-prerun"]
            line.faults.down.clear()
            await line.finished()
            assert (await names(line, heard))[2:] == ["task-succeeded", "task-postrun"]


class TestHandlers:
    @pytest.mark.parametrize(
        "signal",
        ["task_received", "task_prerun", "task_succeeded", "task_postrun"],
    )
    async def test_one_that_raises_changes_nothing_but_a_counter(self, app, signal):
        @app.task
        async def t():
            return 5

        @getattr(app.signals, signal).connect
        async def broken(event):
            raise RuntimeError("a bug of the handler")

        async with bench(app) as line:
            handle = await t.enqueue()
            await deliver(line)
            assert await handle.result(1) == 5
            await until(lambda: app.signals.errors[signal.replace("_", "-")] == 1)
            assert await line.depth() == QueueDepth()

    async def test_a_slow_one_delays_no_settlement(self, app):
        go = asyncio.Event()

        @app.task
        async def t():
            pass

        @app.signals.task_succeeded.connect
        async def slow(event):
            await go.wait()

        async with bench(app) as line:
            for _ in range(3):
                await t.enqueue()
            await deliver(line)
            assert (await line.depth()).leased == 0
            go.set()

    async def test_disabled_signals_are_not_sent(self, monkeypatch, clock):
        monkeypatch.setenv("STEM_SIGNALS_DISABLED", "task-prerun")
        app = flaky_app(clock=clock)
        heard = []
        app.signals.task_prerun.connect(heard.append)

        @app.task
        async def t():
            pass

        await run(app, heard, t)
        assert heard == []

    async def test_filters_choose_by_task_and_queue(self, app):
        heard = []
        for signal in (app.signals.task_received, app.signals.task_succeeded):
            signal.connect(lambda event: heard.append((event.event_name, event.task)), task="mail.*")

        @app.task(name="mail.send")
        async def send():
            pass

        @app.task(name="other")
        async def other():
            pass

        async with bench(app) as line:
            await send.enqueue()
            await other.enqueue()
            await deliver(line)
            await names(line, [])
        assert heard == [("task-received", "mail.send"), ("task-succeeded", "mail.send")]


class TestWorker:
    async def test_init_ready_heartbeats_stopping_shutdown(self):
        app = flaky_app()
        events, beats = [], asyncio.Event()
        for signal in app.signals:
            if signal.name.startswith("worker-"):
                signal.connect(events.append)

        @app.signals.worker_heartbeat.connect
        def beat(event):
            beats.set()

        @app.signals.worker_ready.connect
        async def slow(event):
            # The thread has written its first record long before this returns.
            await asyncio.sleep(0.05)

        async with Worker(app, name="w1", heartbeat_interval=0.1):
            await beats.wait()
        order = [event.event_name for event in events]
        assert order[:2] == ["worker-init", "worker-ready"]
        assert order[-2:] == ["worker-stopping", "worker-shutdown"]
        assert set(order[2:-2]) == {"worker-heartbeat"}
        assert {event.worker for event in events} == {"w1"}
        assert (events[1].queues, events[1].concurrency) == (("default",), 100)
        assert (events[-2].mode, events[-2].reason, events[-1].exit_code) == ("warm", "leaving", 0)

    async def test_each_phase_of_stopping_is_told_once(self):
        app = flaky_app()
        modes = []
        app.signals.worker_stopping.connect(lambda event: modes.append(event.mode))
        started = asyncio.Event()

        @app.task
        async def t():
            started.set()
            await asyncio.Event().wait()

        async with app.open():
            await t.enqueue()
            running = asyncio.create_task((worker := Worker(app)).run())
            await started.wait()
            worker.stop("hard")
            assert await running == 4
        assert modes == ["hard"]

    async def test_shutdown_is_told_of_a_failure_too(self):
        app = flaky_app()
        codes = []
        app.signals.worker_shutdown.connect(lambda event: codes.append(event.exit_code))
        running = asyncio.create_task((worker := Worker(app)).run())
        await worker._life.ready.wait()
        worker._life._on_failure(RuntimeError("broken"))
        with pytest.raises(Exception, match="broken"):
            await running
        assert codes == [1]
