"""Time limits where nothing can be killed: on the event loop and in threads."""

import asyncio
import threading

import msgspec
import pytest

from stem_core import RetryPolicy, Stem, TaskContext
from stem_core.errors import WorkerFailed
from stem_core.model import TaskState
from stem_core.tasks import CallOptions
from stem_core.worker import Worker, limits
from support.bench import bench, flaky_app
from support.until import until


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(limits, "GRACE", 0.05)


class Stubborn:
    """Ignores its first cancellation, and no other: a test that fails must end."""

    def __init__(self):
        self.door = asyncio.Event()

    async def __call__(self):
        try:
            await self.door.wait()
        except asyncio.CancelledError:
            await self.door.wait()


@pytest.fixture
def app():
    return flaky_app()


async def test_a_coroutine_is_cancelled(app):
    @app.task(time_limit=0.02, max_retries=0)
    async def waits():
        await asyncio.sleep(60)

    async with bench(app) as line:
        handle = await waits.enqueue()
        await line.take()
        await line.finished()
        status = await line.status(handle.id)
        assert (status.state, status.reason) == (TaskState.FAILED, "time-limit")
        assert status.error.message == "ended at its time limit of 0.02 s"
        assert line.line.slots.lost == 0


async def test_it_is_retried_by_the_policy(app):
    @app.task(time_limit=0.02, max_retries=1, retry=RetryPolicy.fixed(30))
    async def waits():
        await asyncio.sleep(60)

    async with bench(app) as line:
        handle = await waits.enqueue()
        await line.take()
        await line.finished()
        assert (await line.status(handle.id)).state is TaskState.RETRYING


async def test_the_limit_of_the_call_goes_first(app):
    @app.task(time_limit=60, max_retries=0)
    async def waits():
        await asyncio.sleep(60)

    async with bench(app) as line:
        handle = await waits.options(time_limit=0.02).enqueue()
        await line.take()
        await line.finished()
        assert (await line.status(handle.id)).error.message == "ended at its time limit of 0.02 s"


async def test_what_ignores_its_cancellation_is_left_behind_and_its_slot_is_lost_until_it_ends(app, caplog):
    waiting = Stubborn()

    @app.task(time_limit=0.02, max_retries=0)
    async def stubborn():
        await waiting()
        return "too late"

    lost = []
    async with bench(app, concurrency=4) as line:
        line.line.slots.on_lost = lost.append
        handle = await stubborn.enqueue()
        await line.take()
        await line.finished()
        assert (await line.status(handle.id)).reason == "time-limit"
        assert (lost, line.line.slots.lost, line.line.slots.free) == ([1], 1, 3)
        assert "runs on after its time limit and is left behind; 1 of 4 slots are lost" in caplog.text
        assert "await self.door.wait()" in caplog.text
        waiting.door.set()
        await until(lambda: line.line.slots.lost == 0)
        assert line.line.slots.free == 4
        assert (await line.status(handle.id)).state is TaskState.FAILED


async def enqueue_unchecked(task, **options):
    """As a producer does that does not know the task's code, or is older than the check."""
    call = msgspec.structs.replace(task.call(), options=CallOptions.build(options))
    return await task.host.submit(call)


async def test_a_thread_is_left_behind_when_a_call_wants_a_limit(app):
    door = threading.Event()

    @app.task(max_retries=0)
    def stuck():
        door.wait(3)

    async with bench(app, concurrency=4) as line:
        handle = await enqueue_unchecked(stuck, time_limit=0.02)
        await line.take()
        await line.finished()
        assert (await line.status(handle.id)).reason == "time-limit"
        assert line.line.slots.lost == 1
        door.set()
        await until(lambda: line.line.slots.lost == 0)


async def test_a_thread_with_checkpoints_ends_within_the_grace(app):
    pause = threading.Event()

    @app.task(max_retries=0)
    def careful(ctx: TaskContext):
        while True:
            ctx.check()
            pause.wait(0.001)

    async with bench(app, concurrency=4) as line:
        handle = await enqueue_unchecked(careful, time_limit=0.02)
        await line.take()
        await line.finished()
        assert (await line.status(handle.id)).reason == "time-limit"
        assert line.line.slots.lost == 0


async def test_a_worker_that_lost_too_many_slots_ends_to_be_started_anew():
    app = Stem("worn", broker_url="memory://worn", plugins=[])
    doors = []

    @app.task(time_limit=0.02, max_retries=0, name="stubborn")
    async def stubborn():
        waiting = Stubborn()
        doors.append(waiting.door)
        await waiting()

    @app.task(name="fine")
    async def fine():
        return 1

    worker = Worker(app, concurrency=8)
    async with app.open(producer=False):
        for _ in range(2):
            await stubborn.enqueue()
        running = asyncio.create_task(worker.run())
        await until(lambda: len(doors) == 2 and worker.phase == "running")
        # Two of eight are a quarter: the third is too many.
        assert (await (await fine.enqueue()).result(5)) == 1
        await stubborn.enqueue()
        with pytest.raises(WorkerFailed, match="3 of 8 slots are lost to tasks that do not end") as failed:
            await asyncio.wait_for(running, 10)
        assert "strategy='processes'" in failed.value.hint
        assert worker.exit_code == 1
        for door in doors:
            door.set()
        await asyncio.sleep(0)
