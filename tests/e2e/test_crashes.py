"""Workers that are killed, stopped and blocked: nothing is lost, nothing stale counts."""

import itertools
import signal
from collections import Counter

import pytest

from stem_core.model import Subscription, TaskState
from support.worker_proc import Stopwatch

JOBS, WORKERS, CONCURRENCY, PREFETCH, EVERY = 5_000, 3, 10, 10, 2.0


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_storm_of_kills_loses_nothing_and_repeats_no_more_than_was_held(site):
    def start(ready):
        # A job may be hit by several of these kills without being at fault: it is not to be quarantined for that.
        return site.worker(
            "-c", str(CONCURRENCY), "--prefetch", str(PREFETCH), ready=ready, lease="2s", max_crashes=100
        )

    workers = [start(ready=False) for _ in range(WORKERS)]
    for worker in workers:
        worker.ready()
    watch = Stopwatch()
    ids = await site.enqueue("work", 0.05, count=JOBS)
    kills = 0
    app = site.producer()
    async with app.open() as session:
        for victim in itertools.cycle(range(WORKERS)):
            due = EVERY * (kills + 1)
            depth = (await session.broker.depth(["default"]))["default"]
            while watch.seconds < due and depth.ready + depth.leased + depth.delayed:
                await session.broker.wait_for_work(Subscription.of("nothing"), 0.1)
                depth = (await session.broker.depth(["default"]))["default"]
            if not depth.ready + depth.leased + depth.delayed:
                break
            workers[victim].kill9()
            kills += 1
            workers[victim] = start(ready=False)
        took = watch.seconds
        statuses = await session.backend.get(ids)
    runs = Counter(event["id"] for event in site.ledger.events("start"))
    repeated = sum(runs.values()) - JOBS
    held = CONCURRENCY + PREFETCH
    print(
        f"\nkill storm: {JOBS} jobs, {WORKERS} workers, {kills} kills in {took:.1f} s: "
        f"{repeated} repeated runs, at most {kills * held} allowed"
    )
    assert Counter(status.state for status in statuses.values()) == {TaskState.SUCCEEDED: JOBS}
    assert set(runs) == set(ids)
    assert kills >= 3
    assert repeated <= kills * held
    for worker in workers:
        worker.ready().signal(signal.SIGTERM)
    assert [worker.wait() for worker in workers] == [0] * WORKERS


async def test_a_task_that_kills_its_process_is_quarantined_while_the_others_go_on(site):
    (poison,) = await site.enqueue("suicide")
    others = await site.enqueue("work", 0.01, count=30)
    deaths = 0
    worker = site.worker("-c", "5", lease="1s")
    while deaths < 3:
        assert worker.wait() == -signal.SIGKILL
        deaths += 1
        worker = site.worker("-c", "5", lease="1s")
    line = worker.wait_for_message("max-crashes")
    assert line["level"] == "error"
    status = await site.status(poison)
    assert (status.state, status.reason) == (TaskState.FAILED, "max-crashes")
    (dead,) = await site.dead()
    assert (dead.message.id, dead.reason) == (poison, "max-crashes")
    assert sum(event["id"] == poison for event in site.ledger.events("start")) == 3
    site.ledger.wait(lambda events: {e["id"] for e in events if e["event"] == "end"} >= set(others))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    for id in others:
        assert (await site.status(id)).state is TaskState.SUCCEEDED
    print(f"\npoison: quarantined after {deaths} deaths; its 30 neighbours succeeded")


@pytest.mark.parametrize("task", ["hold", "hold_thread"])
@pytest.mark.parametrize("finished", [True, False], ids=["taken over and finished", "taken over and running"])
async def test_no_completion_of_a_zombie_is_accepted(site, task, finished):
    zombie = site.worker("-c", "4", "--prefetch", "2", lease="2s")
    ids = await site.enqueue(task, str(site.folder), count=6)
    site.ledger.wait_for("start", 4)
    zombie.signal(signal.SIGSTOP)
    heir = site.worker("-c", "6")
    if finished:
        site.open_door(heir)
    # Suspects are taken one at a time, so a heir whose door is closed gets one of the four and what had not started.
    taken = 6 if finished else 1
    site.ledger.wait(lambda events: len({e["id"] for e in events if e["pid"] == heir.pid}) >= taken)
    if finished:
        site.ledger.wait_for("end", 6)
    over = {event["id"] for event in site.ledger.events("start") if event["pid"] == heir.pid}
    site.open_door(zombie)
    zombie.signal(signal.SIGCONT)
    started_here = {event["id"] for event in site.ledger.events("start") if event["pid"] == zombie.pid}
    lost = over & started_here
    zombie.wait_for(lambda line: "lost its lease" in line["message"])
    site.open_door(heir)
    zombie.signal(signal.SIGTERM)
    assert zombie.wait() in {0, 4}
    site.ledger.wait(lambda events: {e["id"] for e in events if e["event"] == "end"} >= set(ids))
    heir.signal(signal.SIGTERM)
    assert heir.wait() == 0
    for id in lost:
        status = await site.status(id)
        assert (status.state, status.result, status.run) == (TaskState.SUCCEEDED, str(heir.pid).encode(), 2)
    assert lost
    completions = sum(e["pid"] == zombie.pid and e["id"] in lost for e in site.ledger.events("end"))
    print(f"\nzombie: {len(lost)} deliveries taken over, {completions} completed by it afterwards, none accepted")


@pytest.mark.slow
async def test_a_blocked_loop_loses_no_lease_and_is_reported_with_a_stack(site):
    # The block is two and a half leases long and another worker lies in wait, as with 20 s and a lease of 8 s.
    blocked = site.worker("-c", "2", "--prefetch", "4", lease="2s", stall_limit="1s", heartbeat_interval="500ms")
    (id,) = await site.enqueue("block", 5.0)
    site.ledger.wait_for("start")
    waiting = site.worker("-c", "2", lease="2s")
    site.ledger.wait_for("end")
    line = blocked.wait_for_message("the worker's loop has been blocked for")
    assert "its leases are kept" in line["message"]
    assert "in block" in line["message"]
    assert "time.sleep(seconds)" in line["message"]
    blocked.wait_for_message("the worker's loop turns again")
    for worker in (blocked, waiting):
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    status = await site.status(id)
    assert (status.run, status.result) == (1, str(blocked.pid).encode())
    assert len(site.ledger.events("start")) == 1
    assert "lost its lease" not in blocked.text()
