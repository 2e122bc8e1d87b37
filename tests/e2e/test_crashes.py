"""Workers that are killed, stopped and blocked: nothing is lost, nothing stale counts."""

import asyncio
import signal
from collections import Counter

import pytest

from stem_core.model import TaskState
from support import scenarios
from support.worker_proc import Stopwatch


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_storm_of_kills_loses_nothing_and_repeats_no_more_than_was_held(site):
    await scenarios.kill_storm(site)


@pytest.mark.slow
async def test_a_poison_coroutine_is_quarantined_alone_though_fifty_run_beside_it(site):
    def start():
        return site.worker("-c", "60", lease="1s", ready=False)

    watch = Stopwatch()
    first = start().ready()
    innocents = await site.enqueue("innocent", count=50)
    (poison,) = await site.enqueue("poison", 50)
    assert first.wait() == -signal.SIGKILL
    # All 51 were lost together, so that all are suspects now.
    workers, deaths = [start(), start()], 1
    while not any("max-crashes" in line["message"] for worker in workers for line in worker.lines):
        for worker in [worker for worker in workers if not worker.alive]:
            assert worker.wait() == -signal.SIGKILL
            deaths += 1
            workers.remove(worker)
            workers.append(start())
        assert watch.seconds < 40
        await asyncio.sleep(0.01)
    assert deaths == 3
    site.ledger.wait(lambda events: {e["id"] for e in events if e["event"] == "end"} == set(innocents))
    for worker in workers:
        worker.ready().signal(signal.SIGTERM)
        assert worker.wait() == 0
    runs = Counter(event["id"] for event in site.ledger.events("start"))
    # Each innocent was taken along once, by the death that nobody could foresee.
    assert runs == {poison: 3} | dict.fromkeys(innocents, 2)
    (dead,) = await site.dead()
    assert (dead.message.id, dead.reason) == (poison, "max-crashes")
    status = await site.status(poison)
    assert (status.state, status.reason) == (TaskState.FAILED, "max-crashes")
    for id in innocents:
        status = await site.status(id)
        assert (status.state, status.attempt) == (TaskState.SUCCEEDED, 1)
    print(f"\npoison: quarantined after {deaths} deaths, its 50 neighbours finished, in {watch.seconds:.1f} s")


@pytest.mark.parametrize("task", ["hold", "hold_thread"])
@pytest.mark.parametrize("finished", [True, False], ids=["taken over and finished", "taken over and running"])
async def test_no_completion_of_a_zombie_is_accepted(site, task, finished):
    await scenarios.zombie(site, task, finished=finished)


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
