"""What is known of one task, as the result backend keeps it."""

from __future__ import annotations

import enum

from stem_core.model._value import value


class TaskState(enum.StrEnum):
    """Where a task is in its life. ``cancelled`` carries the reason: ``revoked`` or ``expired``."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: Neither the backend nor the broker knows the id (never seen, or forgotten after its time to live).
    UNKNOWN = "unknown"

    @property
    def terminal(self) -> bool:
        """Whether nothing will change this state any more, short of a replay."""
        return self in _TERMINAL


_TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})


@value
class ErrorInfo:
    """An exception as text: it crosses processes and versions without pickle."""

    #: ``module.qualname`` of the exception's class.
    type: str
    message: str
    #: The formatted traceback, empty when there is none.
    traceback: str = ""


@value
class Progress:
    """What a task last said of its progress through ``ctx.progress``."""

    percent: float
    #: JSON text of the data that came with it; None when there was none.
    data: bytes | None = None


@value
class TaskStatus:
    """The state of one task. Times are seconds since the epoch; ``result`` is JSON text."""

    id: str
    task: str
    queue: str
    state: TaskState
    #: The run that wrote this. A higher run replaces a lower one, never the other way round.
    run: int = 0
    attempt: int = 0
    result: bytes | None = None
    error: ErrorInfo | None = None
    #: Why: ``revoked``, ``expired``, ``failed``, ``time-limit``, ``bad-arguments``, ``max-crashes`` ...
    reason: str | None = None
    progress: Progress | None = None
    #: Id of the worker that ran it last.
    worker: str | None = None
    enqueued_at: float | None = None
    started_at: float | None = None
    #: While ``running``: when the task last gave a sign of life, by ``ctx.heartbeat``, ``progress`` or ``extend``; None
    #: when it never did.
    alive_at: float | None = None
    finished_at: float | None = None
    #: When the next attempt is due, while ``retrying``.
    retry_at: float | None = None
    #: Seconds that this record is kept.
    ttl: float = 86_400.0


def supersedes(new: TaskStatus, old: TaskStatus) -> bool:
    """Whether a backend that holds ``old`` replaces it by ``new``: the one rule, the same in every backend.

    A higher run replaces, a lower one never does. Within one run a terminal state is final, and ``running`` replaces
    only ``running``: progress that arrives after the run was settled changes nothing.
    """
    if new.run != old.run:
        return new.run > old.run
    if new.state is TaskState.RUNNING:
        return old.state is TaskState.RUNNING
    return not old.state.terminal
