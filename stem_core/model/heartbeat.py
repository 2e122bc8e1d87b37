"""What a worker says of itself, every few seconds."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from stem_core.model._value import flat, value

#: The collection of the state store that holds the heartbeat records, keyed by worker id.
HEARTBEATS = "heartbeats"

WorkerPhase = Literal["starting", "running", "quiet", "warm", "soft", "hard", "stopped"]


@value
class Heartbeat:
    """The stored record of a live worker. Times are seconds since the epoch, spans are seconds.

    It is the event of ``signals.worker_heartbeat`` as well: what handlers see is what the store keeps.
    """

    event_name: ClassVar[str] = "worker-heartbeat"

    worker: str
    host: str
    pid: int
    #: Differs for every start of a worker, so that a restart under one name is told from a twin.
    incarnation: str
    phase: WorkerPhase
    #: ``idle``, ``busy``, ``degraded`` (no store) or ``wedged`` (its loop does not turn).
    health: str
    queues: tuple[str, ...]
    concurrency: int
    running: int
    prefetched: int
    started_at: float
    #: By the clock of the worker's host.
    at: float
    #: When to expect the next one at the latest; the record is dead after ``interval * 3``.
    interval: float

    @property
    def occurred_at(self) -> float:
        """When it was made: :attr:`at`."""
        return self.at

    @property
    def attributes(self) -> dict[str, Any]:
        """The fields as one flat dict of JSON values, for logs."""
        return flat(self)
