import asyncio
import contextlib
import threading

import pytest

from stem_core import RetryPolicy, TaskContext
from stem_core.contracts import Middleware
from stem_core.errors import ProcessLost, RetryTask, TaskFailed, TaskInterrupted
from stem_core.model import TaskState
from stem_core.worker.cancellation import interrupt
from support.bench import bench, flaky_app
from support.deliveries import sealed

AT_ONCE = RetryPolicy.fixed(0)


@pytest.fixture
def app():
    return flaky_app()


async def run(app, task, *args, **options):
    """One run of the task on a bench; the bench's own objects are gone when this returns."""
    async with bench(app) as line:
        handle = await task.options(**options).enqueue(*args)
        await line.take()
        await line.finished()
        return await line.status(handle.id), await line.depth()


class TestRetries:
    async def test_an_exception_is_retried_by_the_policy_and_counted(self, app):
        @app.task(retry=RetryPolicy.fixed(30), max_retries=1)
        async def fails():
            raise ValueError("broken")

        status, depth = await run(app, fails)
        assert (status.state, status.reason, status.attempt) == (TaskState.RETRYING, "failed", 1)
        assert (status.error.type, status.error.message) == ("ValueError", "broken")
        assert 29 < status.retry_at - status.started_at < 31
        assert (depth.ready, depth.delayed, depth.dead) == (0, 1, 0)

    @pytest.mark.parametrize(("retries", "runs"), [(0, 1), (2, 3), (None, 4)])
    async def test_gives_up_after_the_last_retry(self, app, retries, runs):
        attempts = []

        @app.task(retry=AT_ONCE, max_retries=retries)
        async def fails(ctx: TaskContext):
            attempts.append(ctx.attempt)
            raise ValueError("broken")

        async with bench(app) as line:
            handle = await fails.enqueue()
            line.start_intake()
            await line.idle()
            with pytest.raises(TaskFailed, match="broken"):
                await handle.result(1)
            assert (await line.depth()).dead == 1
        assert attempts == list(range(1, runs + 1))

    async def test_the_options_of_the_call_go_before_those_of_the_task(self, app):
        @app.task(retry=AT_ONCE, max_retries=5)
        async def fails():
            raise ValueError("broken")

        status, _ = await run(app, fails, max_retries=0)
        assert status.state is TaskState.FAILED
        status, _ = await run(app, fails, retry=RetryPolicy.fixed(60))
        assert status.retry_at - status.started_at > 59

    async def test_a_task_may_ask_for_a_delay_of_its_own(self, app):
        @app.task(retry=AT_ONCE)
        async def asks(ctx: TaskContext):
            raise ctx.retry(after=77)

        status, _ = await run(app, asks)
        assert 76 < status.retry_at - status.started_at < 78
        assert status.error.type.endswith("RetryTask")

    async def test_asking_for_another_run_does_not_lift_the_limit(self, app):
        @app.task(max_retries=0)
        async def asks(ctx: TaskContext):
            raise RetryTask("again")

        status, depth = await run(app, asks)
        assert (status.state, depth.dead) == (TaskState.FAILED, 1)

    async def test_a_rule_of_the_task_decides_by_the_error(self, app):
        def rule(failures, error):
            return None if isinstance(error, KeyError) else 0.0

        @app.task(retry=rule)
        async def fails(missing: bool):
            raise KeyError("k") if missing else ValueError("v")

        assert (await run(app, fails, True))[0].state is TaskState.FAILED
        assert (await run(app, fails, False))[0].state is TaskState.RETRYING

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
    async def test_what_would_end_a_program_ends_the_task_only(self, app, error):
        @app.task(retry=AT_ONCE, max_retries=0)
        async def leaves():
            raise error

        @app.task(retry=AT_ONCE, max_retries=0)
        def leaves_a_thread():
            raise error

        for task in (leaves, leaves_a_thread):
            status, _ = await run(app, task)
            assert (status.state, status.reason) == (TaskState.FAILED, "failed")
            assert status.error.type.endswith(type(error).__name__)

    @pytest.mark.parametrize("error", [GeneratorExit, StopIteration])
    async def test_what_a_future_cannot_carry_fails_the_task(self, app, error):
        @app.task(max_retries=0)
        def odd():
            raise error

        status, _ = await run(app, odd)
        assert status.state is TaskState.FAILED
        assert error.__name__ in status.error.message


