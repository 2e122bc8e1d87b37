"""Tasks in child processes of real workers: what dies, what is killed, what is told, and that nothing stays behind."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from stem_core.model import Subscription, TaskState
from support.memory_group import memory_group
from support.proc_table import family, gone, open_files
from support.worker_proc import Stopwatch


@pytest.fixture
def site(site):
    site.app = "support.process_jobs:app"
    return site


async def eventually(look, timeout=30.0):
    async with asyncio.timeout(timeout):
        while not (found := await look()):  # noqa: ASYNC110 - it is brought about by another process
            await asyncio.sleep(0.01)
        return found


async def all_gone(pids, timeout=3.0):
    async def look():
        return all(gone(pid) for pid in pids)

    await eventually(look, timeout)


class TestCrashes:
    @pytest.mark.parametrize(
        ("how", "told"),
        [
            ("exit", "exited with code 7"),
            ("segfault", "was killed by SIGSEGV"),
            ("abort", "was killed by SIGABRT"),
            ("kill", "was killed by SIGKILL"),
        ],
    )
    async def test_a_child_that_dies_costs_the_one_task_it_ran(self, site, how, told):
        worker = site.worker("-c", "2")
        (poison,) = await site.enqueue("perish", how)
        others = await site.enqueue("work", 0.01, count=20)
        worker.wait_for_message("max-crashes")
        site.ledger.wait_for("end", 20)
        line = worker.wait_for_message("crashed, 1 in all")
        assert told in line["message"]
        assert "peak memory was" in line["message"]
        assert (line["task_id"], line["level"]) == (poison, "error")
        first, *later = site.ledger.wait_for("crashed", 5)
        assert (first["id"], first["run"], first["crashes"]) == (poison, 1, 1)
        assert told in first["detail"]
        assert "peak memory was" in first["detail"]
        # Told at once by the worker whose child it was, and again with the next delivery.
        assert [(event["run"], event["crashes"]) for event in later[:3]] == [(2, 1), (2, 2), (3, 2)]
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        status = await site.status(poison)
        assert (status.state, status.reason) == (TaskState.FAILED, "max-crashes")
        assert sum(event["id"] == poison for event in site.ledger.events("start")) == 3
        for id in others:
            status = await site.status(id)
            assert (status.state, status.attempt, status.run) == (TaskState.SUCCEEDED, 1, 1)

    async def test_it_is_requeued_within_a_second(self, site):
        site.worker("-c", "1", max_crashes=2)
        await site.enqueue("perish", "kill")
        first, second = site.ledger.wait_for("start", 2)
        print(f"\na child was killed: its task ran again after {second['at'] - first['at']:.2f} s")
        assert second["at"] - first["at"] < 1.5
        assert (second["attempt"], second["run"]) == (1, 2)

    async def test_the_out_of_memory_killer_costs_the_one_task_that_took_the_memory(self, site):
        limit = 400 * 2**20
        with memory_group(limit) as group:
            # The worker and its children, as in a container.
            site.prefix = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))
            worker = site.worker("-c", "2", max_crashes=1)
            before = await site.enqueue("work", 0.01, count=5)
            (greedy,) = await site.enqueue("overeat")
            after = await site.enqueue("work", 0.01, count=5)
            line = worker.wait_for_message("crashed, 1 in all")
            assert line["task_id"] == greedy
            assert "was killed by SIGKILL (out of memory)" in line["message"]
            (crashed, *_) = site.ledger.wait_for("crashed")
            assert (crashed["id"], crashed["signal"], crashed["exit_status"]) == (greedy, signal.SIGKILL, None)
            assert limit / 4 < crashed["peak_rss"] < limit
            site.ledger.wait_for("end", 10)
            worker.wait_for_message("max-crashes")
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
        assert sum(event["id"] == greedy for event in site.ledger.events("start")) == 1
        for id in (*before, *after):
            status = await site.status(id)
            assert (status.state, status.attempt, status.run) == (TaskState.SUCCEEDED, 1, 1)

    async def test_children_that_cannot_start_are_told_of(self, site):
        site.environment["STEM_TEST_BROKEN"] = "yes"
        worker = site.worker(ready=False)
        assert worker.wait() == 1
        assert "a child process could not start: RuntimeError: no database for children" in worker.text()


class TestTimeLimits:
    async def test_an_endless_loop_is_dead_within_a_second_of_its_limit_and_retried(self, site):
        worker = site.worker("-c", "1")
        (id,) = await site.enqueue("spin")
        (first,) = site.ledger.wait_for("start")
        await all_gone([first["pid"]])
        late = site.now() - first["at"] - 1.0
        assert late < 1.0
        watch = Stopwatch()
        worker.wait_for_message("ended at its time limit of 1 s")
        # Another child has to start first: how long that takes is a matter of the machine.
        _, second = site.ledger.wait_for("start", 2)
        again = second["at"] - first["at"] - 1.0
        print(f"\nan endless loop: dead {late:.2f} s after its limit of 1 s, and run again after {again:.2f} s")
        assert (second["attempt"], second["run"]) == (2, 2)
        assert second["pid"] != first["pid"]
        worker.wait_for_message("failed for good in attempt 2 (time-limit)")
        assert watch.seconds < 5
        status = await status_of(site, id, TaskState.FAILED)
        assert (status.state, status.reason, status.error.message) == (
            TaskState.FAILED, "time-limit", "ended at its time limit of 1 s"
        )  # fmt: skip
        # The worker runs on.
        await site.enqueue("work")
        site.ledger.wait_for("end")

    async def test_a_call_has_a_limit_of_its_own(self, site):
        site.worker("-c", "1")
        (id,) = await site.enqueue("block", time_limit=0.3, max_retries=0)
        (event,) = site.ledger.wait_for("start")
        # What the task has started goes with it.
        await all_gone([event["pid"], event["helper"]], 2.0)
        assert (await status_of(site, id, TaskState.FAILED)).reason == "time-limit"

    async def test_a_soft_limit_is_seen_by_its_checkpoints(self, site):
        site.worker("-c", "2")
        for task in ("checkpoints", "waits"):
            (id,) = await site.enqueue(task, soft_time_limit=0.2, max_retries=0)
            status = await status_of(site, id, TaskState.FAILED)
            assert (status.reason, status.error.message) == ("time-limit", "stopped at its soft time limit of 0.2 s")
            assert "process_jobs.py" in status.error.traceback
        assert {event["reason"] for event in site.ledger.events("interrupted")} == {"time-limit"}


async def status_of(site, id, state):
    async def look():
        status = await site.status(id)
        return status if status.state is state else None

    return await eventually(look)


class TestStops:
    async def test_soft_interrupts_coroutines_too(self, site):
        worker = site.worker("-c", "1")
        await site.enqueue("waits")
        site.ledger.wait_for("start")
        children = family(worker.pid)
        watch = Stopwatch()
        worker.signal(signal.SIGINT)
        assert worker.wait() == 4
        assert watch.seconds < 3
        assert site.ledger.events("interrupted")[0]["reason"] == "shutdown"
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)
        await all_gone(children)

    @pytest.mark.parametrize("task", ["block", "spin"])
    async def test_hard_kills_what_never_lets_the_interpreter_go(self, site, task):
        worker = site.worker("-c", "1")
        await site.enqueue(task, time_limit=60)
        site.ledger.wait_for("start")
        children = family(worker.pid)
        assert children
        watch = Stopwatch()
        worker.signal(signal.SIGQUIT)
        assert worker.wait() == 4
        print(f"\nSIGQUIT under {task} in a child: exit 4 after {watch.seconds:.2f} s")
        assert watch.seconds < 3
        (back,) = await site.claim(1)
        assert (back.attempt, back.crashes) == (1, 0)
        await all_gone(children)

    async def test_warm_lets_them_finish_and_leave_their_resources(self, site):
        worker = site.worker("-c", "1")
        (id,) = await site.enqueue("work", 0.5)
        site.ledger.wait_for("start")
        children = family(worker.pid)
        # Ctrl-C at a terminal goes to the whole group, and some managers signal every process: children do not mind.
        for pid in children:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert (await site.status(id)).state is TaskState.SUCCEEDED
        entered, left = (sorted(e["pid"] for e in site.ledger.events(name)) for name in ("entered", "left"))
        assert entered == left
        (over,) = [e for e in site.ledger.events("child-shutdown") if e["tasks"]]
        assert (over["tasks"], over["child"] in children) == (1, True)
        await all_gone(children)

    @pytest.mark.parametrize("task", ["block", "spin", None])
    async def test_nothing_outlives_a_worker_that_is_killed(self, site, task):
        worker = site.worker("-c", "2")
        if task:
            await site.enqueue(task, time_limit=600)
            site.ledger.wait_for("start")
        children = {
            pid for pid in family(worker.pid) if b"processes.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
        }
        assert children
        worker.kill9()
        watch = Stopwatch()
        await all_gone(children)
        print(f"\nkill -9 of a worker, its {len(children)} children with {task}: gone after {watch.seconds:.2f} s")
        for event in site.ledger.events("start"):
            if "helper" in event and not gone(event["helper"]):
                os.kill(event["helper"], signal.SIGKILL)

    async def test_a_lost_lease_kills_what_runs(self, site):
        worker = site.worker("-c", "1", lease="1s")
        await site.enqueue("spin", time_limit=60)
        (event,) = site.ledger.wait_for("start")
        site.freeze(worker)
        async with site.producer().open() as session:
            await eventually(lambda: session.broker.receive(Subscription.of("default"), 1, 30.0))
        worker.signal(signal.SIGCONT)
        await all_gone([event["pid"]], 3.0)
        worker.wait_for_message("lost its lease")


class TestContext:
    async def test_what_a_task_sees_of_itself(self, site):
        site.worker("-c", "1", "--name", "w1")
        (id,) = await site.enqueue("tell", headers={"tenant": "a"}, soft_time_limit=60)
        status = await status_of(site, id, TaskState.SUCCEEDED)
        seen = json.loads(status.result)
        child, other = seen.pop("child"), seen.pop("other")
        assert seen == {
            "current": True, "headers": {"tenant": "a"}, "attempt": 1, "worker": "w1", "remaining": True, "state": True,
        }  # fmt: skip
        assert status.progress.percent == 40
        for made in (child, other):
            assert (await status_of(site, made, TaskState.SUCCEEDED)).attempt == 1

    async def test_a_coroutine_publishes_through_the_session_of_its_child(self, site):
        site.worker("-c", "1")
        (id,) = await site.enqueue("publish")
        made = json.loads((await status_of(site, id, TaskState.SUCCEEDED)).result)
        await status_of(site, made, TaskState.SUCCEEDED)

    async def test_progress_is_seen_while_it_runs(self, site):
        site.worker("-c", "1", track_started=True)
        (id,) = await site.enqueue("progress", str(site.folder))

        async def look():
            progress = (await site.status(id)).progress
            return progress if progress is not None and progress.percent == 60 else None

        progress = await eventually(look)
        assert json.loads(progress.data) == {"stage": "waiting"}
        (site.folder / "go").touch()
        await status_of(site, id, TaskState.SUCCEEDED)

    async def test_its_heartbeats_are_seen_while_it_runs(self, site):
        site.worker("-c", "1")
        (id,) = await site.enqueue("beat", str(site.folder))

        async def alive_at():
            return (await site.status(id)).alive_at

        first = await eventually(alive_at)
        assert (await site.status(id)).state is TaskState.RUNNING

        async def later():
            at = await alive_at()
            return at if at > first else None

        assert await eventually(later) - first < 5
        (site.folder / "go").touch()
        assert (await status_of(site, id, TaskState.SUCCEEDED)).alive_at is None

    async def test_it_moves_the_limit_at_which_it_is_killed(self, site):
        worker = site.worker("-c", "1")
        (id,) = await site.enqueue("long")
        status = await status_of(site, id, TaskState.FAILED)
        assert (status.reason, status.error.message) == (
            "time-limit",
            "ended at its time limit of 1 s, extended by 1 s",
        )
        assert len(site.ledger.events("outlived")) == 1
        assert "crashed" not in worker.text()

    async def test_a_revocation_reaches_it(self, site):
        site.worker("-c", "1")
        (id,) = await site.enqueue("checkpoints")
        site.ledger.wait_for("start")
        app = site.producer()
        async with app.open():
            await app.handle(id).cancel()
        assert (await status_of(site, id, TaskState.CANCELLED)).reason == "revoked"
        assert site.ledger.wait_for("interrupted")[0]["reason"] == "revoked"

    async def test_errors_keep_type_message_and_traceback_and_the_rule_sees_the_exception(self, site):
        site.worker("-c", "1")
        (id,) = await site.enqueue("fail")
        status = await status_of(site, id, TaskState.FAILED)
        assert (status.error.type, status.error.message, status.attempt) == ("KeyError", "'missing'", 2)
        lines = status.error.traceback.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert "process_jobs.py" in lines[1]
        assert "stem_core" not in status.error.traceback

    @pytest.mark.parametrize(
        ("what", "reason", "part"),
        [
            ("huge", "bad-result", "a process hands over at most"),
            ("object", "bad-result", "returned what JSON cannot carry"),
            ("exit", "failed", "3"),
            ("memory", "failed", "MemoryError"),
        ],
    )
    async def test_what_cannot_be_handed_over(self, site, what, reason, part):
        worker = site.worker("-c", "1")
        (id,) = await site.enqueue("give", what)
        status = await status_of(site, id, TaskState.FAILED)
        assert status.reason == reason
        assert part in f"{status.error.type}: {status.error.message}"
        assert "crashed" not in worker.text()


class TestReplacement:
    async def test_after_so_many_tasks_and_no_task_waits_for_it(self, site):
        worker = site.worker("-c", "1", max_tasks_per_child=10)

        def lines():
            """Sockets and the like; the files of the store come when they are needed."""
            return sum(not file.startswith("/") for file in open_files(worker.pid).values())

        before = lines()
        # Long enough for a child to start meanwhile, on a busy machine too: until then the worn one goes on.
        ids = await site.enqueue("work", 0.05, count=100)
        site.ledger.wait_for("end", 100)

        async def as_before():
            return len(family(worker.pid)) == 1 and lines() == before

        await eventually(as_before)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        pids = [event["pid"] for event in site.ledger.events("start")]
        tasks = [event["tasks"] for event in site.ledger.events("child-shutdown")]
        print(f"\n100 tasks, a new child after about 10: {tasks} tasks each")
        assert len(set(pids)) >= 2
        assert len(set(tasks)) > 1
        assert min(tasks[:-1]) >= 9
        assert {(await site.status(id)).run for id in ids} == {1}
        inits = {event["child"] for event in site.ledger.events("child-init")}
        assert inits == {event["child"] for event in site.ledger.events("child-shutdown")} >= set(pids)

    async def test_when_it_holds_too_much_memory(self, site):
        site.worker("-c", "1", max_memory_per_child="100MiB")
        (first,) = await site.enqueue("hoard", 200)
        hoarder = json.loads((await status_of(site, first, TaskState.SUCCEEDED)).result)
        await all_gone([hoarder], 20.0)
        (second,) = await site.enqueue("hoard", 0)
        assert json.loads((await status_of(site, second, TaskState.SUCCEEDED)).result) != hoarder

    async def test_when_it_is_too_old(self, site):
        worker = site.worker("-c", "1", max_age_per_child="1s")
        (child,) = (event["child"] for event in site.ledger.wait_for("child-init"))
        await all_gone([child], 20.0)
        assert worker.alive
        assert len(site.ledger.wait_for("child-init", 2)) >= 2

    async def test_when_it_starts_more_slowly_than_it_grows_old(self, site):
        site.environment["STEM_TEST_CHILD_INIT"] = "2.5"
        site.worker("-c", "1", max_age_per_child="1s")
        child = site.ledger.wait_for("child-init")[0]["child"]
        await all_gone([child], 20.0)


async def test_children_for_queues_that_are_not_read_start_with_the_first_call(site):
    worker = site.worker("-Q", "other", "-c", "1")
    worker.wait_for_message("(1 child, on demand)")
    assert family(worker.pid) == set()
    (id,) = await site.enqueue("hoard", 0, queue="other")
    await status_of(site, id, TaskState.SUCCEEDED)
    assert len(site.ledger.events("child-init")) == 1
