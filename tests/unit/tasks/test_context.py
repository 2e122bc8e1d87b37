from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest

from stem_core.errors import InvalidOption, RetryTask, TaskInterrupted
from stem_core.model import Header, child_id
from stem_core.tasks import TaskContext, current
from stem_core.testing.clock import FakeClock
from support.task_host import FakeHost

HEADER = Header(
    id="job",
    task="old.name",
    queue="mail",
    enqueued_at=5.0,
    headers={"tenant": "a"},
    parent_id="parent",
    root_id="root",
    traceparent="00-1-2-01",
)


def child(n: int): ...


def test_a_context_shows_the_request_and_the_run():
    ctx = TaskContext(HEADER, attempt=2, run=5, worker="w", state="pool", deadline=9.5)
    assert (ctx.id, ctx.task, ctx.queue, ctx.enqueued_at) == ("job", "old.name", "mail", 5.0)
    assert (ctx.headers, ctx.parent_id, ctx.root_id, ctx.traceparent) == (
        {"tenant": "a"},
        "parent",
        "root",
        "00-1-2-01",
    )
    assert (ctx.attempt, ctx.run, ctx.worker, ctx.state, ctx.deadline) == (2, 5, "w", "pool", 9.5)
    assert ctx.header is HEADER
    assert repr(ctx) == "<TaskContext old.name [job] attempt 2>"


def test_the_root_of_a_job_without_parents_is_itself():
    ctx = TaskContext(Header(id="job", task="t", queue="q", enqueued_at=0.0))
    assert (ctx.parent_id, ctx.root_id) == (None, "job")


def test_a_local_context_needs_nothing():
    clock = FakeClock()
    ctx = TaskContext.local(task="t", headers={"a": "b"}, clock=clock, state={"db": 1}, attempt=3)
    assert (ctx.task, ctx.enqueued_at, ctx.headers, ctx.state, ctx.attempt) == (
        "t",
        clock.now(),
        {"a": "b"},
        {"db": 1},
        3,
    )
    assert (ctx.root_id, ctx.worker, ctx.outbox, ctx.latest) == (ctx.id, "", [], None)
    ctx.check()


def test_nothing_runs_outside_of_tasks():
    assert current.get() is None


def test_progress_keeps_the_latest_and_tells_the_worker():
    told = []
    ctx = TaskContext(HEADER, on_life=lambda it: told.append(it.latest))
    ctx.progress(0)
    ctx.progress(12.5, {"stage": "pixels"})
    assert ctx.latest is told[1]
    assert [(it.percent, it.data) for it in told] == [(0.0, None), (12.5, b'{"stage":"pixels"}')]


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan"), float("inf"), True])
def test_progress_is_a_percentage(percent):
    ctx = TaskContext(HEADER)
    with pytest.raises(InvalidOption, match="a number from 0 to 100"):
        ctx.progress(percent)
    assert ctx.latest is None


def test_progress_data_is_json_and_never_shown_in_the_error():
    ctx = TaskContext(HEADER)
    with pytest.raises(InvalidOption, match="data='dict' cannot be used"):
        ctx.progress(1, {"secret": object()})
    assert ctx.latest is None


@pytest.mark.parametrize("reason", ["revoked", "time-limit", "shutdown", "lease-lost"])
def test_a_checkpoint_stops_a_task_that_has_to_stop(reason):
    ctx = TaskContext(HEADER)
    ctx.check()
    ctx.interrupt = reason
    with pytest.raises(TaskInterrupted) as caught:
        ctx.check()
    assert caught.value.reason == reason
    assert not isinstance(caught.value, Exception)


def test_the_outbox_collects_children_under_ids_that_every_run_makes_again():
    task = FakeHost().task(child)

    def run():
        ctx = TaskContext(HEADER)
        handles = [ctx.enqueue(task, 1), ctx.enqueue(task.options(delay=5), n=2)]
        assert handles == [f"handle of {envelope.header.id}" for envelope in ctx.outbox]
        return [envelope.header.id for envelope in ctx.outbox], [
            json.loads(envelope.payload) for envelope in ctx.outbox
        ]

    ids, payloads = run()
    assert ids == [child_id("job", 0), child_id("job", 1)]
    assert payloads == [[[1], {}], [[], {"n": 2}]]
    assert run() == (ids, payloads)


