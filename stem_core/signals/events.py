"""What handlers are told: one immutable class an event.

In which order they come stands in ``docs/reference/signals.md``; a test compares it with what is observed.
Times are seconds since the epoch, spans are seconds, results are JSON text.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from stem_core.model import Envelope, ErrorInfo, Heartbeat, Outcome, Progress
from stem_core.model._value import flat, value


class Event(Protocol):
    """What all events have in common."""

    #: The name in settings and logs: ``task-failed``.
    event_name: ClassVar[str]

    @property
    def occurred_at(self) -> float:
        """Seconds since the epoch, by the clock of whoever fired it."""
        ...

    @property
    def attributes(self) -> dict[str, Any]:
        """The fields as one flat dict of JSON values, for logs. Bytes show as their size only."""
        ...


class _Flat:
    __slots__ = ()

    @property
    def attributes(self) -> dict[str, Any]:
        """The fields as one flat dict of JSON values, for logs. Bytes show as their size only."""
        return flat(self)


@value
class _PublishEvent(_Flat):
    occurred_at: float
    envelope: Envelope

    @property
    def id(self) -> str:
        """Id of the job."""
        return self.envelope.header.id

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.envelope.header.task

    @property
    def queue(self) -> str:
        """Where it is published to."""
        return self.envelope.header.queue

    @property
    def attributes(self) -> dict[str, Any]:
        """As everywhere; of the envelope what identifies it, and the size of its arguments."""
        header = self.envelope.header
        return {
            "occurred_at": self.occurred_at,
            "id": header.id,
            "task": header.task,
            "queue": header.queue,
            "priority": header.priority,
            "payload_size": len(self.envelope.payload),
        }


@value
class BeforeTaskPublishEvent(_PublishEvent):
    """In the producer, after middleware and all checks, before the broker is given the message."""

    event_name: ClassVar[str] = "before-task-publish"


@value
class AfterTaskPublishEvent(_PublishEvent):
    """In the producer, once the broker has stored the message."""

    event_name: ClassVar[str] = "after-task-publish"


@value
class TaskEvent(_Flat):
    """Base of everything that a worker tells of one delivery."""

    occurred_at: float
    id: str
    #: Registered name of the task.
    task: str
    queue: str
    #: Which try of the code, from 1.
    attempt: int
    #: The broker's count of claims of this id, from 1.
    run: int
    #: Id of the worker.
    worker: str


@value
class TaskReceivedEvent(TaskEvent):
    """A worker holds the delivery; it may still be refused."""

    event_name: ClassVar[str] = "task-received"
    #: How often a worker was lost while it held this message.
    crashes: int = 0


@value
class TaskPrerunEvent(TaskEvent):
    """The gate let it through; the function is called next."""

    event_name: ClassVar[str] = "task-prerun"


@value
class TaskPostrunEvent(TaskEvent):
    """After every started run, whatever came of it."""

    event_name: ClassVar[str] = "task-postrun"
    outcome: Outcome
    runtime: float


@value
class TaskSucceededEvent(TaskEvent):
    """The function returned, and result and acknowledgement are stored."""

    event_name: ClassVar[str] = "task-succeeded"
    result: bytes
    runtime: float


@value
class TaskFailedEvent(TaskEvent):
    """Given up: no retry is left, or the error is one that is not retried."""

    event_name: ClassVar[str] = "task-failed"
    #: ``failed``, ``time-limit``, ``bad-arguments`` ...
    reason: str
    error: ErrorInfo
    runtime: float = 0.0


@value
class TaskRetriedEvent(TaskEvent):
    """Failed, and due again in ``delay`` seconds."""

    event_name: ClassVar[str] = "task-retried"
    reason: str
    error: ErrorInfo
    delay: float
    runtime: float = 0.0


@value
class TaskRevokedEvent(TaskEvent):
    """Not run, or stopped, because its id was revoked."""

    event_name: ClassVar[str] = "task-revoked"
    detail: str = ""


@value
class TaskExpiredEvent(TaskEvent):
    """Not run, because its time was over before it started."""

    event_name: ClassVar[str] = "task-expired"
    detail: str = ""


@value
class TaskCrashedEvent(TaskEvent):
    """A process was lost while it ran the task. Told at once by the worker whose child it was, with what is known;
    and whenever a worker is given a task that was lost before, with an empty ``detail``."""

    event_name: ClassVar[str] = "task-crashed"
    #: How often a process was lost while it ran this task, this time included.
    crashes: int
    #: How the process ended, for people: its exit code or signal, and its peak memory.
    detail: str = ""
    #: With what the process ended; None when a signal ended it, or nobody knows.
    exit_status: int | None = None
    #: The number of the signal that ended it; None when it ended by itself, or nobody knows.
    signal: int | None = None
    #: The most resident memory that it had, in bytes; 0: nobody knows.
    peak_rss: int = 0


@value
class TaskRejectedEvent(TaskEvent):
    """Refused by the gate and quarantined."""

    event_name: ClassVar[str] = "task-rejected"
    reason: str
    detail: str = ""


@value
class TaskLeaseLostEvent(TaskEvent):
    """The message was granted to another worker, or the store refused its outcome: what was done here counts for
    nothing."""

    event_name: ClassVar[str] = "task-lease-lost"


@value
class TaskHandedBackEvent(TaskEvent):
    """Given back unfinished, not counted as an attempt; another worker may have it after ``delay`` seconds."""

    event_name: ClassVar[str] = "task-handed-back"
    reason: str
    delay: float = 0.0
    detail: str = ""


@value
class TaskDeadLetteredEvent(TaskEvent):
    """The message is in the dead letters now."""

    event_name: ClassVar[str] = "task-dead-lettered"
    reason: str
    detail: str = ""


@value
class TaskProgressEvent(TaskEvent):
    """What the task said of its progress; coalesced, at most 2 a second."""

    event_name: ClassVar[str] = "task-progress"
    progress: Progress


@value
class WorkerEvent(_Flat):
    """Base of what a worker tells of itself."""

    occurred_at: float
    #: Id of the worker.
    worker: str


@value
class WorkerInitEvent(WorkerEvent):
    """The worker begins; no store is open yet."""

    event_name: ClassVar[str] = "worker-init"


@value
class WorkerReadyEvent(WorkerEvent):
    """Everything is open; the first claim comes next."""

    event_name: ClassVar[str] = "worker-ready"
    queues: tuple[str, ...]
    concurrency: int


@value
class WorkerStoppingEvent(WorkerEvent):
    """The worker takes no new work and goes to the stage ``mode``."""

    event_name: ClassVar[str] = "worker-stopping"
    #: ``quiet``, ``warm``, ``soft`` or ``hard``.
    mode: str
    #: What asked for it: ``SIGTERM``, ``stop()``, the error of the worker ...
    reason: str = ""


@value
class WorkerShutdownEvent(WorkerEvent):
    """The worker has ended; the last event of its life."""

    event_name: ClassVar[str] = "worker-shutdown"
    exit_code: int = 0


@value
class WorkerChildInitEvent(WorkerEvent):
    """A child process of the worker is ready for its first task. Told in that child, on an event loop there."""

    event_name: ClassVar[str] = "worker-child-init"
    #: Of the child.
    pid: int


@value
class WorkerChildShutdownEvent(WorkerEvent):
    """A child process of the worker ends; not told by one that is killed. Told in that child."""

    event_name: ClassVar[str] = "worker-child-shutdown"
    #: Of the child.
    pid: int
    #: How many tasks it has run.
    tasks: int


@value
class QueuePausedEvent(WorkerEvent):
    """The worker claims nothing of this queue any more; what it held of it and had not started is back in the queue."""

    event_name: ClassVar[str] = "queue-paused"
    queue: str
    #: What asked for it.
    reason: str = ""


@value
class QueueResumedEvent(WorkerEvent):
    """The worker claims of this queue again."""

    event_name: ClassVar[str] = "queue-resumed"
    queue: str
    #: What asked for it.
    reason: str = ""


@value
class WorkerScaledEvent(WorkerEvent):
    """The worker has another number of slots now."""

    event_name: ClassVar[str] = "worker-scaled"
    #: Slots before.
    previous: int
    #: Slots now, and the prefetch that goes with them.
    concurrency: int
    prefetch: int
    #: Why: what the autoscaler saw, or who asked for it.
    reason: str
    #: Whether somebody set the number by hand, so that it does not follow the work.
    pinned: bool = False


#: The event is the record that the state store keeps: one class, one list of fields.
WorkerHeartbeatEvent = Heartbeat
