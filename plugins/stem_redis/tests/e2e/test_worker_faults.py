"""Workers that are killed, stopped, and of different minds: nothing is lost, nothing stale counts."""

import signal
from collections import Counter

import pytest

from stem_core.model import TaskState
from support import scenarios


async def test_what_a_killed_worker_held_runs_elsewhere_soon_after_its_lease(site):
    lease = 2.0
    victim = site.worker("-c", "4", "--prefetch", "4", lease=f"{lease}s")
    ids = await site.enqueue("hold", str(site.folder), count=8)
    site.ledger.wait_for("start", 4)
    heir = site.worker("-c", "8", lease=f"{lease}s")
    site.open_door(heir)
    victim.kill9()
    killed_at = site.now()
    site.ledger.wait_for("end", 8)
    starts = [event for event in site.ledger.events("start") if event["pid"] == heir.pid]
    later = sorted(event["at"] - killed_at for event in starts)
    print(f"\nkill -9 with a lease of {lease:g} s: 8 jobs start elsewhere {later[0]:.2f} to {later[-1]:.2f} s later")
    assert {event["id"] for event in starts} == set(ids)
    assert later[-1] < lease + 15
    # What ran is suspected of it, what only lay there is not told apart from it: a claim is counted before it runs.
    assert {event["run"] for event in starts} == {2}
    for id in ids:
        status = await site.status(id)
        assert (status.state, status.result, status.run) == (TaskState.SUCCEEDED, str(heir.pid).encode(), 2)


@pytest.mark.parametrize("task", ["hold", "hold_thread"])
@pytest.mark.parametrize("finished", [True, False], ids=["taken over and finished", "taken over and running"])
async def test_no_completion_of_a_zombie_is_accepted(site, task, finished):
    await scenarios.zombie(site, task, finished=finished)


async def test_workers_with_different_leases_take_nothing_from_each_other(site):
    leases = ("1s", "3s", "30s")
    workers = [site.worker("-c", "4", "--prefetch", "0", lease=lease) for lease in leases]
    # Each has work for several of the shortest leases, and room for that of others all the time.
    ids = await site.enqueue("work", 4.0, count=9)
    site.ledger.wait_for("end", 9)
    starts = Counter(event["id"] for event in site.ledger.events("start"))
    by = Counter(event["pid"] for event in site.ledger.events("start"))
    shares = ", ".join(f"{lease}: {by[worker.pid]}" for lease, worker in zip(leases, workers, strict=True))
    print(f"\nleases of 1, 3 and 30 s, 9 jobs of 4 s: {sum(starts.values())} runs ({shares})")
    assert starts == Counter(ids)
    assert len(by) == 3
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        assert "lost its lease" not in worker.text()
    assert {(status.state, status.run) for status in [await site.status(id) for id in ids]} == {
        (TaskState.SUCCEEDED, 1)
    }


@pytest.mark.parametrize("end", [signal.SIGSTOP, signal.SIGKILL], ids=lambda end: end.name)
async def test_what_is_handed_to_an_idle_worker_that_does_not_take_it_runs_elsewhere_soon(site, end):
    """Long before the lease of 30 s is over."""
    workers = [site.worker("-c", "4", lease="30s") for _ in range(2)]
    app = site.producer()

    async def one() -> tuple[int, float]:
        begin = site.now()
        handle = await app.enqueue("work", 0.0)
        pid = await handle.result(10)
        return pid, site.now() - begin

    async with app.open():
        for _ in range(4):
            pid, _ = await one()
        # They take turns, so it gets the next but one.
        (last,) = [worker for worker in workers if worker.pid == pid]
        last.signal(end)
        took = [await one() for _ in range(6)]
    if end == signal.SIGSTOP:
        last.signal(signal.SIGCONT)
    longest = max(seconds for _, seconds in took)
    print(f"\n{end.name} of one of two idle workers: the next jobs take {longest:.2f} s at most")
    assert {pid for pid, _ in took} == {worker.pid for worker in workers if worker is not last}
    assert longest < 5


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_storm_of_kills_loses_nothing_and_repeats_no_more_than_was_held(site):
    await scenarios.kill_storm(site)


@pytest.mark.slow
async def test_delayed_jobs_start_exactly_once_and_never_early_with_four_who_promote(site):
    count, chunk = 20_000, 1_000
    workers = [site.worker("-c", "100", ready=False) for _ in range(4)]
    for worker in workers:
        worker.ready()
    # Some 5,000 a second come due, so that all four are at it all the time, and each looks for the next of them.
    due = {}
    app = site.producer()
    async with app.open() as session:
        begin = site.now() + 6.0
        for start in range(0, count, chunk):
            delays = [begin - site.now() + n / 5_000 for n in range(start, start + chunk)]
            handles = await app.enqueue_many([app.call("work", (0,), delay=delay) for delay in delays])
            # The time that the server has set, by its clock.
            found = await session.broker.find([handle.id for handle in handles])
            due |= {id: stored.at for id, stored in found.items()}
    assert len(due) == count
    assert site.now() < begin
    site.ledger.wait(lambda events: sum(event["event"] == "end" for event in events) >= count, timeout=40)
    starts = site.ledger.events("start")
    late = sorted(event["at"] - due[event["id"]] for event in starts)
    by = Counter(event["pid"] for event in starts)
    print(
        f"\n{count} delayed jobs, 4 who promote: {len(starts)} starts, {late[0] * 1000:.1f} ms after their time at "
        f"the earliest, p50 {late[len(late) // 2] * 1000:.0f} ms; by worker {sorted(by.values())}"
    )
    assert Counter(event["id"] for event in starts) == Counter(dict.fromkeys(due, 1))
    assert late[0] >= 0
    assert len(by) == 4
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    depth = await site.depth()
    assert (depth.ready, depth.delayed, depth.leased) == (0, 0, 0)
