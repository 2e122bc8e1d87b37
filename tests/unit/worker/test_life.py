import asyncio
import signal
import threading
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from stem_core import RetryPolicy, Stem, TaskContext
from stem_core.errors import (
    ConfigurationError,
    InvalidOption,
    StemError,
    StoreUnavailable,
    WorkerAlreadyRunning,
    WorkerFailed,
)
from stem_core.model import HEARTBEATS
from stem_core.testing.clock import FakeClock
from stem_core.wire import decode_heartbeat
from stem_core.worker import Worker
from stem_core.worker.os_signals import STOP_SIGNALS
from support.bench import faults_of_app, flaky_app
from support.until import until


@pytest.fixture
def app():
    return flaky_app()


def endless(app):
    """A task that never ends by itself, and an event that tells that it runs."""
    started = asyncio.Event()

    @app.task(name="endless")
    async def task():
        started.set()
        await asyncio.Event().wait()

    return task, started


class TestStarting:
    async def test_ready_comes_with_everything_open(self, app):
        async with Worker(app) as worker:
            assert worker.phase == "running"
            assert app.is_open
        assert worker.phase == "stopped"
        assert not app.is_open
        assert worker.exit_code == 0

    async def test_a_store_that_is_down_is_an_error_of_the_start(self, app):
        faults_of_app(app).errors["open"] = [StoreUnavailable("nobody is there")]
        with pytest.raises(StoreUnavailable, match="nobody is there"):
            async with Worker(app):
                raise AssertionError("it must not start")

    async def test_a_store_that_the_pulse_cannot_open_is_an_error_of_the_start(self, app):
        faults = faults_of_app(app)
        opened = []

        async def third(verb):
            opened.append(verb)
            if opened.count("open") > 3:
                raise StoreUnavailable("no more connections")

        faults.before = third
        with pytest.raises(StoreUnavailable, match="no more connections"):
            async with Worker(app):
                raise AssertionError("it must not start")
        assert not app.is_open

    async def test_a_broker_that_answers_only_later_is_waited_for(self, app):
        @app.task
        async def t():
            return 1

        faults = faults_of_app(app)
        faults.down.add("receive")
        async with app.open(), Worker(app) as worker:
            handle = await t.enqueue()
            await until(lambda: faults.calls["receive"] > 1)
            assert worker.heartbeat().health == "degraded"
            faults.down.clear()
            assert await handle.result(10) == 1
            await until(lambda: worker.heartbeat().health == "idle")

    async def test_a_lifespan_is_entered_once_and_left_after_the_last_task(self):
        order = []

        @asynccontextmanager
        async def lifespan(app):
            order.append("enter")
            yield {"pool": 1}
            order.append("leave")

        app = flaky_app(lifespan=lifespan)
        task_started, go = asyncio.Event(), asyncio.Event()

        @app.task
        async def t(ctx: TaskContext):
            task_started.set()
            await go.wait()
            order.append(ctx.state)

        async with app.open(), Worker(app):
            await t.enqueue()
            await task_started.wait()
            go.set()
        assert order == ["enter", {"pool": 1}, "leave"]

    async def test_an_error_of_the_lifespan_is_one_of_the_worker(self):
        @asynccontextmanager
        async def lifespan(app):
            raise RuntimeError("no database")
            yield

        app = flaky_app(lifespan=lifespan)
        with pytest.raises(WorkerFailed, match="no database"):
            await Worker(app).run()
        async with app.open() as session:
            assert await session.state.list(HEARTBEATS) == []

    async def test_a_lifespan_that_is_no_context_manager_is_told(self):
        async def lifespan(app):
            return {"pool": 1}

        with pytest.raises(ConfigurationError) as refused:
            await Worker(flaky_app(lifespan=lifespan)).run()
        assert refused.value.message == (
            "the lifespan of the app 'bench' returned no asynchronous context manager but coroutine"
        )
        assert "@contextlib.asynccontextmanager" in refused.value.hint

    def test_the_main_program_logs_where_the_error_came_from(self, caplog):
        @asynccontextmanager
        async def lifespan(app):
            raise RuntimeError("no database")
            yield

        with pytest.raises(WorkerFailed, match="no database"):
            Worker(flaky_app(lifespan=lifespan)).run_blocking()
        assert "the worker fails with this error" in caplog.text
        assert 'raise RuntimeError("no database")' in caplog.text

    async def test_cancelled_while_it_starts_it_leaves_nothing_running(self, app):
        faults = faults_of_app(app)
        faults.held["put"] = answer = asyncio.Event()
        starting = asyncio.create_task(Worker(app).__aenter__())
        await until(lambda: faults.waiting["put"])
        starting.cancel()
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not app.is_open
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("stem-worker")] == []
        assert not any(thread.name == "stem-pulse" for thread in threading.enumerate())

    def test_a_task_that_no_strategy_runs_is_refused_before_anything_is_opened(self, app):
        @app.task(strategy="elsewhere")
        async def t():
            pass

        with pytest.raises(ConfigurationError, match="elsewhere"):
            Worker(app)


