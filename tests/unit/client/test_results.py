import asyncio
from datetime import date

import pytest

from stem_core.client import results
from stem_core.errors import AppNotOpen, ResultError, ResultTimeout, TaskCancelled, TaskFailed
from stem_core.model import (
    REVOCATIONS,
    Ack,
    DeadLetter,
    ErrorInfo,
    Progress,
    Release,
    Retry,
    RetryPolicy,
    Settlement,
    Subscription,
    TaskState,
    TaskStatus,
)
from stem_core.tasks import TaskContext, current
from stem_core.testing.clock import FakeClock
from stem_core.wire import decode_revocation
from support.opened import fake_app

DAY = 86_400


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    made = fake_app(clock)

    @made.task(name="tasks.day_after")
    async def day_after(day: date) -> date:
        return day

    return made


@pytest.fixture
async def session(app):
    async with app.open() as opened:
        yield opened


@pytest.fixture
async def handle(app, session):
    return await app.tasks["tasks.day_after"].enqueue(date(2024, 2, 28))


def status(handle, state, **given):
    return TaskStatus(id=handle.id, task="tasks.day_after", queue="default", state=TaskState(state), **given)


async def record(session, handle, state, *, run=1, **given):
    await session.backend.record([status(handle, state, run=run, **given)])


async def claim(session, queue="default"):
    (delivery,) = await session.broker.receive(Subscription.of(queue), 1, 30)
    return delivery


async def settle(session, action):
    delivery = await claim(session)
    (verdict,) = await session.broker.settle([Settlement(receipt=delivery.receipt, action=action)])
    assert verdict.kind == "done"


class TestStatus:
    async def test_of_a_fresh_job_comes_from_the_broker(self, handle, clock):
        assert await handle.status() == status(handle, "queued", enqueued_at=clock.now())

    async def test_scheduled_and_due(self, app, session, clock):
        handle = await app.tasks["tasks.day_after"].options(delay=30).enqueue(date.max)
        assert (await handle.status()).state == "scheduled"
        clock.advance(30)
        assert (await handle.status()).state == "queued"

    async def test_running(self, session, handle):
        await claim(session)
        found = await handle.status()
        assert (found.state, found.run, found.attempt) == ("running", 1, 1)

    async def test_retrying_says_when(self, session, handle, clock):
        await settle(session, Retry(delay=20))
        found = await handle.status()
        assert (found.state, found.retry_at) == ("retrying", clock.now() + 20)

    async def test_handed_back_with_a_delay_is_waiting(self, session, handle):
        await settle(session, Release(delay=20))
        assert (await handle.status()).state == "scheduled"

    async def test_given_up_says_why(self, session, handle, clock):
        await settle(session, DeadLetter(reason="max-crashes", detail="three workers died"))
        found = await handle.status()
        assert (found.state, found.reason, found.finished_at) == ("failed", "max-crashes", clock.now())

    async def test_what_the_backend_says_goes_first(self, session, handle):
        await record(session, handle, "running", progress=Progress(percent=5))
        assert (await handle.status()).progress == Progress(percent=5)

    @pytest.mark.parametrize(
        ("state", "action"), [("succeeded", Ack()), ("failed", DeadLetter(reason="failed", detail="ValueError"))]
    )
    async def test_of_a_job_that_ends_while_it_is_looked_for(self, session, handle, monkeypatch, state, action):
        get = session.backend.get
        error = ErrorInfo(type="ValueError", message="no such day") if state == "failed" else None

        async def ends_meanwhile(ids):
            found = await get(ids)
            monkeypatch.setattr(session.backend, "get", get)
            await record(session, handle, state, error=error)
            await settle(session, action)
            return found

        monkeypatch.setattr(session.backend, "get", ends_meanwhile)
        found = await handle.status()
        assert (found.state, found.error) == (state, error)

    async def test_what_nobody_knows_is_queued_to_its_own_handle_only(self, app, session, handle):
        await settle(session, Ack())
        assert (await handle.status()).state == "queued"
        assert (await app.handle(handle.id).status()) == TaskStatus(
            id=handle.id, task="", queue="", state=TaskState.UNKNOWN
        )

    async def test_by_id_alone(self, app, handle):
        assert (await app.handle(handle.id).status()).task == "tasks.day_after"

    async def test_a_message_that_cannot_be_read_has_a_place_all_the_same(self, app, session):
        from stem_core.model import Message

        await session.broker.publish([Message(id="odd", queue="q", priority=5, header=b"?", payload=b"")])
        found = await app.handle("odd").status()
        assert (found.state, found.task, found.queue) == ("queued", "", "q")

    async def test_needs_the_app_open(self, app):
        with pytest.raises(AppNotOpen):
            await app.handle("x").status()


