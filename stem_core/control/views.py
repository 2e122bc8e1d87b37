"""What people are shown of queues and messages, as values."""

from __future__ import annotations

from stem_core.errors import MessageUnreadable
from stem_core.model import DeadMessage, ErrorInfo, Header, Message, StoredMessage
from stem_core.model._value import value
from stem_core.wire import decode_header


@value
class QueueView:
    """One queue: how much it holds, and who reads it."""

    queue: str
    ready: int
    #: Delayed, and between two attempts.
    scheduled: int
    #: In the hands of workers.
    in_flight: int
    dead: int
    #: Seconds since the oldest ready message became ready; None when nothing is ready.
    oldest_age: float | None
    #: The ids of the live workers that take from it, sorted.
    workers: tuple[str, ...]
    #: The names of the tasks of the app that go to it by default, sorted.
    tasks: tuple[str, ...]


@value
class MessageView:
    """One message in a queue. Times are seconds since the epoch."""

    id: str
    #: The queue that it lies in.
    queue: str
    #: None when the header cannot be read.
    header: Header | None
    #: Why the header cannot be read; empty when it can.
    problem: str
    #: ``ready``, ``delayed`` or ``leased``.
    state: str
    priority: int
    attempt: int
    crashes: int
    run: int
    #: ``delayed``: when it becomes ready; ``leased``: when its lease ends; ``ready``: since when.
    at: float
    #: The bytes of header and payload.
    size: int
    #: The arguments as they were enqueued: JSON text, and perhaps secret.
    payload: bytes


@value
class DeadLetterView:
    """One dead letter. Times are seconds since the epoch."""

    id: str
    #: The queue that it lies in.
    queue: str
    #: None when the header cannot be read.
    header: Header | None
    #: Why the header cannot be read; empty when it can.
    problem: str
    #: A short word: ``failed``, ``bad-arguments``, ``unknown-task``, ``max-crashes`` ...
    reason: str
    detail: str
    priority: int
    attempt: int
    crashes: int
    run: int
    died_at: float
    #: The bytes of header and payload.
    size: int
    #: The arguments as they were enqueued: JSON text, and perhaps secret.
    payload: bytes
    #: What the task raised, where the result backend has it.
    error: ErrorInfo | None = None

    @property
    def task(self) -> str:
        """The name of the task; empty when the header cannot be read."""
        return "" if self.header is None else self.header.task


def message_view(stored: StoredMessage, queue: str) -> MessageView:
    """A message that lies in ``queue``."""
    message = stored.message
    header, problem = _read(message)
    return MessageView(
        id=message.id,
        queue=queue,
        header=header,
        problem=problem,
        state=stored.state,
        priority=message.priority,
        attempt=stored.attempt,
        crashes=stored.crashes,
        run=stored.run,
        at=stored.at,
        size=_size(message),
        payload=message.payload,
    )


def dead_letter_view(letter: DeadMessage, error: ErrorInfo | None = None) -> DeadLetterView:
    """A dead letter."""
    message = letter.message
    header, problem = _read(message)
    return DeadLetterView(
        id=message.id,
        queue=message.queue if letter.queue is None else letter.queue,
        header=header,
        problem=problem,
        reason=letter.reason,
        detail=letter.detail,
        priority=message.priority,
        attempt=letter.attempt,
        crashes=letter.crashes,
        run=letter.run,
        died_at=letter.died_at,
        size=_size(message),
        payload=message.payload,
        error=error,
    )


def _read(message: Message) -> tuple[Header | None, str]:
    try:
        return decode_header(message.header), ""
    except MessageUnreadable as error:
        return None, error.message


def _size(message: Message) -> int:
    return len(message.header) + len(message.payload)
