"""What a worker says of itself; looked at from any thread."""

from __future__ import annotations

import os
import secrets

import attrs

from stem_core.clock import Clock
from stem_core.model import Heartbeat, LaneUse, WorkerHealth, WorkerPhase
from stem_core.worker.identity import host_name
from stem_core.worker.inflight import InFlight
from stem_core.worker.line import Line
from stem_core.worker.plan import Plan
from stem_core.worker.view import WorkerView
from stem_core.worker.watchdog import health_of


@attrs.define(kw_only=True, eq=False)
class Vitals:
    """The signs of life of one worker. ``line`` and ``view`` are there once it has got so far."""

    plan: Plan
    clock: Clock
    inflight: InFlight
    #: Seconds between two heartbeats.
    interval: float
    view: WorkerView | None = None
    line: Line | None = None
    incarnation: str = attrs.field(factory=lambda: secrets.token_hex(8))
    started_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started_at = self.clock.now()

    def heartbeat(self, phase: WorkerPhase) -> Heartbeat:
        """The record of this moment."""
        plan, inflight = self.plan, self.inflight
        steering = self.line.steering if self.line is not None else None
        concurrency = plan.concurrency if steering is None else steering.concurrency
        return Heartbeat(
            worker=plan.worker,
            host=host_name(),
            pid=os.getpid(),
            incarnation=self.incarnation,
            phase=phase,
            health=self.health(concurrency),
            queues=plan.subscription.queues,
            concurrency=concurrency,
            running=inflight.running,
            prefetched=len(inflight.waiting),
            started_at=self.started_at,
            at=self.clock.now(),
            interval=self.interval,
            paused=() if steering is None else tuple(sorted(steering.paused)),
            lanes=self._lanes(),
            prefetch=plan.prefetch_for(concurrency),
            autoscale=None if steering is not None and steering.pinned else plan.autoscale,
            scaled="" if steering is None else steering.scaled,
        )

    def health(self, concurrency: int) -> WorkerHealth:
        """How the worker is, with so many slots."""
        view, line, inflight = self.view, self.line, self.inflight
        failing = line is not None and (line.intake.failing or line.settler.failing)
        return health_of(
            wedged=view is not None and view.watchdog.wedged,
            failing=failing or (view is not None and view.renewal_failing),
            free=concurrency - inflight.running,
            running=inflight.running,
            waiting=len(inflight.waiting),
        )

    def _lanes(self) -> tuple[LaneUse, ...]:
        running = self.line.steering.running if self.line is not None else None
        rules = self.plan.lanes
        return tuple(
            LaneUse(
                queue=queue,
                running=0 if running is None else running.counts[queue],
                reserve=rules.reserve.get(queue, 0),
                limit=rules.limit.get(queue),
            )
            for queue in self.plan.subscription.queues
            if queue in rules.reserve or queue in rules.limit
        )
