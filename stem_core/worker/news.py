"""Telling of the worker itself: its signals, in the order init, ready, heartbeats, stopping, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from stem_core.clock import Clock
from stem_core.model import Heartbeat, WorkerPhase
from stem_core.signals import Signals, events
from stem_core.worker.plan import Plan


class News:
    """Fires the signals of one worker. On its loop."""

    def __init__(self, signals: Signals, clock: Clock, plan: Plan) -> None:
        self._signals = signals
        self._clock = clock
        self._plan = plan
        #: What handlers were told of last.
        self._phase: WorkerPhase = "starting"
        #: Handlers that nobody awaits where they are called.
        self.under_way: set[asyncio.Task[None]] = set()

    async def init(self) -> None:
        """The worker begins."""
        if self._signals.worker_init:
            event = events.WorkerInitEvent(occurred_at=self._clock.now(), worker=self._plan.worker)
            await self._signals.worker_init.send(event)

    async def ready(self) -> None:
        """The first claim comes next."""
        if self._signals.worker_ready:
            event = events.WorkerReadyEvent(
                occurred_at=self._clock.now(),
                worker=self._plan.worker,
                queues=self._plan.subscription.queues,
                concurrency=self._plan.concurrency,
            )
            await self._signals.worker_ready.send(event)
        self._phase = "running"

    def heartbeat(self, heartbeat: Heartbeat) -> None:
        """A record was written. Those before the worker is ready, and after its end, are records only."""
        if self._signals.worker_heartbeat and self._phase not in ("starting", "stopped"):
            self.spawn(self._signals.worker_heartbeat.send(heartbeat))

    def stopping(self, phase: WorkerPhase, reason: str) -> None:
        """A phase of stopping has begun. Told once, and not awaited: a handler that hangs must not keep the next
        phase from beginning."""
        if self._signals.worker_stopping and phase != self._phase:
            event = events.WorkerStoppingEvent(
                occurred_at=self._clock.now(), worker=self._plan.worker, mode=phase, reason=reason
            )
            self.spawn(self._signals.worker_stopping.send(event))
        self._phase = phase

    async def shutdown(self, exit_code: int) -> None:
        """The worker has ended."""
        self._phase = "stopped"
        if self._signals.worker_shutdown:
            event = events.WorkerShutdownEvent(
                occurred_at=self._clock.now(), worker=self._plan.worker, exit_code=exit_code
            )
            await self._signals.worker_shutdown.send(event)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a handler beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        # The loop keeps only a weak reference.
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)
