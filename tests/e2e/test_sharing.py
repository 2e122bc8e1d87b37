"""Several workers on one queue."""

import signal


async def test_no_short_task_waits_behind_a_long_one(site):
    # Without prefetch a worker holds what it runs and no more.
    workers = [site.worker("-c", "1", "--prefetch", "0", ready=False) for _ in range(2)]
    for worker in workers:
        worker.ready()
    (long,) = await site.enqueue("hold", str(site.folder))
    (begun,) = site.ledger.wait_for("start")
    shorts = await site.enqueue("work", 0.01, count=20)
    ended = site.ledger.wait_for("end", 20)
    # All twenty are through, and the long one has not ended: it is waited for only now.
    assert {event["id"] for event in ended} == set(shorts)
    busy, free = sorted(workers, key=lambda worker: worker.pid != begun["pid"])
    assert {event["pid"] for event in ended} == {free.pid}
    site.open_door(busy)
    site.ledger.wait(lambda events: events[-1]["event"] == "end" and events[-1]["id"] == long)
    for worker in workers:
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert len(site.ledger.events("start")) == 21
    first, last = (min(e["at"] for e in ended), max(e["at"] for e in ended))
    print(f"\ntwenty short tasks beside a long one, two workers without prefetch: done within {last - first:.2f} s")
