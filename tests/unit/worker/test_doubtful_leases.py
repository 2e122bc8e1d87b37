"""What waited for a slot without a confirmed renewal for more than half its lease (30 s) is asked about before it
starts."""

import asyncio

import pytest

from stem_core.model import Release, Settlement, TaskState, Verdict
from stem_core.testing import SignalRecorder
from stem_core.testing.clock import FakeClock
from stem_core.worker.cancellation import interrupt
from stem_core.worker.leases import Leases
from stem_core.worker.progress import ProgressWriter
from support.bench import bench, flaky_app
from support.until import until


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    return flaky_app(clock=clock)


@pytest.fixture(params=["coroutine", "plain"])
def job(request, app):
    """Remembers its runs; as a coroutine function or as a plain one."""
    ran = []
    if request.param == "coroutine":

        @app.task(name="job")
        async def job(number: int):
            ran.append(number)
    else:

        @app.task(name="job")
        def job(number: int):
            ran.append(number)

    job.ran = ran
    return job


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("stem_core.worker.backoff.Backoff.FIRST", 0.001)
    monkeypatch.setattr("stem_core.worker.backoff.Backoff.CAP", 0.001)


async def waiting(line, job, count=1):
    """So many deliveries that wait, as while every slot is in use."""
    await line.app.enqueue_many([job.call(number) for number in range(count)])
    slots, line.line.slots.concurrency = line.line.slots.concurrency, 0
    entries = await line.take()
    line.line.slots.concurrency = slots
    return entries


async def test_one_that_is_fresh_enough_costs_no_call(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job)
        clock.advance(15)
        line.line.slots.start_waiting()
        await line.finished()
        assert job.ran == [0]
        assert line.faults.calls["extend"] == 0


async def test_one_whose_lease_was_renewed_meanwhile_costs_none_either(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job)
        for _ in range(5):
            clock.advance(10)
            await Leases(line.view, line.session).renew()
        line.line.slots.start_waiting()
        await line.finished()
        assert job.ran == [0]
        assert line.faults.calls["extend"] == 5


async def test_one_that_is_still_ours_is_extended_and_runs(app, clock, job):
    async with bench(app) as line:
        (entry,) = await waiting(line, job)
        clock.advance(15.1)
        line.line.slots.start_waiting()
        await line.finished()
        assert job.ran == [0]
        assert line.faults.calls["extend"] == 1
        assert entry.lease_deadline == clock.monotonic() + 30


@pytest.mark.parametrize("asleep", [15.1, 29, 40])
async def test_one_that_another_has_does_not_start(app, clock, job, asleep):
    """As when the process was stopped for a while, and the pulse thread has not looked yet."""
    async with bench(app) as line:
        with SignalRecorder(app.signals, "task-prerun", "task-lease-lost", "task-postrun") as heard:
            (entry,) = await waiting(line, job)
            # Somebody has moved it by hand, or the store has let go of it.
            await line.session.broker.settle([Settlement(receipt=entry.delivery.receipt, action=Release())])
            (theirs,) = await line.claim()
            clock.advance(asleep)
            line.line.slots.start_waiting()
            await line.finished()
            await until(lambda: heard.events)
        assert job.ran == []
        assert [event.event_name for event in heard.events] == ["task-lease-lost"]
        assert not len(line.inflight)
        assert line.faults.batches == [1]
        assert theirs.receipt.run == 2


async def test_while_the_broker_does_not_answer_it_waits_and_then_runs(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job, 2)
        line.faults.down.add("extend")
        clock.advance(20)
        line.line.slots.start_waiting()
        await until(lambda: line.faults.calls["extend"] > 4)
        assert job.ran == []
        line.faults.down.clear()
        await line.finished()
        assert sorted(job.ran) == [0, 1]


async def test_when_the_broker_refuses_it_is_asked_again(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job)
        clock.advance(20)
        extend, refusals = line.session.broker.extend, [Verdict(kind="refused", error="not now")]

        async def refusing(receipts, lease):
            return [refusals.pop()] if refusals else await extend(receipts, lease)

        line.session.broker.extend = refusing
        line.line.slots.start_waiting()
        await line.finished()
        assert job.ran == [0]