class TestResult:
    async def test_is_converted_to_the_annotation(self, session, handle):
        await record(session, handle, "succeeded", result=b'"2024-02-29"')
        assert await handle.result(timeout=1) == date(2024, 2, 29)

    async def test_by_id_too_where_the_task_is_known(self, app, session, handle):
        await record(session, handle, "succeeded", result=b'"2024-02-29"')
        assert await app.handle(handle.id).result(timeout=1) == date(2024, 2, 29)

    async def test_of_an_unknown_task_is_plain_json(self, app, session):
        handle = await app.enqueue("elsewhere.task")
        await session.backend.record(
            [TaskStatus(id=handle.id, task="elsewhere.task", queue="q", state=TaskState.SUCCEEDED, result=b'{"a":[1]}')]
        )
        assert await handle.result(timeout=1) == {"a": [1]}

    async def test_waits_until_it_is_there(self, session, handle):
        waiting = asyncio.create_task(handle.result(timeout=10))
        await asyncio.sleep(0)
        await record(session, handle, "running")
        await record(session, handle, "succeeded", result=b'"2024-02-29"')
        assert await waiting == date(2024, 2, 29)

    async def test_waits_on_after_the_longest_wait(self, session, handle, monkeypatch):
        monkeypatch.setattr(results, "LONGEST_WAIT", 0.001)
        waits = []
        wait = session.backend.wait

        async def counted(id, timeout):
            waits.append(timeout)
            if len(waits) == 3:
                await record(session, handle, "succeeded", result=b'"2024-02-29"')
            return await wait(id, timeout)

        session.backend.wait = counted
        assert await handle.result() == date(2024, 2, 29)
        assert waits == [0.001] * 3

    async def test_failed(self, session, handle):
        error = ErrorInfo(type="builtins.ValueError", message="no such day", traceback="Traceback ...")
        await record(session, handle, "failed", reason="failed", error=error)
        with pytest.raises(TaskFailed) as caught:
            await handle.result(timeout=1)
        assert str(caught.value) == f"tasks.day_after [{handle.id}] failed: builtins.ValueError: no such day"
        assert (caught.value.reason, caught.value.traceback) == ("failed", "Traceback ...")

    async def test_failed_without_an_error(self, session, handle):
        await record(session, handle, "failed", reason="max-crashes")
        with pytest.raises(TaskFailed) as caught:
            await handle.result(timeout=1)
        assert str(caught.value) == f"tasks.day_after [{handle.id}] max-crashes"

    @pytest.mark.parametrize("reason", ["revoked", "expired"])
    async def test_cancelled(self, session, handle, reason):
        await record(session, handle, "cancelled", reason=reason)
        with pytest.raises(TaskCancelled) as caught:
            await handle.result(timeout=1)
        assert str(caught.value) == f"tasks.day_after [{handle.id}] was cancelled: {reason}"

    async def test_not_in_time(self, handle):
        with pytest.raises(ResultTimeout) as caught:
            await handle.result(timeout=0.01)
        assert str(caught.value) == (
            f"no result of {handle.id} within 0.01 s (state: queued)\n"
            "  hint: wait longer, and see that a worker reads its queue"
        )

    async def test_no_time_at_all_still_looks(self, session, handle):
        with pytest.raises(ResultTimeout):
            await handle.result(timeout=0)
        await record(session, handle, "succeeded", result=b'"2024-02-29"')
        assert await handle.result(timeout=0) == date(2024, 2, 29)

    async def test_inside_a_task_only_when_allowed(self, session, handle):
        await record(session, handle, "succeeded", result=b'"2024-02-29"')
        token = current.set(TaskContext.local())
        try:
            with pytest.raises(ResultError) as caught:
                await handle.result()
            assert await handle.result(allow_in_task=True) == date(2024, 2, 29)
        finally:
            current.reset(token)
        assert str(caught.value) == (
            f"result() of tasks.day_after [{handle.id}] was asked for inside a task\n"
            "  hint: a waiting task holds a slot that the other may need: enqueue the follow-up work from the other "
            "task, or pass allow_in_task=True"
        )

    async def test_of_a_job_that_stores_none(self, app, session):
        handle = await app.tasks["tasks.day_after"].options(store_result=False).enqueue(date.max)
        with pytest.raises(ResultError) as caught:
            await handle.result()
        assert str(caught.value) == (
            f"tasks.day_after [{handle.id}] was enqueued with store_result=False: its outcome is stored nowhere\n"
            "  hint: enqueue it with options(store_result=True)"
        )

    async def test_where_none_are_kept(self, session, handle):
        session.backend = None
        with pytest.raises(ResultError) as caught:
            await handle.result()
        assert str(caught.value) == (
            "no results are kept: the result backend is 'none'\n"
            "  hint: set result_backend_url (STEM_RESULT_BACKEND_URL)"
        )


