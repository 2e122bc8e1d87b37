"""What a worker says of itself, every few seconds."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from stem_core.model._value import flat, value

#: The collection of the state store that holds the heartbeat records, keyed by worker id.
HEARTBEATS = "heartbeats"

WorkerPhase = Literal["starting", "running", "quiet", "warm", "soft", "hard", "stopped"]

#: How a worker is. ``idle``: nothing runs. ``busy``: something runs. ``saturated``: no slot is free, and what it holds
#: has to wait for one. ``degraded``: a store does not answer. ``wedged``: its loop does not turn. The later goes first.
WorkerHealth = Literal["idle", "busy", "saturated", "degraded", "wedged"]


@value
class LaneUse:
    """The slots that one queue has and may have, where they are not for every queue."""

    queue: str
    #: Slots in use now.
    running: int
    #: Slots that only this queue may use.
    reserve: int = 0
    #: The most slots that it may use; None: as many as there are.
    limit: int | None = None


@value
class Heartbeat:
    """The stored record of a live worker. Times are seconds since the epoch, spans are seconds.

    It is the event of ``signals.worker_heartbeat`` as well: what handlers see is what the store keeps.
    Fields with a default are not in the records of older versions.

    :attr:`health` is the worst that holds of

    * ``wedged``: the worker's loop has not turned for longer than ``stall_limit``; it keeps its leases and claims
      nothing.
    * ``degraded``: a store does not answer; what runs goes on until its leases end.
    * ``saturated``: no slot is free, and deliveries that it has prefetched wait for one. With a prefetch of 0 nothing
      ever waits here, and a full worker is ``busy``.
    * ``busy``: something runs.
    * ``idle``: nothing runs.
    """

    event_name: ClassVar[str] = "worker-heartbeat"

    worker: str
    host: str
    pid: int
    #: Differs for every start of a worker, so that a restart under one name is told from a twin.
    incarnation: str
    phase: WorkerPhase
    #: One of :data:`WorkerHealth`; another version may know more.
    health: str
    queues: tuple[str, ...]
    #: Slots at this moment.
    concurrency: int
    running: int
    prefetched: int
    started_at: float
    #: By the clock of the worker's host.
    at: float
    #: When to expect the next one at the latest; the record is dead after ``interval * 3``.
    interval: float
    #: Those of the queues that are not claimed at present.
    paused: tuple[str, ...] = ()
    #: Queues with slots of their own.
    lanes: tuple[LaneUse, ...] = ()
    #: How many deliveries it may hold beside the running ones.
    prefetch: int | None = None
    #: The least and the most slots; None: their number does not follow the work.
    autoscale: tuple[int, int] | None = None
    #: The last change of the number of slots and why, or why there was none though there was a reason; empty: neither.
    scaled: str = ""

    @property
    def occurred_at(self) -> float:
        """When it was made: :attr:`at`."""
        return self.at

    @property
    def attributes(self) -> dict[str, Any]:
        """The fields as one flat dict of JSON values, for logs."""
        return flat(self)
