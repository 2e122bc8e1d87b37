"""How worker processes stop, with real signals: what the stop matrix does not hold."""

import asyncio
import signal
import subprocess
import sys

import pytest

from stem_core.control import Inspector
from stem_core.model import TaskState
from support.worker_proc import Stopwatch

#: Every stop in this file is to begin its phases after these spans.
BUDGET = {"shutdown_timeout": "3s", "soft_margin": "2s", "hard_margin": "1s"}


class TestWarm:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    async def test_finishes_what_runs_and_gives_back_the_rest_at_once(self, site, number):
        worker = site.worker("-c", "2", "--prefetch", "3")
        ids = await site.enqueue("hold", str(site.folder), count=5)
        site.ledger.wait_for("start", 2)
        worker.signal(number)
        worker.wait_for_message("stopping: warm")
        started = {event["id"] for event in site.ledger.events("start")}
        # At once: while the running tasks still run.
        back = await site.claim(3)
        assert {delivery.message.id for delivery in back} == set(ids) - started
        assert {(delivery.attempt, delivery.crashes) for delivery in back} == {(1, 0)}
        assert worker.alive
        site.open_door(worker)
        assert worker.wait() == 0
        assert {(await site.status(id)).state for id in started} == {TaskState.SUCCEEDED}

    @pytest.mark.slow
    async def test_keeps_its_leases_while_it_drains(self, site):
        draining = site.worker("-c", "1", lease="1s")
        (id,) = await site.enqueue("work", 3.0)
        site.ledger.wait_for("start")
        draining.signal(signal.SIGTERM)
        draining.wait_for_message("stopping: warm")
        # Lies in wait for a lease that ends, for three times as long as one is.
        waiting = site.worker("-c", "1", lease="1s")
        assert draining.wait() == 0
        waiting.signal(signal.SIGTERM)
        assert waiting.wait() == 0
        assert [event["pid"] for event in site.ledger.events("start")] == [draining.pid]
        status = await site.status(id)
        assert (status.state, status.run) == (TaskState.SUCCEEDED, 1)
        assert "lost its lease" not in draining.text()


class TestNohup:
    async def test_outlives_the_terminal(self, site):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            worker = site.worker()
        finally:
            signal.signal(signal.SIGHUP, before)
        worker.signal(signal.SIGHUP)
        # Signals are heard in their order: had the first been heard, it would be the reason.
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "stopping: warm (SIGTERM)" in worker.text()
        assert "SIGHUP" not in worker.text()


class TestUnreadLog:
    async def test_work_goes_on_and_the_worker_stops(self, site):
        command = [sys.executable, "-m", "stem_core", "worker", "-A", site.app, "-c", "4"]
        await site.enqueue("chatter", count=100)
        # Its log is many times what a pipe holds.
        with subprocess.Popen(command, env=site.environment, stderr=subprocess.PIPE) as worker:  # noqa: ASYNC220
            try:
                site.ledger.wait_for("chattered", 100)
                await site.enqueue("hold", str(site.folder))
                site.ledger.wait_for("start")
                worker.send_signal(signal.SIGQUIT)
                assert worker.wait(20) == 4
            finally:
                worker.kill()