class TestErrors:
    async def test_the_traceback_begins_with_the_code_of_the_task(self, app):
        @app.task(max_retries=0)
        async def fails():
            raise ValueError("broken")

        status, _ = await run(app, fails)
        lines = status.error.traceback.splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert "test_executor.py" in lines[1]
        assert "stem_core" not in status.error.traceback

    async def test_arguments_that_no_longer_fit_go_to_the_dead_letters_at_once(self, app):
        @app.task(name="t")
        async def t(number: int):
            raise AssertionError("is not called")

        async with bench(app) as line:
            await line.session.broker.publish([sealed("bad", task="t", payload=b'[["text"],{}]')])
            await line.take()
            await line.finished()
            status = await line.status("bad")
        assert (status.state, status.reason) == (TaskState.FAILED, "bad-arguments")
        assert "number" in status.error.message

    async def test_a_result_that_json_cannot_carry_is_not_retried(self, app):
        @app.task(retry=AT_ONCE)
        async def t():
            return object()

        status, _ = await run(app, t)
        assert (status.state, status.reason) == (TaskState.FAILED, "bad-result")

    async def test_an_error_whose_text_is_broken_is_told_all_the_same(self, app):
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError("no text")

        @app.task(max_retries=0)
        async def t():
            raise Odd

        status, _ = await run(app, t)
        assert status.error.message.endswith("Odd.__str__ raised RuntimeError>")

    async def test_an_error_with_text_that_no_store_can_encode_is_made_encodable(self, app):
        @app.task(max_retries=0)
        async def t():
            raise ValueError("file \ud800.txt")

        status, _ = await run(app, t)
        assert status.error.message == "file \\ud800.txt"
        status.error.traceback.encode()

    async def test_a_very_long_error_is_cut_in_the_middle(self, app):
        @app.task(max_retries=0)
        async def t():
            raise ValueError("x" * 100_000)

        status, _ = await run(app, t)
        assert len(status.error.traceback) < 21_000
        assert "characters left out" in status.error.traceback
        assert len(status.error.message) < 4_100
        assert "characters left out" in status.error.message