class TestIdentity:
    async def test_a_second_live_worker_of_one_id_is_refused(self, app):
        async with Worker(app, name="twin"):
            with pytest.raises(WorkerAlreadyRunning, match="a worker with the id twin runs already"):
                await Worker(app, name="twin").run()
            async with app.open() as session:
                # The refused one has not taken the record of the other away.
                (record,) = await session.state.list(HEARTBEATS)
                assert record.key == "twin"

    async def test_the_id_is_free_when_the_worker_has_ended(self, app):
        async with Worker(app, name="again"):
            pass
        async with Worker(app, name="again") as worker:
            assert worker.id == "again"

    async def test_the_record_says_what_the_worker_is(self, app):
        task, started = endless(app)
        async with app.open() as session, Worker(app, name="w1", concurrency=3, queues=["default", "b:2"]) as worker:
            await task.enqueue()
            await started.wait()
            shown = worker.heartbeat()
            assert (shown.worker, shown.phase, shown.health, shown.running, shown.concurrency, shown.queues) == (
                "w1",
                "running",
                "busy",
                1,
                3,
                ("default", "b"),
            )
            record = await session.state.get(HEARTBEATS, "w1")
            stored = decode_heartbeat(record.value)
            assert (stored.worker, stored.incarnation, stored.pid) == ("w1", shown.incarnation, shown.pid)
            worker.stop("soft")