class TestUnreadOutput:
    """A task prints into a full pipe that nobody reads, and its log goes there too. That blocks where it runs, as every
    write that nobody reads; the worker keeps its leases, says that it lives, and stops when it is told to."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("strategy", "task"),
        [("event_loop", "printing_coroutine"), ("threads", "printing"), ("processes", "printing")],
        ids=["event_loop", "threads", "processes"],
    )
    async def test_blocks_its_task_and_neither_leases_nor_heartbeats_nor_the_stop(self, site, strategy, task):
        site.app = "support.stop_jobs:app"
        settings = {"lease": "1s", "heartbeat_interval": "200ms", **BUDGET}
        environment = site.environment | {f"STEM_WORKER_{name.upper()}": given for name, given in settings.items()}
        command = [sys.executable, "-m", "stem_core", "worker", "-A", site.app, "-P", strategy, "-c", "2"]
        await site.enqueue(task, "no door")
        with subprocess.Popen(  # noqa: ASYNC220
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as worker:
            try:
                site.ledger.wait_for("start")
                with pytest.raises(TimeoutError):
                    # Lies in wait for a lease that ends.
                    async with asyncio.timeout(3.0):
                        while True:
                            await site.claim(1)
                async with site.producer().open() as session:
                    (beat,) = await Inspector(session).workers()
                assert site.now() - beat.at < 1.0
                assert beat.running == 1
                watch = Stopwatch()
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(20) == 4
                print(f"\nSIGTERM with a budget of 3 s and a print in {strategy} that blocks: {watch.seconds:.2f} s")
                assert watch.seconds < 5
            finally:
                worker.kill()
        assert not site.ledger.events("end")
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)


class TestHandBack:
    async def test_sigquit_hands_back_what_ignores_its_cancellation(self, site):
        worker = site.worker()
        await site.enqueue("stubborn")
        site.ledger.wait_for("start")
        watch = Stopwatch()
        worker.signal(signal.SIGQUIT)
        assert worker.wait() == 4
        took = watch.seconds
        print(f"\nSIGQUIT under a coroutine that ignores it: exit 4 after {took:.2f} s")
        assert took < 3
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)

    @pytest.mark.parametrize(
        "steps",
        [
            ("SIGTERM warm", "SIGTERM soft", "SIGTERM hard"),
            ("SIGINT soft", "SIGINT hard"),
            ("SIGTERM warm", "SIGQUIT hard"),
        ],
        ids=", ".join,
    )
    async def test_a_repeated_signal_goes_further_and_never_to_a_bare_kill(self, site, steps):
        worker = site.worker()
        await site.enqueue("stubborn")
        site.ledger.wait_for("start")
        for step in steps:
            name, _, phase = step.partition(" ")
            worker.signal(signal.Signals[name])
            worker.wait_for_message(f"stopping: {phase} ({name}")
        assert worker.wait() == 4
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)


class TestWhatHangs:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_start_that_hangs_is_given_up(self, site, number):
        site.app = "support.jobs:hangs_at_the_start"
        worker = site.worker(ready=False)
        site.ledger.wait_for("entering")
        worker.signal(number)
        assert worker.wait(5) == 0

    def test_an_end_that_hangs_does_not_outlast_the_budget(self, site):
        site.app = "support.jobs:hangs_at_the_end"
        worker = site.worker(shutdown_timeout="1s")
        worker.signal(signal.SIGTERM)
        site.ledger.wait_for("leaving")
        watch = Stopwatch()
        assert worker.wait() == 4
        print(f"\nSIGTERM with a budget of 1 s and resources that never end: exit 4 after {watch.seconds:.2f} s")
        assert "has not ended" in worker.text()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_a_thread_that_a_coroutine_waits_for_does_not_outlast_the_budget(self, site, number):
        worker = site.worker(**BUDGET)
        await site.enqueue("lends_to_a_thread")
        site.ledger.wait_for("start")
        watch = Stopwatch()
        worker.signal(number)
        assert worker.wait() == 4
        took = watch.seconds
        print(f"\n{number.name} with a budget of 3 s and an endless thread of asyncio: exit 4 after {took:.2f} s")
        assert took < 5
        assert "the process does not end by itself" in worker.text()
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)

    async def test_signals_that_come_after_the_end_do_not_change_it(self, site):
        worker = site.worker(**BUDGET)
        await site.enqueue("leaves_a_thread")
        site.ledger.wait_for("end")
        worker.signal(signal.SIGINT)
        worker.wait_for_message("stopping: soft")
        # The worker has nothing to do and ends; its process waits for the thread.
        while worker.alive:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
                worker.signal(number)
            await asyncio.sleep(0.05)
        assert worker.wait() == 0
        assert "threads that still run: left-behind" in worker.text()

    async def test_a_failing_worker_ends_though_a_task_does_not(self, site):
        worker = site.worker("-c", "2")
        await site.enqueue("stubborn")
        site.ledger.wait_for("start")
        await site.enqueue("sabotage")
        assert worker.wait() == 1
        assert "AssertionError: a bug of the broker" in worker.text()
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)

    async def test_a_log_that_nobody_reads_any_more_keeps_no_worker_alive(self, site):
        # As when all of a pod but the worker was killed: what it says at its end breaks a pipe.
        worker = site.worker()
        await site.enqueue("stubborn")
        site.ledger.wait_for("start")
        worker.hang_up()
        worker.signal(signal.SIGQUIT)
        assert worker.wait(10) == 4
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)


class TestOtherSignals:
    async def test_quiet_takes_nothing_and_lives_on(self, site):
        worker = site.worker()
        worker.signal(signal.SIGTSTP)
        worker.wait_for_message("stopping: quiet")
        (id,) = await site.enqueue("work", 0)
        other = site.worker()
        site.ledger.wait_for("end")
        assert worker.alive
        assert (await site.status(id)).worker != worker.lines[0]["worker"]
        for each in (worker, other):
            each.signal(signal.SIGTERM)
            assert each.wait() == 0

    async def test_sigusr1_shows_all_stacks(self, site):
        worker = site.worker()
        await site.enqueue("hold_thread", str(site.folder))
        site.ledger.wait_for("start")
        worker.signal(signal.SIGUSR1)
        line = worker.wait_for_message("SIGUSR1")
        assert "--- thread MainThread" in line["message"]
        assert "--- thread stem-pulse" in line["message"]
        assert "in hold_thread" in line["message"]
        site.open_door(worker)
        site.ledger.wait_for("end")
        assert worker.alive

    async def test_a_second_worker_of_one_id_is_refused(self, site):
        site.worker("--name", "twin")
        second = site.worker("--name", "twin", ready=False)
        assert second.wait() == 2
        assert "a worker with the id twin runs already" in second.text()
        assert f"pid {site.workers[0].pid}" in second.text()
        assert "Traceback" not in second.text()

    async def test_a_killed_worker_may_come_back_under_its_name_at_once(self, site):
        first = site.worker("--name", "phoenix")
        first.kill9()
        second = site.worker("--name", "phoenix")
        (id,) = await site.enqueue("work", 0)
        site.ledger.wait_for("end")
        assert (await site.status(id)).worker == "phoenix"
        second.signal(signal.SIGTERM)
        assert second.wait() == 0
