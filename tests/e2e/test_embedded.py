"""Workers inside another program: how they end, and that nothing of them stays."""

import asyncio
import json
import signal
import subprocess
import sys
import threading

import pytest

from stem_core import Stem
from stem_core.errors import WorkerAlreadyRunning, WorkerFailed
from stem_core.worker import Worker
from support.until import until
from support.worker_proc import Stopwatch


@pytest.fixture
def app(site):
    return site.producer()


@pytest.fixture
def slow(app):
    """A task that runs until its event ``go`` is set, and an event that tells that it runs."""
    started, go = asyncio.Event(), asyncio.Event()

    @app.task(name="slow")
    async def slow():
        started.set()
        await go.wait()
        return "done"

    slow.started, slow.go = started, go
    return slow


@pytest.fixture(params=["from the loop", "from a thread"])
def stop(request):
    """How a worker is told to stop."""

    def from_the_loop(worker, *arguments, **options):
        worker.stop(*arguments, **options)

    def from_a_thread(worker, *arguments, **options):
        threading.Thread(target=worker.stop, args=arguments, kwargs=options).start()

    return from_the_loop if request.param == "from the loop" else from_a_thread


class TestEmbedded:
    async def test_drains_on_leaving(self, site):
        app = site.producer()
        started, go = asyncio.Event(), asyncio.Event()

        @app.task
        async def slow():
            started.set()
            await go.wait()
            return "done"

        async with app.open():
            async with Worker(app) as worker:
                handle = await slow.enqueue()
                await started.wait()
                asyncio.get_running_loop().call_later(0.05, go.set)
            assert (worker.exit_code, worker.phase) == (0, "stopped")
            assert await handle.result(0) == "done"

    async def test_catches_no_signal_of_the_operating_system(self, site):
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
        async with Worker(site.producer()):
            assert {number: signal.getsignal(number) for number in before} == before

    async def test_a_fatal_error_is_raised_on_leaving_and_what_was_held_goes_back(self, site):
        app = site.producer()
        started = asyncio.Event()

        @app.task
        async def endless():
            started.set()
            await asyncio.Event().wait()

        with pytest.raises(WorkerFailed, match=r"worker .* failed: AssertionError: a bug of the broker") as failed:
            async with app.open() as session, Worker(app) as worker:
                await endless.enqueue()
                await started.wait()

                async def broken(*args, **kwargs):
                    raise AssertionError("a bug of the broker")

                session.broker.receive = broken
                worker._life._line.intake.wake()
                await asyncio.wait((worker._task,), timeout=10)
                del session.broker.receive
        assert isinstance(failed.value.__cause__, AssertionError)
        assert worker.exit_code == 1
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)

    async def test_a_second_one_of_the_same_id_is_refused(self, site):
        app = site.producer()
        async with Worker(app, name="twin"):
            with pytest.raises(WorkerAlreadyRunning, match="a worker with the id twin runs already"):
                async with Worker(Stem("other", broker_url=site.url), name="twin"):
                    raise AssertionError("it must not start")


class TestStop:
    async def test_quiet_takes_nothing_new_and_lets_run_what_runs(self, app, slow, stop, site):
        async with app.open():
            async with Worker(app, concurrency=2) as worker:
                running = await slow.enqueue()
                await slow.started.wait()
                stop(worker, "quiet")
                await until(lambda: worker.phase == "quiet")
                later = await slow.enqueue()
                slow.go.set()
                assert await running.result(10) == "done"
                assert worker.phase == "quiet"
            assert (worker.phase, worker.exit_code) == ("stopped", 0)
            # A claim that was under way may have brought it; then it has gone back, uncounted.
            (back,) = await site.claim(1)
            assert (back.message.id, back.attempt, back.crashes) == (later.id, 1, 0)

    async def test_warm_waits_for_what_runs_and_gives_back_the_rest(self, app, slow, stop, site):
        async with app.open():
            async with Worker(app, concurrency=1, prefetch=1) as worker:
                running = await slow.enqueue()
                await slow.started.wait()
                waiting = await slow.enqueue()
                await until(lambda: worker.heartbeat().prefetched == 1)
                stop(worker)
                (back,) = await site.claim(1)
                assert (back.message.id, back.attempt, back.crashes) == (waiting.id, 1, 0)
                assert worker.phase == "warm"
                slow.go.set()
                await until(lambda: worker.phase == "stopped")
            assert worker.exit_code == 0
            assert await running.result(0) == "done"

    @pytest.mark.parametrize(
        ("mode", "timeout"), [("warm", 0.0), ("warm", 0.5), ("soft", None), ("hard", None)], ids=str
    )
    async def test_what_does_not_finish_in_time_is_handed_back(self, app, slow, stop, site, mode, timeout):
        async with app.open():
            async with Worker(app, concurrency=1) as worker:
                handle = await slow.enqueue()
                await slow.started.wait()
                watch = Stopwatch()
                stop(worker, mode, timeout)
                await until(lambda: worker.phase == "stopped")
                took = watch.seconds
            assert worker.exit_code == 4
            assert took < 3
            (back,) = await site.claim(1)
            assert (back.message.id, back.attempt, back.crashes) == (handle.id, 1, 0)

    async def test_leaving_after_a_stop_from_code_gains_no_time(self, app, slow):
        async with app.open(), Worker(app) as worker:
            await slow.enqueue()
            await slow.started.wait()
            worker.stop("hard")
        assert worker.exit_code == 4

    async def test_an_error_in_the_body_is_raised_after_the_drain(self, app, slow):
        async with app.open():
            with pytest.raises(KeyError, match="of the service"):
                async with Worker(app) as worker:
                    handle = await slow.enqueue()
                    await slow.started.wait()
                    slow.go.set()
                    raise KeyError("of the service")
            assert worker.exit_code == 0
            assert await handle.result(0) == "done"


def test_a_whole_life_leaves_no_file_no_thread_and_no_process_behind(site):
    done = subprocess.run(
        [sys.executable, "-m", "support.embedding"],
        env=site.environment,
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lives) == 9
    for life in lives:
        assert life["after"] == life["before"], (life["strategy"], life["mode"])
        warm = life["mode"] == "warm"
        assert (life["exit_code"], life["ready"], life["leased"]) == ((0, 2, 0) if warm else (4, 4, 0))