class TestEnding:
    @pytest.mark.parametrize("timeout", ["5s", float("nan"), -1, timedelta(seconds=-1)])
    async def test_a_stop_takes_only_a_span_of_time(self, app, timeout):
        async with Worker(app) as worker:
            with pytest.raises(InvalidOption, match="a number of seconds or a timedelta, 0 or more"):
                worker.stop(timeout=timeout)
            assert worker.phase == "running"
            worker.stop(timeout=timedelta(seconds=5))

    async def test_a_fatal_error_is_raised_on_leaving(self, app):
        with pytest.raises(WorkerFailed) as failed:
            async with Worker(app) as worker:

                def broken(*args):
                    raise AssertionError("a bug")

                intake = worker._life._line.intake
                await until(lambda: intake._sleeper is not None)
                intake._room = broken
                intake.wake()
                await asyncio.wait((worker._task,), timeout=5)
        assert isinstance(failed.value.__cause__, AssertionError)
        assert worker.exit_code == 1

    async def test_an_error_of_the_pulse_thread_ends_the_worker(self, app):
        with pytest.raises(WorkerFailed, match="the thread is broken"):
            async with Worker(app) as worker:
                worker._life._on_failure(RuntimeError("the thread is broken"))
                await asyncio.wait((worker._task,), timeout=5)

    async def test_a_failing_worker_gives_back_what_it_holds(self, app):
        task, started = endless(app)
        async with app.open() as session:
            with pytest.raises(WorkerFailed):
                async with Worker(app, concurrency=1, prefetch=2) as worker:
                    await app.enqueue_many([task.call() for _ in range(3)])
                    await started.wait()
                    worker._life._on_failure(RuntimeError("broken"))
                    await asyncio.wait((worker._task,), timeout=5)
            depth = (await session.broker.depth(["default"]))["default"]
            assert (depth.ready, depth.leased) == (3, 0)

    async def test_a_failing_worker_starts_nothing_of_what_it_gives_back(self, app):
        started = []

        @app.task
        async def task():
            started.append(1)
            await asyncio.Event().wait()

        with pytest.raises(WorkerFailed):
            async with Worker(app, concurrency=1, prefetch=2) as worker:
                await app.enqueue_many([task.call() for _ in range(3)])
                await until(lambda: started and len(worker._life._inflight) == 3)
                worker._life._on_failure(RuntimeError("broken"))
                await asyncio.wait((worker._task,), timeout=5)
        assert len(started) == 1

    async def test_a_run_that_is_cancelled_hands_back_and_ends(self, app):
        task, started = endless(app)
        async with app.open() as session:
            await task.enqueue()
            running = asyncio.create_task(Worker(app).run())
            await started.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert (await session.broker.depth(["default"]))["default"].ready == 1

    def test_a_program_that_goes_on_after_its_worker_is_not_ended(self, app):
        before, handlers = threading.enumerate(), [signal.getsignal(number) for number in STOP_SIGNALS]
        assert Worker(app).run_blocking(burst=True) == 0
        for thread in set(threading.enumerate()) - set(before):
            # What would have ended the process was told not to.
            thread.join(5)
        assert threading.enumerate() == before
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == handlers

    async def test_a_worker_lives_once(self, app):
        worker = Worker(app, name="web1")
        async with worker:
            with pytest.raises(StemError, match="the worker web1 runs already"):
                await worker.run()
        with pytest.raises(StemError, match="the worker web1 has ended already") as refused:
            await worker.run_until_idle()
        assert refused.value.hint == "make another one: Worker(app)"
        assert worker.exit_code == 0

    async def test_a_soft_stop_hands_back_with_exit_code_4(self, app):
        task, started = endless(app)
        async with app.open():
            await task.enqueue()
            running = asyncio.create_task((worker := Worker(app)).run())
            await started.wait()
            worker.stop("soft")
            assert await running == 4
            assert worker.exit_code == 4

    async def test_a_stop_from_another_thread_before_the_start_is_kept(self, app):
        worker = Worker(app)
        threading.Thread(target=worker.stop).start()
        assert await worker.run() == 0

    async def test_the_deadlines_of_a_stop_are_those_of_the_clock(self):
        clock = FakeClock()
        app = flaky_app(clock=clock)
        task, started = endless(app)
        async with app.open():
            await task.enqueue()
            worker = Worker(app, clock=clock, shutdown_timeout=1000.0, lease=10_000.0)
            running = asyncio.create_task(worker.run())
            await started.wait()
            worker.stop()
            await until(lambda: worker.phase == "warm")
            clock.advance(995)
            assert await running == 4

    async def test_a_hard_stop_does_not_wait_for_a_store_that_is_away(self, app, monkeypatch):
        monkeypatch.setattr("stem_core.worker.draining.HARD_FLUSH", 0.05)
        task, started = endless(app)
        async with app.open():
            await task.enqueue()
            running = asyncio.create_task((worker := Worker(app)).run())
            await started.wait()
            faults_of_app(app).down |= {"settle", "receive", "extend"}
            worker.stop("hard")
            assert await asyncio.wait_for(running, 5) == 4

    async def test_a_handler_that_never_returns_does_not_outlast_the_budget(self, app, monkeypatch):
        monkeypatch.setattr("stem_core.worker.draining.HARD_FLUSH", 0.05)
        entered = asyncio.Event()

        @app.task
        async def t():
            pass

        @app.signals.task_succeeded.connect
        async def hangs(event):
            entered.set()
            await asyncio.Event().wait()

        async with app.open():
            await t.enqueue()
            running = asyncio.create_task((worker := Worker(app, shutdown_timeout=0.2)).run())
            await entered.wait()
            worker.stop()
            assert await asyncio.wait_for(running, 5) == 0

    async def test_no_thread_and_no_task_is_left(self, app):
        @app.task
        def in_a_thread():
            pass

        async with app.open():
            await in_a_thread.enqueue()
            before = asyncio.all_tasks()
            await Worker(app).run_until_idle()
            assert asyncio.all_tasks() == before
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("stem-")] == []


