"""What must be the same wherever a task runs: retries, the context, how an interruption is told, how an error comes
back. On memory stores; the processes are real."""

import asyncio
import json

import pytest

from stem_core import RetryPolicy
from stem_core.model import TaskState, child_id
from stem_core.testing.clock import FakeClock
from stem_core.worker.cancellation import interrupt
from support.bench import bench
from support.strategy_jobs import PLACES, PROCESSES, make_app
from support.until import until

pytestmark = pytest.mark.parametrize("place", PLACES)
BOTH = tuple(place for place in PLACES if place not in PROCESSES)


async def taken(line, name, what, **options):
    """One delivery of the task, which is being run."""
    handle = await line.app.tasks[name].options(**options).enqueue(what)
    (entry,) = await line.take()
    return handle, entry


async def ended(line, name, what, **options):
    """What became of one run."""
    handle, _ = await taken(line, name, what, **options)
    await line.finished()
    return await line.status(handle.id)


def wait(status):
    return None if status.retry_at is None else round(status.retry_at - status.started_at)


class TestRetries:
    async def test_policies_rules_and_lists(self, place):
        async with bench(make_app(), concurrency=1) as line:
            found = [
                await ended(line, f"{name}.{place}", what, **options)
                for name, what, options in (
                    ("fail", "value", {}),
                    ("fail", "value", {"retry": RetryPolicy.fixed(30)}),
                    ("fail", "value", {"max_retries": 0}),
                    ("by-list", "value", {}),
                    ("by-rule", "transient", {}),
                    ("by-rule", "value", {}),
                    ("by-rule", "value", {"retry": RetryPolicy.after([5])}),
                )
            ]
        assert [wait(status) for status in found] == [60, 30, None, 10, 60, None, 5]
        for status in found:
            retried = status.retry_at is not None
            assert status.state is (TaskState.RETRYING if retried else TaskState.FAILED)
            assert (status.reason, status.attempt) == ("failed", 1)

    async def test_which_errors(self, place):
        async with bench(make_app(), concurrency=1) as line:
            found = {
                what: wait(await ended(line, f"chosen.{place}", what))
                for what in ("transient", "value", "permission", "group")
            }
            only = await ended(line, f"only.{place}", "value")
        assert found == {"transient": 60, "value": None, "permission": None, "group": None}
        assert (only.state, only.reason, only.error.type) == (TaskState.FAILED, "failed", "ValueError")

    @pytest.mark.parametrize("what", ["seconds", "timedelta"])
    async def test_a_task_asks_for_its_delay_as_often_as_it_may(self, place, what):
        clock = FakeClock()
        async with bench(make_app(clock), concurrency=1) as line:
            handle, _ = await taken(line, f"ask.{place}", what)
            await line.finished()
            status = await line.status(handle.id)
            assert (status.state, wait(status)) == (TaskState.RETRYING, 77)
            assert status.error.type == "stem_core.errors.RetryTask"
            # The store keeps the delay, by its own clock.
            clock.advance(76.9)
            assert await line.claim() == []
            clock.advance(0.2)
            (entry,) = await line.take()
            await line.finished()
            status = await line.status(handle.id)
            assert (status.state, status.reason, status.attempt) == (TaskState.FAILED, "failed", 2)
            assert entry.delivery.message.payload == f'[["{what}"],{{}}]'.encode()


class TestContext:
    async def test_all_of_it_works(self, place):
        async with bench(make_app(), concurrency=1) as line:
            handle, entry = await taken(line, f"talk.{place}", "pixels", soft_time_limit=60)
            await line.finished()
            status = await line.status(handle.id)
            made = child_id(handle.id, 0)
            assert json.loads(status.result) == made
            assert (status.progress.percent, status.progress.data) == (40, b'{"stage":"pixels"}')
            assert entry.ctx.alive_at is not None
            assert entry.ctx.extended == 5
            (child,) = await line.claim()
            assert child.message.id == made

    async def test_extensions_move_both_limits(self, place):
        async with bench(make_app(), concurrency=1) as line:
            status = await ended(line, f"long.{place}", "ends", soft_time_limit=0.3)
            assert (status.state, status.result) == (TaskState.SUCCEEDED, b'"done"')
            status = await ended(line, f"long.{place}", "for-ever", soft_time_limit=0.1)
            assert (status.state, status.reason) == (TaskState.FAILED, "time-limit")
            assert status.error.message == "stopped at its soft time limit of 0.1 s, extended by 0.6 s"
            if place != "thread":
                status = await ended(line, f"long.{place}", "ends", time_limit=0.3)
                assert (status.state, status.result) == (TaskState.SUCCEEDED, b'"done"')
                status = await ended(line, f"long.{place}", "for-ever", time_limit=0.1)
                assert status.error.message == "ended at its time limit of 0.1 s, extended by 0.6 s"


