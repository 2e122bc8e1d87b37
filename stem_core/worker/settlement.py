"""From an outcome to what the stores are told: one settlement, one status. Pure functions, no store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import attrs

from stem_core.model import (
    ACK,
    Action,
    Cancelled,
    DeadLetter,
    ErrorInfo,
    Failed,
    HandedBack,
    Outcome,
    Rejected,
    Release,
    Retried,
    Retry,
    Succeeded,
    TaskState,
    TaskStatus,
    constructor,
)
from stem_core.worker.inflight import Entry

_status = constructor(TaskStatus)
_changed: Callable[..., TaskStatus] = cast("Any", attrs.evolve)
_SUCCEEDED: Final = TaskState.SUCCEEDED

#: The type of an error that nobody raised: what ran the task was lost.
_LOST = "stem_core.errors.ProcessLost"


def action_of(outcome: Outcome) -> Action:
    """What the broker is to do with the message."""
    if isinstance(outcome, (Succeeded, Cancelled)):
        return ACK
    if isinstance(outcome, Retried):
        return Retry(delay=outcome.delay)
    if isinstance(outcome, HandedBack):
        return Release(delay=outcome.delay, charge=outcome.charge)
    if isinstance(outcome, Failed):
        return DeadLetter(reason=outcome.reason, detail=f"{outcome.error.type}: {outcome.error.message}")
    return DeadLetter(reason=outcome.reason, detail=outcome.detail)


def status_of(entry: Entry, outcome: Outcome, *, worker: str, now: float, default_ttl: float) -> TaskStatus | None:
    """What the result backend is to keep; None for nothing: not wanted, not trusted, or not changed."""
    header = entry.header
    if header is None or not header.store_result:
        return None
    ctx = entry.ctx
    # More than 15 arguments would go through a dict: 0.3 us for every job.
    status = _status(
        id=header.id,
        task=header.task,
        queue=header.queue,
        state=_SUCCEEDED,
        run=entry.delivery.receipt.run,
        attempt=entry.delivery.attempt,
        result=outcome.result if isinstance(outcome, Succeeded) else None,
        progress=ctx.latest if ctx is not None else None,
        worker=worker,
        enqueued_at=header.enqueued_at,
        started_at=now - entry.runtime if entry.started_at > 0.0 else None,
        finished_at=now,
        ttl=_ttl(entry, default_ttl),
    )
    return status if isinstance(outcome, Succeeded) else _otherwise(status, entry, outcome, now)


def _otherwise(status: TaskStatus, entry: Entry, outcome: Outcome, now: float) -> TaskStatus | None:
    """What differs where the task has not succeeded."""
    if isinstance(outcome, Retried):
        return _changed(
            status,
            state=TaskState.RETRYING,
            error=outcome.error,
            reason=outcome.reason,
            finished_at=None,
            retry_at=now + outcome.delay,
        )
    if isinstance(outcome, Failed):
        return _changed(status, state=TaskState.FAILED, error=outcome.error, reason=outcome.reason)
    if isinstance(outcome, Cancelled):
        return _changed(status, state=TaskState.CANCELLED, reason=outcome.reason)
    if isinstance(outcome, Rejected):
        if not outcome.readable:
            return None
        error = ErrorInfo(type=_LOST if outcome.reason == "max-crashes" else "", message=outcome.detail)
        return _changed(status, state=TaskState.FAILED, error=error, reason=outcome.reason)
    assert isinstance(outcome, HandedBack)
    if entry.running_recorded or outcome.charge:
        # It was seen running and waits again: without this the backend would say "running" of a queued message.
        lost = ErrorInfo(type=_LOST, message=outcome.detail) if outcome.charge else None
        return _changed(status, state=TaskState.QUEUED, error=lost, reason=outcome.reason, finished_at=None)
    return None


def running_status(entry: Entry, *, worker: str, now: float, monotonic: float, default_ttl: float) -> TaskStatus | None:
    """What the result backend is to keep of an entry that runs now; None when its outcome is not wanted.

    ``now`` and ``monotonic`` are the same moment.
    """
    header, ctx = entry.header, entry.ctx
    if header is None or not header.store_result or ctx is None:
        return None
    return TaskStatus(
        id=header.id,
        task=header.task,
        queue=header.queue,
        state=TaskState.RUNNING,
        run=entry.delivery.receipt.run,
        attempt=entry.delivery.attempt,
        progress=ctx.latest,
        worker=worker,
        enqueued_at=header.enqueued_at,
        started_at=now - (monotonic - entry.started_at),
        alive_at=ctx.alive_at,
        ttl=_ttl(entry, default_ttl),
    )


def _ttl(entry: Entry, default: float) -> float:
    """The call's, the task's or the app's: the first that says something."""
    ttl = None if entry.header is None else entry.header.result_ttl
    if ttl is None and entry.task is not None:
        ttl = entry.task.defaults.result_ttl
    return default if ttl is None else ttl