class TestUntilIdle:
    async def test_runs_what_is_there_and_what_that_enqueues(self, app):
        ran = []

        @app.task
        async def countdown(ctx: TaskContext, number: int):
            ran.append(number)
            if number:
                ctx.enqueue(countdown, number - 1)

        async with app.open():
            await countdown.enqueue(5)
            assert await Worker(app).run_until_idle() == 0
        assert ran == [5, 4, 3, 2, 1, 0]

    async def test_leaves_the_delayed_alone_unless_it_is_told_to_wait(self, app):
        attempts = []

        @app.task(retry=RetryPolicy.fixed(0.05), max_retries=2)
        async def fails(ctx: TaskContext):
            attempts.append(ctx.attempt)
            raise ValueError

        async with app.open():
            await fails.enqueue()
            await Worker(app).run_until_idle()
            assert attempts == [1]
            await Worker(app).run_until_idle(wait_for_delayed=True)
            assert attempts == [1, 2, 3]

    async def test_ends_when_it_is_stopped(self, app):
        task, started = endless(app)
        async with app.open():
            await task.enqueue()
            worker = Worker(app)
            running = asyncio.create_task(worker.run_until_idle())
            await started.wait()
            worker.stop("soft")
            assert await running == 4


class TestOutage:
    async def test_tasks_go_on_and_results_are_kept_until_the_store_returns(self, app):
        task_started, go = asyncio.Event(), asyncio.Event()

        @app.task
        async def t():
            task_started.set()
            await go.wait()
            return 7

        faults = faults_of_app(app)
        async with app.open(), Worker(app) as worker:
            handle = await t.enqueue()
            await task_started.wait()
            faults.down |= {"receive", "settle", "extend", "put", "list"}
            go.set()
            await until(lambda: worker.heartbeat().health == "degraded")
            await until(lambda: faults.calls["settle"] > 1)
            faults.down.clear()
            assert await handle.result(10) == 7
            await until(lambda: worker.heartbeat().health == "idle")

    async def test_work_is_fenced_when_its_lease_ends_unrenewed(self):
        clock = FakeClock()
        app = flaky_app(clock=clock)
        task, started = endless(app)
        lost = []
        app.signals.task_lease_lost.connect(lost.append)
        async with app.open(), Worker(app, clock=clock) as worker:
            handle = await task.enqueue()
            await started.wait()
            faults_of_app(app).down |= {"receive", "extend"}
            clock.advance(31)
            await until(lambda: lost)
            assert lost[0].id == handle.id
            assert worker._life._inflight.running == 0
            worker.stop("soft")


class TestSettingsOfCode:
    def test_name_the_line_that_made_the_worker(self, app):
        worker = Worker(app, concurrency=5)
        origin = str(worker._life._settings.origin("worker.concurrency"))
        assert origin.startswith("code test_life.py:")

    @pytest.mark.parametrize(("command_line", "expected"), [({}, 9), ({"worker.concurrency": 3}, 3)])
    def test_lose_to_the_environment_and_that_to_the_command_line(self, monkeypatch, command_line, expected):
        monkeypatch.setenv("STEM_WORKER_CONCURRENCY", "9")
        worker = Worker(Stem("p", broker_url="memory://", plugins=[]), concurrency=5, command_line=command_line)
        assert worker.heartbeat().concurrency == expected
