"""A request to run a task, before and after it is sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs

from stem_core.model._value import value
from stem_core.model.retry import RetryPolicy

#: The version of the header that this code writes, and the newest that it reads.
WIRE_VERSION = 1

DEFAULT_PRIORITY = 5
#: Priorities are whole numbers from here to :data:`MAX_PRIORITY`, which is the most urgent.
MIN_PRIORITY = 0
MAX_PRIORITY = 9


@value
class Header:
    """Everything about a request but its arguments. Times are seconds since the epoch, spans are seconds."""

    #: :data:`WIRE_VERSION` of the writer. A reader hands a newer one back to a newer worker.
    v: int = WIRE_VERSION
    id: str
    #: The registered name of the task.
    task: str
    #: Of a broadcast: the name of its channel.
    queue: str
    #: The channel that it is broadcast on; None: it goes to the queue.
    channel: str | None = None
    priority: int = DEFAULT_PRIORITY
    #: When the producer made the request, by its own clock; for display and default expiry only.
    enqueued_at: float
    #: Not to start before this time; for display. The broker is given the delay, and its clock decides.
    due_at: float | None = None
    #: Not to start after this time.
    expires_at: float | None = None
    #: Overrides the task's own number of retries.
    max_retries: int | None = None
    #: Overrides the task's own retry policy.
    retry: RetryPolicy | None = None
    #: Overrides the task's own soft time limit, in seconds.
    soft_time_limit: float | None = None
    #: Overrides the task's own time limit, in seconds.
    time_limit: float | None = None
    #: Whether the outcome is recorded in the result backend.
    store_result: bool = True
    #: How long the result is kept, in seconds; the session's default when None.
    result_ttl: float | None = None
    #: Free text pairs of the producer (tenant, locale ...); ``ctx.headers`` in the task.
    headers: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    #: The task that enqueued this one.
    parent_id: str | None = None
    #: The first task of the family; the own id when there is no parent.
    root_id: str | None = None
    #: W3C trace context of the producer.
    traceparent: str | None = None


@value
class Envelope:
    """One request to run a task: a :class:`Header` and the encoded arguments.

    The payload is the JSON text ``[args, kwargs]``.
    """

    header: Header
    payload: bytes

    def replace(self, **changes: Any) -> Envelope:
        """A copy whose header differs in the named fields; what middleware returns."""
        return Envelope(header=attrs.evolve(cast("Any", self.header), **changes), payload=self.payload)


@value
class Message:
    """A sealed envelope as brokers see it. Brokers store the bytes and never decode them."""

    id: str
    queue: str
    priority: int
    #: Seconds from now until the message may be delivered; the store makes it absolute by its own clock.
    delay: float = 0.0
    header: bytes
    payload: bytes
    #: What a signer made of the sealed bytes; None when signing is off.
    signature: bytes | None = None
