"""Queues that a running worker does not claim for a while."""

import asyncio

import pytest

from stem_core.errors import InvalidOption
from stem_core.worker import Worker
from support.bench import bench, flaky_app
from support.until import until


@pytest.fixture
def app():
    return flaky_app()


@pytest.fixture
def gate(app):
    gate = asyncio.Event()
    gate.running = []

    @app.task(name="wait")
    async def wait(number: int):
        gate.running.append(number)
        await gate.wait()

    gate.task = wait
    return gate


async def enqueue(app, gate, queue, count):
    await app.enqueue_many([gate.task.options(queue=queue).call(n) for n in range(count)])


@pytest.mark.parametrize("lanes", [{}, {"limit": {"mail": 2}}], ids=["no lanes", "lanes"])
async def test_what_is_prefetched_goes_back_uncounted_and_what_runs_goes_on(app, gate, lanes):
    async with bench(app, queues=["mail", "other"], concurrency=2, prefetch=4, **lanes) as line:
        await enqueue(app, gate, "mail", 5)
        line.start_intake()
        await until(lambda: len(gate.running) == 2)
        await until(lambda: len(line.inflight) >= 4)
        await line.line.steering.pause("mail", "test")
        await until(lambda: len(line.inflight) == 2)
        assert line.inflight.running == 2
        others = await line.claim(queues=("mail",))
        assert {(delivery.attempt, delivery.crashes) for delivery in others} == {(1, 0)}
        assert len(others) == 3
        gate.set()
        await line.idle()
        assert len(gate.running) == 2


async def test_others_are_claimed_on_and_a_resume_claims_at_once(app, gate):
    gate.set()
    async with bench(app, queues=["mail", "other"], concurrency=2) as line:
        await line.line.steering.pause("mail", "test")
        line.start_intake()
        await enqueue(app, gate, "mail", 3)
        await enqueue(app, gate, "other", 3)
        await until(lambda: len(gate.running) == 3)
        await line.idle()
        assert (await line.depth("mail")).ready == 3
        await line.line.steering.resume("mail", "test")
        async with asyncio.timeout(0.9):
            await until(lambda: len(gate.running) == 6)


async def test_what_a_claim_under_way_brings_goes_back(app, gate):
    async with bench(app, concurrency=2) as line:
        await enqueue(app, gate, "default", 2)
        line.faults.held["receive"] = held = asyncio.Event()
        line.start_intake()
        await until(lambda: line.faults.waiting["receive"] == 1)
        await line.line.steering.pause("default", "test")
        held.set()
        await until(lambda: line.faults.calls["settle"] == 1)
        await line.line.settler.settled()
        assert not len(line.inflight)
        assert gate.running == []
        assert (await line.depth()).ready == 2


async def test_a_resume_during_a_claim_is_not_slept_over(app, gate):
    gate.set()
    async with bench(app, queues=["mail", "other"]) as line:
        await line.line.steering.pause("mail", "test")
        await enqueue(app, gate, "mail", 1)
        line.faults.held["receive"] = held = asyncio.Event()
        line.start_intake()
        await until(lambda: line.faults.waiting["receive"] == 1)
        await line.line.steering.resume("mail", "test")
        held.set()
        async with asyncio.timeout(0.9):
            await until(lambda: gate.running == [0])


async def test_all_paused_is_idle_and_asks_for_nothing(app, gate):
    async with bench(app) as line:
        await enqueue(app, gate, "default", 1)
        await line.line.steering.pause("default", "test")
        line.start_intake()
        await line.idle()
        assert line.faults.calls["receive"] == 0


async def test_signals_and_heartbeats_tell_of_it_once(app, gate):
    heard = []
    app.signals.queue_paused.connect(heard.append)
    app.signals.queue_resumed.connect(heard.append)
    async with Worker(app, queues=["mail", "other"]) as worker:
        for _ in range(2):
            await asyncio.to_thread(worker.pause, "mail", reason="too much")
        await until(lambda: worker.heartbeat().paused == ("mail",))
        for _ in range(2):
            worker.resume("mail")
        await until(lambda: worker.heartbeat().paused == ())
        await until(lambda: len(heard) == 2)
    told = [(event.event_name, event.worker, event.queue, event.reason) for event in heard]
    assert told == [
        ("queue-paused", worker.id, "mail", "too much"),
        ("queue-resumed", worker.id, "mail", "resume()"),
    ]


async def test_a_queue_that_the_worker_does_not_read(app):
    worker = Worker(app, queues=["mail", "other"])
    for change in (worker.pause, worker.resume):
        with pytest.raises(InvalidOption) as refused:
            change("male")
        assert refused.value.hint == "give a queue that this worker reads: mail, other"