class TestSoftTimeLimit:
    async def test_cancels_a_coroutine_and_counts_the_attempt(self, app):
        @app.task(soft_time_limit=0.01, retry=AT_ONCE)
        async def waits():
            await asyncio.Event().wait()

        status, depth = await run(app, waits)
        assert (status.state, status.reason, depth.ready) == (TaskState.RETRYING, "time-limit", 1)
        assert status.error.message == "stopped at its soft time limit of 0.01 s"
        assert "test_executor.py" in status.error.traceback

    async def test_is_seen_by_a_thread_at_its_next_checkpoint(self, app):
        @app.task(soft_time_limit=0.01, max_retries=0)
        def checks(ctx: TaskContext):
            while True:
                ctx.check()

        status, _ = await run(app, checks)
        assert (status.state, status.reason) == (TaskState.FAILED, "time-limit")

    async def test_a_thread_that_ends_by_itself_keeps_its_result(self, app):
        interrupted = threading.Event()

        @app.task(soft_time_limit=0.01)
        def never_checks(ctx: TaskContext):
            while ctx.interrupt is None:
                interrupted.wait(0.001)
            return "done"

        status, _ = await run(app, never_checks)
        assert (status.state, status.result) == (TaskState.SUCCEEDED, b'"done"')

    async def test_the_limit_of_the_call_goes_before_that_of_the_task(self, app):
        @app.task(soft_time_limit=3600, max_retries=0)
        async def waits():
            await asyncio.Event().wait()

        status, _ = await run(app, waits, soft_time_limit=0.01)
        assert status.reason == "time-limit"

    async def test_the_context_knows_the_deadline(self, app):
        seen = []

        @app.task(soft_time_limit=60)
        async def t(ctx: TaskContext):
            seen.append(ctx.deadline - app.clock.monotonic())

        await run(app, t)
        assert 59 < seen[0] <= 60

    async def test_limits_of_tasks_that_ended_are_not_kept_until_they_would_be_over(self, app):
        @app.task(soft_time_limit=3600)
        async def quick():
            pass

        async with bench(app) as line:
            await app.enqueue_many([quick.call() for _ in range(5000)])
            line.start_intake()
            await line.idle()
            # Each would hold its delivery with all its bytes for an hour.
            assert len(line.line.deadlines._heap) < 2500

    async def test_the_nearest_of_many_limits_is_the_one_that_counts(self, app):
        ended = []

        @app.task(max_retries=0)
        async def waits(name: str):
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)

        async with bench(app) as line:
            for name, limit in (("long", 0.06), ("short", 0.02), ("middle", 0.04)):
                await waits.options(soft_time_limit=limit).enqueue(name)
            await line.take()
            await line.finished()
        assert ended == ["short", "middle", "long"]


class TestInterruption:
    async def test_a_revoked_coroutine_is_cancelled_and_recorded_as_such(self, app):
        started = asyncio.Event()

        @app.task
        async def waits():
            started.set()
            await asyncio.Event().wait()

        async with bench(app) as line:
            handle = await waits.enqueue()
            (entry,) = await line.take()
            await started.wait()
            interrupt(entry, "revoked", "not wanted")
            await line.finished()
            status = await line.status(handle.id)
        assert (status.state, status.reason) == (TaskState.CANCELLED, "revoked")

    async def test_a_revoked_thread_stops_at_its_checkpoint(self, app):
        started = threading.Event()

        @app.task
        def checks(ctx: TaskContext):
            started.set()
            while True:
                ctx.check()

        async with bench(app) as line:
            handle = await checks.enqueue()
            (entry,) = await line.take()
            await asyncio.to_thread(started.wait)
            interrupt(entry, "revoked")
            await line.finished()
            status = await line.status(handle.id)
        assert (status.state, status.reason) == (TaskState.CANCELLED, "revoked")

    async def test_except_exception_does_not_eat_a_checkpoint(self, app):
        @app.task
        def stubborn(ctx: TaskContext):
            while True:
                with contextlib.suppress(Exception):
                    ctx.check()

        async with bench(app) as line:
            handle = await stubborn.enqueue()
            (entry,) = await line.take()
            interrupt(entry, "revoked")
            await line.finished()
            status = await line.status(handle.id)
        assert status is None or status.reason == "revoked"

    async def test_the_first_reason_stays(self, app):
        started = asyncio.Event()

        @app.task
        async def waits():
            started.set()
            await asyncio.Event().wait()

        async with bench(app) as line:
            handle = await waits.enqueue()
            (entry,) = await line.take()
            await started.wait()
            assert interrupt(entry, "revoked")
            assert not interrupt(entry, "shutdown")
            await line.finished()
            assert (await line.status(handle.id)).reason == "revoked"

    async def test_shutdown_hands_back_uncounted(self, app):
        started = asyncio.Event()

        @app.task
        async def waits():
            started.set()
            await asyncio.Event().wait()

        async with bench(app) as line:
            await waits.enqueue()
            await line.take()
            await started.wait()
            line.line.interrupt_all()
            await line.finished()
            (again,) = await line.claim()
        assert (again.attempt, again.crashes, again.receipt.run) == (1, 0, 2)

    async def test_what_cleaning_up_raises_does_not_count_the_attempt_either(self, app):
        started = asyncio.Event()

        @app.task
        async def trips():
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                raise OSError("the connection is closed")

        async with bench(app) as line:
            await trips.enqueue()
            await line.take()
            await started.wait()
            line.line.interrupt_all()
            await line.finished()
            (again,) = await line.claim()
        assert (again.attempt, again.crashes, again.receipt.run) == (1, 0, 2)

    async def test_a_coroutine_that_finishes_its_work_after_the_interruption_has_succeeded(self, app):
        started = asyncio.Event()

        @app.task
        async def finishes():
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "saved"

        async with bench(app) as line:
            handle = await finishes.enqueue()
            await line.take()
            await started.wait()
            line.line.interrupt_all()
            await line.finished()
            assert await handle.result(1) == "saved"

    async def test_a_task_that_raises_the_interruption_by_itself_has_failed(self, app):
        @app.task(max_retries=0)
        async def odd():
            raise TaskInterrupted("revoked")

        status, _ = await run(app, odd)
        assert (status.state, status.reason) == (TaskState.FAILED, "failed")


