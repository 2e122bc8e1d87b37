from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from stem_core.errors import InvalidOption, InvalidSetting, TaskInterrupted
from stem_core.signals import Signals, TaskPrerunEvent, WorkerInitEvent


def prerun(task: str = "mail.send", queue: str = "mail", worker: str = "w1@h") -> TaskPrerunEvent:
    return TaskPrerunEvent(occurred_at=1.0, id="1", task=task, queue=queue, attempt=1, run=1, worker=worker)


@pytest.fixture
def signals() -> Signals:
    return Signals()


@pytest.fixture
def heard() -> list[Any]:
    return []


def test_a_signal_is_falsy_while_nobody_listens(signals: Signals) -> None:
    assert not signals.task_prerun
    handler = signals.task_prerun.connect(print)
    assert signals.task_prerun
    assert not signals.task_failed
    assert signals.task_prerun.disconnect(handler)
    assert not signals.task_prerun
    assert not signals.task_prerun.disconnect(handler)


async def test_handlers_sync_and_async_are_awaited_in_order_of_connection(signals: Signals, heard: list[Any]) -> None:
    @signals.task_prerun.connect
    async def first(event: TaskPrerunEvent) -> None:
        await asyncio.sleep(0)
        heard.append(("first", event))

    @signals.task_prerun.connect()
    def second(event: TaskPrerunEvent) -> str:
        heard.append(("second", event))
        return "ignored"

    signals.task_prerun.connect(lambda event: heard.append(("third", event)))
    event = prerun()
    await signals.task_prerun.send(event)
    assert heard == [("first", event), ("second", event), ("third", event)]


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"task": "mail.*"}, True),
        ({"task": "Mail.*"}, False),
        ({"task": "mail"}, False),
        ({"queue": "ma?l"}, True),
        ({"worker": "*@h"}, True),
        ({"task": "mail.*", "queue": "other"}, False),
        ({"task": "mail.*", "queue": "mail", "worker": "w1@h"}, True),
    ],
)
async def test_filters_are_globs_that_must_all_match(
    signals: Signals, heard: list[Any], filters: dict[str, str], told: bool
) -> None:
    signals.task_prerun.connect(heard.append, **filters)
    await signals.task_prerun.send(prerun())
    assert bool(heard) is told


async def test_publish_events_can_be_filtered_by_task_and_queue(signals: Signals) -> None:
    signals.before_task_publish.connect(print, task="a", queue="b")
    with pytest.raises(InvalidOption) as caught:
        signals.before_task_publish.connect(print, worker="w")
    assert str(caught.value) == (
        "worker='w' cannot be used\n  hint: give a filter that before-task-publish has: task or queue"
    )


def test_a_filter_that_the_event_lacks_is_refused_at_connect(signals: Signals) -> None:
    with pytest.raises(InvalidOption) as caught:
        signals.worker_init.connect(print, task="mail.*")
    assert str(caught.value) == "task='mail.*' cannot be used\n  hint: give a filter that worker-init has: worker"
    assert not signals.worker_init


def test_bad_handlers_and_globs_are_refused(signals: Signals) -> None:
    with pytest.raises(InvalidOption, match="give a function that takes the event"):
        signals.worker_init.connect("print")  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="a glob as text"):
        signals.worker_init.connect(print, worker=7)  # type: ignore[call-overload]