async def test_one_whose_lease_ends_meanwhile_does_not_start(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job)
        line.faults.down.add("extend")
        clock.advance(20)
        line.line.slots.start_waiting()
        await until(lambda: line.faults.calls["extend"])
        clock.advance(11)
        Leases(line.view, line.session).fence()
        await line.finished()
        assert job.ran == []
        assert not len(line.inflight)
        assert line.faults.batches == []


async def test_a_stop_hands_it_back_as_not_started(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job)
        line.faults.down.add("extend")
        clock.advance(20)
        line.line.slots.start_waiting()
        await until(lambda: line.faults.calls["extend"])
        line.line.interrupt_all()
        await line.finished()
        assert job.ran == []
        assert line.line.settler.interrupted == 0
        assert (await line.depth()).ready == 1


async def test_an_answer_that_comes_late_is_asked_for_again(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job)
        clock.advance(20)
        extend, late = line.session.broker.extend, [16.0]

        async def slow(receipts, lease):
            verdicts = await extend(receipts, lease)
            if late:
                clock.advance(late.pop())
            return verdicts

        line.session.broker.extend = slow
        line.line.slots.start_waiting()
        await line.finished()
        assert job.ran == [0]
        assert line.faults.calls["extend"] == 2


@pytest.mark.parametrize("reason", ["revoked", "shutdown"])
async def test_one_that_is_interrupted_while_the_broker_answers_does_not_start(app, clock, job, reason):
    async with bench(app) as line:
        (entry,) = await waiting(line, job)
        clock.advance(20)
        extend = line.session.broker.extend

        async def interrupted_meanwhile(receipts, lease):
            verdicts = await extend(receipts, lease)
            interrupt(entry, reason)
            return verdicts

        line.session.broker.extend = interrupted_meanwhile
        line.line.slots.start_waiting()
        await line.finished()
        assert job.ran == []
        assert (await line.depth()).ready == 1


async def test_the_backend_hears_that_it_runs_when_it_does_and_not_before(app, clock):
    door = asyncio.Event()

    @app.task(name="held")
    async def held(number: int):
        await door.wait()

    async with bench(app) as line:
        (entry,) = await waiting(line, held)
        leases = Leases(line.view, line.session)
        clock.advance(20)
        line.faults.down.add("extend")
        line.line.slots.start_waiting()
        await until(lambda: line.faults.calls["extend"])
        line.faults.down.clear()
        await leases.renew()
        await ProgressWriter(line.view, line.session).flush()
        await until(lambda: entry.started)
        await leases.renew()
        await ProgressWriter(line.view, line.session).flush()
        (status,) = (await line.session.backend.get([entry.delivery.message.id])).values()
        assert status.state is TaskState.RUNNING
        door.set()
        await line.finished()


async def test_one_that_expires_while_the_broker_is_asked_does_not_start(app, clock, job):
    async with bench(app) as line:
        line.line.slots.concurrency = 0
        handle = await job.options(expires=25).enqueue(0)
        await line.take()
        line.line.slots.concurrency = 1
        clock.advance(20)
        line.faults.down.add("extend")
        line.line.slots.start_waiting()
        await until(lambda: line.faults.calls["extend"])
        clock.advance(6)
        line.faults.down.clear()
        await line.finished()
        assert job.ran == []
        assert ((await handle.status()).state, (await handle.status()).reason) == (TaskState.CANCELLED, "expired")


async def test_a_stop_does_not_wait_for_the_answer(app, clock, job):
    async with bench(app) as line:
        await waiting(line, job)
        clock.advance(20)
        asked = asyncio.Event()

        async def silent(receipts, lease):
            asked.set()
            await asyncio.Event().wait()

        line.session.broker.extend = silent
        line.line.slots.start_waiting()
        await asked.wait()
        line.line.interrupt_all()
        async with asyncio.timeout(2):
            await line.finished()
        assert job.ran == []
        assert (await line.depth()).ready == 1