def test_an_id_of_its_own_stays_and_still_counts():
    task = FakeHost().task(child)
    ctx = TaskContext(HEADER)
    ctx.enqueue(task.options(id="mine"), 1)
    ctx.enqueue(task, 2)
    assert [envelope.header.id for envelope in ctx.outbox] == ["mine", child_id("job", 1)]


def test_children_know_their_family():
    ctx = TaskContext(HEADER)
    ctx.enqueue(FakeHost().task(child), 1)
    header = ctx.outbox[0].header
    assert (header.parent_id, header.root_id) == ("job", "root")


def test_many_threads_may_fill_one_outbox():
    task = FakeHost().task(child)
    ctx = TaskContext(HEADER)
    start = threading.Barrier(8)

    def fill():
        start.wait()
        for n in range(50):
            ctx.enqueue(task, n)

    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {envelope.header.id for envelope in ctx.outbox} == {child_id("job", n) for n in range(400)}
    assert len(ctx.outbox) == 400


def test_arguments_of_children_are_checked_and_refused_ones_leave_no_gap():
    task = FakeHost().task(child)
    ctx = TaskContext(HEADER)
    with pytest.raises(Exception, match=r"n of .*expected int, got str"):
        ctx.enqueue(task, "1")
    ctx.enqueue(task, 1)
    assert [envelope.header.id for envelope in ctx.outbox] == [child_id("job", 0)]


def test_a_task_can_ask_to_be_run_again():
    ctx = TaskContext(HEADER)
    asked = ctx.retry(30)
    assert isinstance(asked, RetryTask)
    assert (asked.delay, asked.message) == (30, "the task asked to be run again")
    assert ctx.retry(message="not there yet").delay is None
    assert ctx.retry(after=timedelta(minutes=2)).delay == 120.0
    assert ctx.retry(after=0).delay == 0.0
    for after in (-1, float("nan"), float("inf"), True, "5s", timedelta(seconds=-1)):
        with pytest.raises(InvalidOption, match="a number of seconds or a timedelta, 0 or more"):
            ctx.retry(after)


def test_a_heartbeat_is_a_checkpoint_and_tells_the_worker():
    told = []
    ctx = TaskContext(HEADER, on_life=told.append)
    ctx.heartbeat()
    assert (told, ctx.latest) == ([ctx], None)
    ctx.interrupt = "revoked"
    with pytest.raises(TaskInterrupted, match="revoked"):
        ctx.heartbeat()
    assert told == [ctx]
    TaskContext.local().heartbeat()


def test_extensions_move_the_deadline_and_add_up():
    told = []
    ctx = TaskContext(HEADER, deadline=100.0, on_life=lambda it: told.append(it.extended))
    ctx.extend(5)
    ctx.extend(timedelta(minutes=1))
    assert (ctx.deadline, ctx.extended, told) == (165.0, 65.0, [5.0, 65.0])
    unlimited = TaskContext(HEADER)
    unlimited.extend(5)
    assert unlimited.deadline is None


def test_an_extension_comes_too_late_or_is_none():
    ctx = TaskContext(HEADER, deadline=100.0)
    for seconds in (0, -1, float("nan"), float("inf"), True, "5s"):
        with pytest.raises(InvalidOption, match="a number of seconds or a timedelta, above 0"):
            ctx.extend(seconds)
    ctx.interrupt = "time-limit"
    with pytest.raises(TaskInterrupted, match="time-limit"):
        ctx.extend(5)
    assert ctx.deadline == 100.0


def test_many_threads_may_extend_one_run():
    ctx = TaskContext(HEADER)
    threads = [threading.Thread(target=lambda: [ctx.extend(1) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ctx.extended == 4000.0
