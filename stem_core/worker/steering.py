"""What can be changed of a worker while it runs: how many slots it has, and which of its queues it claims."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import attrs

from stem_core.clock import Clock
from stem_core.contracts import ConcurrencyStrategy
from stem_core.model import HandedBack
from stem_core.signals import QueuePausedEvent, QueueResumedEvent, Signals, WorkerScaledEvent
from stem_core.worker.inflight import InFlight
from stem_core.worker.intake import Intake
from stem_core.worker.lanes import Lanes
from stem_core.worker.plan import Plan
from stem_core.worker.settle import Settler
from stem_core.worker.slots import Slots

logger = logging.getLogger("stem_core.worker")


#: Runs a coroutine beside everything else.
Spawn = Callable[[Coroutine[Any, Any, None]], None]


@attrs.define(eq=False)
class Steering:
    """Changes one worker. Everything here is called on its loop."""

    _plan: Plan
    _signals: Signals
    _clock: Clock
    _inflight: InFlight
    _intake: Intake
    _slots: Slots
    _settler: Settler
    #: What runs of each queue; None: no queue has slots of its own.
    running: Lanes | None
    #: By name.
    _strategies: Mapping[str, ConcurrencyStrategy]
    _spawn: Spawn
    #: Whether somebody set the number of slots by hand.
    pinned: bool = attrs.field(default=False, init=False)
    #: The last change of the number of slots and why, or why there was none though there was a reason; empty: neither.
    scaled: str = attrs.field(default="", init=False)
    #: What was logged last of why there was none.
    _stays: tuple[int, int, type] | None = attrs.field(default=None, init=False)
    _resizing: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    @property
    def concurrency(self) -> int:
        """Slots at this moment."""
        return self._slots.concurrency

    @property
    def paused(self) -> frozenset[str]:
        """Queues that are not claimed at present."""
        return self._intake.paused

    async def scale(self, slots: int, reason: str) -> None:
        """Have so many slots until :meth:`follow`, whatever there is to do."""
        async with self._resizing:
            if await self._resize(slots, reason, pinned=True):
                self.pinned = True

    async def follow(self, reason: str) -> None:
        """Let the number of slots follow the work again; without a range of its own, back to where it began."""
        # Behind the lock: what was asked before it may still be under way, and pins the number when it is done.
        async with self._resizing:
            self.pinned = False
            if self._plan.autoscale is None:
                await self._resize(self._plan.concurrency, reason, pinned=False)

    async def resize(self, slots: int, reason: str) -> None:
        """Have so many slots from now on, unless somebody has set their number by hand. What runs is never cut: with
        too much of it, nothing starts for a while."""
        async with self._resizing:
            if not self.pinned:
                await self._resize(slots, reason, pinned=False)

    def stay(self, slots: int, reason: str, error: Exception | None = None) -> None:
        """Tell that there are not to be so many slots, and why; it is logged once, however often it is said."""
        self.scaled = f"stays at {self.concurrency}, not {slots}: {reason}"
        stays = (self.concurrency, slots, type(error))
        if stays != self._stays:
            self._stays = stays
            logger.log(logging.INFO if error is None else logging.ERROR, "concurrency: %s", self.scaled, exc_info=error)

    def memory_for(self, slots: int) -> int:
        """About how many bytes more the strategies take for so many slots."""
        return sum(strategy.memory_for(slots) for strategy in self._strategies.values())

    async def _resize(self, slots: int, reason: str, *, pinned: bool) -> bool:
        """Returns whether there are so many now; if not, all is as it was."""
        before = self._slots.concurrency
        if slots == before:
            return True
        # On the way up, first the places to run in, then what is to run there; and the other way round on the way down.
        if slots < before:
            self._change(slots)
        failed = await self._resize_strategies(before, slots)
        if failed is not None:
            self._change(before)
            name, error = failed
            self.stay(slots, f"the strategy {name!r} failed: {type(error).__name__}: {error}", error)
            return False
        self._change(slots)
        self._stays = None
        self.scaled = f"{before} to {slots}: {reason}"
        logger.info("concurrency: %s", self.scaled)
        if self._signals.worker_scaled:
            event = WorkerScaledEvent(
                occurred_at=self._clock.now(),
                worker=self._plan.worker,
                previous=before,
                concurrency=slots,
                prefetch=self._intake.prefetch,
                reason=reason,
                pinned=pinned,
            )
            self._spawn(self._signals.worker_scaled.send(event))
        return True

    def _change(self, slots: int) -> None:
        """Go by so many slots, at once."""
        self._slots.concurrency = slots
        self._intake.prefetch = prefetch = self._plan.prefetch_for(slots)
        if self.running is not None and self._inflight.lanes is not None:
            rules = self._plan.lanes
            self.running.resize(rules, slots)
            self._inflight.lanes.resize(rules.widened(slots, prefetch), slots + prefetch)
        self._slots.start_waiting()
        self._intake.wake()

    async def _resize_strategies(self, before: int, slots: int) -> tuple[str, Exception] | None:
        """Returns what failed, and how; all have the room then that they had. None: all have room for so many."""
        asked: list[ConcurrencyStrategy] = []
        for name, strategy in self._strategies.items():
            # The one that fails may have got half way.
            asked.append(strategy)
            try:
                await strategy.resize(slots)
            except Exception as error:
                await self._go_back(asked, before)
                return name, error
        return None

    async def _go_back(self, strategies: Sequence[ConcurrencyStrategy], slots: int) -> None:
        for strategy in strategies:
            try:
                await strategy.resize(slots)
            except Exception:
                logger.exception("%s cannot go back to %d slots", type(strategy).__name__, slots)

    async def pause(self, queue: str, reason: str) -> None:
        """Claim nothing of this queue any more, and hand back what has not started. What runs goes on."""
        if queue in self._intake.paused:
            return
        self._intake.pause(queue)
        unstarted = self._slots.withdraw(queue)
        for entry in unstarted:
            self._settler.take(entry, HandedBack(reason="paused"))
        logger.info("queue %s is paused (%s); %d prefetched deliveries go back", queue, reason, len(unstarted))
        if self._signals.queue_paused:
            event = QueuePausedEvent(
                occurred_at=self._clock.now(), worker=self._plan.worker, queue=queue, reason=reason
            )
            self._spawn(self._signals.queue_paused.send(event))

    async def resume(self, queue: str, reason: str) -> None:
        """Claim of this queue again."""
        if queue not in self._intake.paused:
            return
        self._intake.resume(queue)
        logger.info("queue %s is resumed (%s)", queue, reason)
        if self._signals.queue_resumed:
            event = QueueResumedEvent(
                occurred_at=self._clock.now(), worker=self._plan.worker, queue=queue, reason=reason
            )
            self._spawn(self._signals.queue_resumed.send(event))
