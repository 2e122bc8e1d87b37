"""What becomes of a claim whose answer comes when the worker does not want it any more, or that a handler holds up."""

import asyncio

import pytest

from stem_core import Stem
from stem_core.builtin.memory_broker import MemoryBroker
from stem_core.errors import WorkerFailed
from stem_core.model import Subscription
from stem_core.worker import Worker
from support.until import until

JOBS = 5


class Held:
    """Claims are granted at once, and answered when :attr:`answer` is set."""

    def __init__(self, monkeypatch):
        self.granted, self.answer, self.claims = asyncio.Event(), asyncio.Event(), 0
        receive = MemoryBroker.receive

        async def held(broker, *args, **kwargs):
            self.claims += 1
            found = await receive(broker, *args, **kwargs)
            self.granted.set()
            await self.answer.wait()
            return found

        monkeypatch.setattr(MemoryBroker, "receive", held)


@pytest.fixture
async def held(monkeypatch):
    return Held(monkeypatch)


@pytest.fixture
def app(request):
    app = Stem("held", broker_url=f"memory://held-{hash(request.node.nodeid)}", plugins=[])

    @app.task(name="job")
    async def job():
        pass

    return app


async def hard(worker, run):
    worker.stop("hard")


async def cancelled(worker, run):
    run.cancel()


async def failed(worker, run):
    worker._life._on_failure(RuntimeError("a bug"))


@pytest.mark.parametrize("end", [hard, cancelled, failed])
async def test_what_it_brings_after_the_end_goes_back_uncounted(app, held, end):
    async with app.open() as session:
        for _ in range(JOBS):
            await app.enqueue("job")
        worker = Worker(app)
        run = asyncio.ensure_future(worker.run())
        await held.granted.wait()
        await end(worker, run)
        await until(lambda: not worker._life._line.intake._open)
        held.answer.set()
        (outcome,) = await asyncio.gather(run, return_exceptions=True)
        assert outcome == 0 or isinstance(outcome, asyncio.CancelledError | WorkerFailed)
        assert (await session.broker.depth(["default"]))["default"].ready == JOBS
        back = await session.broker.receive(Subscription.of("default"), JOBS, 30, suspects=JOBS)
        assert [(delivery.attempt, delivery.crashes) for delivery in back] == [(1, 0)] * JOBS


async def test_a_worker_that_was_stopped_before_its_start_claims_nothing(app, held):
    held.answer.set()
    async with app.open():
        await app.enqueue("job")
        worker = Worker(app)
        worker.stop("hard")
        assert await worker.run() == 0
        assert held.claims == 0


async def test_a_handler_that_takes_its_time_keeps_no_lease_from_being_renewed(app):
    hold, told = asyncio.Event(), asyncio.Event()

    async def slow(event):
        told.set()
        await hold.wait()

    app.signals.task_received.connect(slow)
    async with app.open():
        for _ in range(JOBS):
            await app.enqueue("job")
        async with Worker(app, call_timeout=0.1) as worker:
            await told.wait()
            assert len(worker._life._inflight.snapshot()) == JOBS
            # Longer than a call may take: the broker has answered, and is not to be blamed.
            await asyncio.sleep(0.25)
            assert worker.heartbeat().health != "degraded"
            hold.set()


async def test_it_may_be_woken_more_than_once_in_a_turn(app):
    done = asyncio.Event()
    app.signals.task_postrun.connect(lambda _event: done.set())
    async with app.open(), Worker(app) as worker:
        intake = worker._life._line.intake
        await until(lambda: intake._sleeper is not None)
        intake.wake()
        intake.wake()
        await app.enqueue("job")
        await asyncio.wait_for(done.wait(), 5)


async def test_a_wait_that_somebody_else_cancels_ends_without_a_claim(app, held):
    held.answer.set()
    async with app.open():
        worker = Worker(app)
        run = asyncio.ensure_future(worker.run())
        await held.granted.wait()
        await until(lambda: worker._life._line.intake._sleeper is not None)
        before = held.claims
        # As asyncio.run() does with all tasks at its end.
        worker._life._line.intake._claiming.cancel()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert held.claims == before


async def test_a_claim_is_late_by_its_own_time_and_not_by_that_of_the_wait_before_it(app, monkeypatch):
    answered = []

    async def slow(broker, *args, **kwargs):
        await asyncio.sleep(0.3)
        answered.append(True)
        return []

    async def wait(broker, *args):
        await asyncio.sleep(1.9)

    monkeypatch.setattr(MemoryBroker, "receive", slow)
    monkeypatch.setattr(MemoryBroker, "wait_for_work", wait)
    async with app.open(), Worker(app, call_timeout=2.0) as worker:
        intake = worker._life._line.intake
        while len(answered) < 2:
            assert not intake.failing
            await asyncio.sleep(0.01)


async def test_each_of_two_claims_of_a_look_has_its_own_time(app, monkeypatch):
    claims = []

    async def slow(broker, *args, **kwargs):
        claims.append(None)
        await asyncio.sleep(0.6)
        return []

    monkeypatch.setattr(MemoryBroker, "receive", slow)
    async with (
        app.open(),
        Worker(app, queues=["bulk", "mail"], reserve={"mail": 1}, concurrency=3, call_timeout=1.0) as worker,
    ):
        intake = worker._life._line.intake
        # What is kept free for one queue is asked for by itself.
        while len(claims) < 3:
            assert not intake.failing
            await asyncio.sleep(0.01)


async def test_a_claim_that_is_not_answered_in_time_is_told(app, held):
    async with app.open(), Worker(app, call_timeout=0.1) as worker:
        await until(lambda: worker._life._line.intake.failing)
        held.answer.set()
        await until(lambda: not worker._life._line.intake.failing)
