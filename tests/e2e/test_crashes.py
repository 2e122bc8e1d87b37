"""Workers that are killed, stopped and blocked: nothing is lost, nothing stale counts."""

import signal

import pytest

from stem_core.model import TaskState
from support import scenarios


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_storm_of_kills_loses_nothing_and_repeats_no_more_than_was_held(site):
    await scenarios.kill_storm(site)


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
