"""Faults that every durable store has to get over, with real worker processes."""

from __future__ import annotations

import itertools
import signal
from collections import Counter

from stem_core.model import HEARTBEATS, Subscription, TaskState
from stem_core.wire import decode_heartbeat
from support.worker_proc import Site, Stopwatch, WorkerProc

JOBS, WORKERS, CONCURRENCY, PREFETCH, EVERY = 5_000, 3, 10, 10, 2.0


async def kill_storm(site: Site) -> None:
    """A worker is killed every other second: nothing is lost, and no more is repeated than was held."""

    def start(*, ready: bool) -> WorkerProc:
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
        assert session.backend is not None
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


async def zombie(site: Site, task: str, *, finished: bool) -> None:
    """A worker is stopped until another was granted what it held, then goes on: none of its completions counts."""
    zombie = site.worker("-c", "4", "--prefetch", "2", lease="2s")
    ids = await site.enqueue(task, str(site.folder), count=6)
    site.ledger.wait_for("start", 4)
    site.freeze(zombie)
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


async def autoscale(site: Site) -> None:
    """From the least to the most slots under a backlog, back after idling, no turning back in between; all of it told.

    The steps and the spans are shortened, the decisions are those of every worker.
    """
    low, high = 2, 12
    worker = site.worker(
        "--autoscale",
        f"{low},{high}",
        autoscale_interval="200ms",
        autoscale_idle="600ms",
        heartbeat_interval="100ms",
    )
    watch = Stopwatch()
    await site.enqueue("work", 0.05, count=500)
    course: list[int] = []
    reasons: set[str] = set()
    idle_at = 0.0
    async with site.producer().open() as session:
        while watch.seconds < 60:
            # None: the last one has expired before the next came, on a busy machine.
            for record in await session.state.list(HEARTBEATS):
                beat = decode_heartbeat(record.value)
                assert beat.autoscale == (low, high)
                assert beat.running <= high
                course += [beat.concurrency] if course[-1:] != [beat.concurrency] else []
                reasons.add(beat.scaled)
            depth = (await session.broker.depth(["default"]))["default"]
            if not idle_at and not depth.ready + depth.leased:
                idle_at = watch.seconds
            if idle_at and course[-1:] == [low] and len(course) > 1:
                break
            await session.broker.wait_for_work(Subscription.of("nothing"), 0.05)
    print(f"\nautoscale: {course}; 500 jobs in {idle_at:.1f} s, back after {watch.seconds - idle_at:.1f} s")
    peak = course.index(max(course))
    assert (course[0], max(course), course[-1]) == (low, high, low)
    assert course[: peak + 1] == sorted(course[: peak + 1])
    assert course[peak:] == sorted(course[peak:], reverse=True)
    assert len(site.ledger.events("end")) == 500
    steps = [
        line["message"]
        for line in worker.lines
        if line["message"].startswith("concurrency: ") and " to " in line["message"]
    ]
    assert any("tasks are ready for 2 slots" in step for step in steps)
    assert any("slots were idle for" in step for step in steps)
    assert {f"concurrency: {reason}" for reason in reasons - {""}} <= set(steps)
    # It wakes at once for new work.
    (id,) = await site.enqueue("work", 0.0)
    async with site.producer().open() as session:
        before = watch.seconds
        assert await session.app.handle(id).result(5) == worker.pid
        assert watch.seconds - before < 0.5
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