async def test_an_exception_is_logged_with_owner_and_event_counted_and_not_raised(
    signals: Signals, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    def bad(event: WorkerInitEvent) -> None:
        raise ValueError("broken bell")

    async def interrupted(event: WorkerInitEvent) -> None:
        raise TaskInterrupted("revoked")

    signals.owned_by("plugin bells (stem-bells 1.0)").worker_init.connect(bad)
    signals.worker_init.connect(interrupted)
    signals.worker_init.connect(heard.append)
    event = WorkerInitEvent(occurred_at=1.0, worker="w")
    with caplog.at_level(logging.ERROR, logger="stem_core.signals"):
        await signals.worker_init.send(event)
    assert heard == [event]
    assert signals.errors == {"worker-init": 2}
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith(".bad of plugin bells (stem-bells 1.0) raised at worker-init: ValueError: broken bell")
    assert second.endswith(".interrupted of application raised at worker-init: TaskInterrupted: revoked")
    assert caplog.records[0].exc_info is not None


async def test_a_handler_that_is_cancelled_by_itself_is_noted_only(signals: Signals, heard: list[Any]) -> None:
    async def gone(event: WorkerInitEvent) -> None:
        raise asyncio.CancelledError

    signals.worker_init.connect(gone)
    signals.worker_init.connect(heard.append)
    await signals.worker_init.send(WorkerInitEvent(occurred_at=1.0, worker="w"))
    assert len(heard) == 1
    assert signals.errors == {"worker-init": 1}


async def test_the_cancellation_of_the_sender_gets_through(signals: Signals) -> None:
    entered = asyncio.Event()

    async def stuck(event: WorkerInitEvent) -> None:
        entered.set()
        await asyncio.Event().wait()

    signals.worker_init.connect(stuck)
    sender = asyncio.create_task(signals.worker_init.send(WorkerInitEvent(occurred_at=1.0, worker="w")))
    await entered.wait()
    sender.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sender
    assert signals.errors == {}


async def test_connecting_and_disconnecting_while_sending_count_from_the_next_event(
    signals: Signals, heard: list[Any]
) -> None:
    def once(event: TaskPrerunEvent) -> None:
        heard.append("once")
        signals.task_prerun.disconnect(once)
        signals.task_prerun.connect(lambda _: heard.append("later"))

    signals.task_prerun.connect(once)
    await signals.task_prerun.send(prerun())
    assert heard == ["once"]
    await signals.task_prerun.send(prerun())
    assert heard == ["once", "later"]


async def test_views_share_the_bus_and_keep_their_owners(signals: Signals, heard: list[Any]) -> None:
    view = signals.owned_by("plugin bells")
    view.task_prerun.connect(heard.append)
    signals.task_prerun.connect(heard.append)
    assert [listener.owner for listener in signals.task_prerun.listeners] == ["plugin bells", "application"]
    await signals.task_prerun.send(prerun())
    assert len(heard) == 2
    assert view.errors is signals.errors


def test_disabled_signals_are_falsy_whoever_listens(signals: Signals) -> None:
    signals.task_prerun.connect(print)
    signals.worker_heartbeat.connect(print)
    signals.worker_init.connect(print)
    signals.configure(disabled=["worker-heartbeat", "task_prerun"])
    assert not signals.task_prerun
    assert not signals.worker_heartbeat
    assert signals.worker_init
    signals.task_prerun.connect(print)
    assert not signals.task_prerun
    signals.configure()
    assert signals.task_prerun
    signals.configure(enabled=False)
    assert not any(signals)


async def test_a_disabled_signal_tells_nobody(signals: Signals, heard: list[Any]) -> None:
    signals.task_prerun.connect(heard.append)
    signals.configure(disabled=["task-prerun"])
    await signals.task_prerun.send(prerun())
    assert heard == []


def test_an_unknown_name_to_disable_is_an_error_with_the_nearest(signals: Signals) -> None:
    signals.task_prerun.connect(print)
    with pytest.raises(InvalidSetting) as caught:
        signals.configure(enabled=False, disabled=["task_preruns"])
    assert str(caught.value) == (
        "signals_disabled names 'task-preruns', which is no signal\n  hint: did you mean 'task-prerun'?"
    )
    assert caught.value.key == "signals_disabled"
    assert signals.task_prerun


def test_an_unknown_name_without_a_neighbour_lists_the_signals(signals: Signals) -> None:
    with pytest.raises(InvalidSetting) as caught:
        signals.configure(disabled=["xyzzy"])
    assert caught.value.hint.startswith("signals are after-task-publish, before-task-publish, queue-paused")