class TestInterruption:
    @pytest.mark.parametrize("reason", ["revoked", "shutdown", "lease-lost", "time-limit"])
    async def test_its_reason_is_seen_inside(self, place, reason):
        async with bench(make_app(), concurrency=1) as line:
            limits = {"soft_time_limit": 0.2, "max_retries": 0} if reason == "time-limit" else {}
            handle, entry = await taken(line, f"run.{place}", "", **limits)
            await until(lambda: entry.ctx is not None and entry.ctx.latest is not None)
            if reason == "shutdown":
                line.line.interrupt_all()
            elif reason != "time-limit":
                # As the pulse thread does it.
                await asyncio.to_thread(line.view.interrupt, entry, reason, "because")
            await line.finished()
            status, told = await line.status(handle.id), entry.ctx.latest
        if reason == "lease-lost" and place in PROCESSES:
            # It is killed: another worker may be granted the message at any moment.
            assert told.percent == 1
        else:
            raised = "CancelledError" if place.endswith("coroutine") else "TaskInterrupted"
            assert json.loads(told.data) == {"raised": raised, "said": [reason], "reason": reason}
        if reason == "revoked":
            assert (status.state, status.reason) == (TaskState.CANCELLED, "revoked")
        elif reason == "time-limit":
            assert (status.state, status.reason) == (TaskState.FAILED, "time-limit")
        else:
            assert status is None or not status.state.terminal

    @pytest.mark.parametrize("reason", ["revoked", "lease-lost", "time-limit", "shutdown"])
    async def test_one_that_is_aimed_at_an_attempt_never_hits_the_next(self, place, reason):
        async with bench(make_app(), concurrency=1) as line:
            handle, first = await taken(line, f"run.{place}", "fails-first")
            await line.finished()
            (second,) = await line.take()
            await until(lambda: second.ctx is not None and second.ctx.latest is not None)
            assert (first.delivery.attempt, second.delivery.attempt) == (1, 2)
            assert first.delivery.message.id == second.delivery.message.id
            # By every door there is.
            assert not interrupt(first, reason)
            await asyncio.to_thread(line.view.interrupt, first, reason, "too late")
            first.strategy.interrupt(first.call, reason)
            assert not first.strategy.kill(first.call, reason)
            await line.finished()
            status = await line.status(handle.id)
        assert second.interrupt is None
        assert (status.state, status.attempt, status.result) == (TaskState.SUCCEEDED, 2, b'"attempt 2"')


class TestErrors:
    async def test_they_keep_type_message_and_traceback(self, place):
        async with bench(make_app(), concurrency=1) as line:
            found = {
                what: (await ended(line, f"fail.{place}", what, max_retries=0)).error
                for what in ("unbuildable", "mute", "odd", "notes", "chain", "group")
            }
        texts = {what: error.traceback for what, error in found.items()}
        for what, text in texts.items():
            first, second, *_ = [line for line in text.splitlines() if "The above exception" not in line]
            assert "Traceback (most recent call last):" in first, what
            assert "strategy_jobs.py" in second, what
            assert "stem_core/" not in text, what
        module = "support.strategy_jobs"
        assert (found["unbuildable"].type, found["unbuildable"].message) == (f"{module}.Unbuildable", "code 7")
        assert (found["mute"].type, found["mute"].message) == (f"{module}.Mute", "<Mute.__str__ raised RuntimeError>")
        assert (found["notes"].type, found["notes"].message) == ("ValueError", "noted")
        assert (found["odd"].type, found["odd"].message) == ("SyntaxError", "odd")
        assert texts["odd"].endswith("SyntaxError: <it cannot be shown: AttributeError>\n")
        assert texts["notes"].endswith("ValueError: noted\nwhile the moon was full\n")
        assert (found["chain"].type, found["chain"].message) == ("ValueError", "the second")
        assert "KeyError: 'the first'\n\nThe above exception was the direct cause" in texts["chain"]
        assert (found["group"].type, found["group"].message) == ("ExceptionGroup", "several (2 sub-exceptions)")
        assert "| ValueError: one\n" in texts["group"]
        assert f"| {module}.Transient: two\n" in texts["group"]