class TestWatch:
    async def test_tells_every_step(self, session, handle, monkeypatch):
        monkeypatch.setattr(results, "FIRST_PAUSE", 0.001)
        seen = []
        steps = [
            lambda: claim(session),
            lambda: record(session, handle, "running", progress=Progress(percent=50)),
            lambda: record(session, handle, "running", progress=Progress(percent=90)),
            lambda: record(session, handle, "retrying", run=1, attempt=1),
            lambda: record(session, handle, "running", run=2, attempt=2),
            lambda: record(session, handle, "succeeded", run=2, attempt=2, result=b'"2024-02-29"'),
        ]
        async for found in handle.watch():
            seen.append((found.state.value, found.progress and found.progress.percent))
            if steps:
                await steps.pop(0)()
        assert seen == [
            ("queued", None),
            ("running", None),
            ("running", 50),
            ("running", 90),
            ("retrying", None),
            ("running", None),
            ("succeeded", None),
        ]

    async def test_of_a_finished_job_is_one_look(self, session, handle):
        await record(session, handle, "cancelled", reason="expired")
        assert [found.state async for found in handle.watch()] == ["cancelled"]

    async def test_looks_less_and_less_often_while_nothing_happens(self, session, handle):
        waits = []

        async def wait(id, timeout):
            waits.append(timeout)
            if len(waits) == 12:
                await record(session, handle, "succeeded", result=b'"2024-02-29"')
                return (await session.backend.get([id]))[id]
            return None

        session.backend.wait = wait
        assert [found.state async for found in handle.watch()] == ["queued", "succeeded"]
        assert waits[:3] == [0.05, pytest.approx(0.075), pytest.approx(0.1125)]
        assert waits == sorted(waits)
        assert waits[-1] == 1.0

    async def test_has_no_end_without_results(self, session, handle):
        session.backend = None
        with pytest.raises(ResultError):
            await anext(handle.watch())


class TestCancel:
    async def revocation(self, session, handle):
        found = await session.state.get(REVOCATIONS, handle.id)
        return None if found is None else decode_revocation(found.value)

    async def test_of_a_waiting_job_takes_it_out(self, session, handle, clock):
        assert await handle.cancel("no longer wanted") is True
        assert (await session.broker.depth(["default"]))["default"].ready == 0
        revoked = await self.revocation(session, handle)
        assert (revoked.id, revoked.revoked_at, revoked.reason) == (handle.id, clock.now(), "no longer wanted")
        found = await handle.status()
        assert (found.state, found.reason, found.finished_at) == ("cancelled", "revoked", clock.now())
        with pytest.raises(TaskCancelled, match="revoked"):
            await handle.result(timeout=1)

    async def test_is_written_before_it_is_taken_out(self, session, handle):
        order = []
        put, remove = session.state.put, session.broker.remove

        async def put_first(*args, **kwargs):
            order.append("put")
            return await put(*args, **kwargs)

        async def then_remove(ids):
            order.append("remove")
            return await remove(ids)

        session.state.put, session.broker.remove = put_first, then_remove
        await handle.cancel()
        assert order == ["put", "remove"]

    async def test_of_a_delayed_job(self, app, session):
        handle = await app.tasks["tasks.day_after"].options(delay=30).enqueue(date.max)
        assert await handle.cancel() is True
        assert (await handle.status()).state == "cancelled"

    async def test_of_a_running_job_leaves_it_to_the_worker(self, session, handle):
        await claim(session)
        assert await handle.cancel() is False
        assert (await self.revocation(session, handle)) is not None
        assert (await handle.status()).state == "running"

    async def test_of_a_finished_job_changes_nothing(self, session, handle):
        await settle(session, Ack())
        await record(session, handle, "succeeded", result=b"null")
        assert await handle.cancel() is False
        assert (await self.revocation(session, handle)) is None

    async def test_of_a_dead_job_does_not_forbid_its_replay(self, session, handle):
        await settle(session, DeadLetter(reason="failed"))
        assert await handle.cancel() is False
        assert (await self.revocation(session, handle)) is None

    async def test_of_an_unknown_job_is_written_down(self, app, session):
        handle = app.handle("to-come")
        assert await handle.cancel() is False
        assert (await self.revocation(session, handle)).id == "to-come"

    async def test_of_a_job_that_stores_no_result_writes_none(self, app, session):
        handle = await app.tasks["tasks.day_after"].options(store_result=False).enqueue(date.max)
        assert await handle.cancel() is True
        assert await session.backend.get([handle.id]) == {}

    async def test_lasts_a_day_for_what_runs_now(self, session, handle, clock):
        await handle.cancel()
        clock.advance(DAY - 1)
        assert (await self.revocation(session, handle)) is not None
        # Three retries of 1, 2 and 4 s at most: nothing can be left of the job after that.
        clock.advance(1 + 7 + 1)
        assert (await self.revocation(session, handle)) is None

    async def test_lasts_until_the_job_could_not_run_any_more(self, app, session, clock):
        bound = app.tasks["tasks.day_after"].options(delay=3 * DAY, max_retries=2, retry=RetryPolicy.fixed(DAY))
        handle = await bound.enqueue(date.max)
        await handle.cancel()
        clock.advance(6 * DAY - 1)
        assert (await self.revocation(session, handle)) is not None
        clock.advance(2)
        assert (await self.revocation(session, handle)) is None

    async def test_knows_the_policy_of_the_task(self, app, session, clock):
        @app.task(name="tasks.patient", max_retries=1, retry=RetryPolicy.after([5 * DAY]))
        async def patient() -> None: ...

        handle = await patient.enqueue()
        await handle.cancel()
        clock.advance(6 * DAY - 1)
        assert (await self.revocation(session, handle)) is not None