class TestMiddleware:
    async def test_the_first_is_the_outermost(self):
        order = []

        class Layer(Middleware):
            def __init__(self, name):
                self.name = name

            async def run(self, ctx, proceed):
                order.append(f"{self.name} in")
                result = await proceed()
                order.append(f"{self.name} out")
                return result

        app = flaky_app(middleware=[Layer("a"), Layer("b")])

        @app.task
        async def t():
            order.append("task")

        await run(app, t)
        assert order == ["a in", "b in", "task", "b out", "a out"]

    @pytest.mark.parametrize("returned", [None, "text", b"", b"{{{"])
    async def test_a_result_that_no_reader_could_read_is_refused(self, returned):
        class Layer(Middleware):
            async def run(self, ctx, proceed):
                await proceed()
                return returned

        app = flaky_app(middleware=[Layer()])

        @app.task
        async def t() -> int:
            return 1

        status, depth = await run(app, t)
        assert (status.state, status.reason, depth.dead) == (TaskState.FAILED, "bad-result", 1)
        assert "middleware returned what is no JSON text" in status.error.message

    async def test_may_replace_the_result(self):
        class Layer(Middleware):
            async def run(self, ctx, proceed):
                assert await proceed() == b"1"
                return b"2"

        app = flaky_app(middleware=[Layer()])

        @app.task
        async def t():
            return 1

        assert (await run(app, t))[0].result == b"2"

    async def test_what_it_raises_counts_as_raised_by_the_task(self):
        class Layer(Middleware):
            async def run(self, ctx, proceed):
                raise PermissionError(ctx.task)

        app = flaky_app(middleware=[Layer()])

        @app.task(name="guarded", max_retries=0)
        async def t():
            raise AssertionError("is not called")

        status, _ = await run(app, t)
        assert (status.error.type, status.error.message) == ("PermissionError", "guarded")

    async def test_sees_what_the_task_raised_and_may_answer_for_it(self):
        class Layer(Middleware):
            async def run(self, ctx, proceed):
                try:
                    return await proceed()
                except ValueError:
                    return b'"rescued"'

        app = flaky_app(middleware=[Layer()])

        @app.task
        def in_a_thread():
            raise ValueError

        assert (await run(app, in_a_thread))[0].result == b'"rescued"'


async def test_what_was_lost_too_often_says_so_in_its_status(app):
    @app.task
    async def perishes():
        raise ProcessLost("killed")

    async with bench(app, max_crashes=2) as line:
        handle = await perishes.enqueue()
        line.start_intake()
        await line.idle()
        status = await line.status(handle.id)
        assert (status.state, status.reason) == (TaskState.FAILED, "max-crashes")
        assert (status.error.type, status.error.message) == (
            "stem_core.errors.ProcessLost",
            "lost 2 times with the worker or process that ran it",
        )
