"""Watching the worker's loop from the pulse thread: does it still turn?"""

from __future__ import annotations

import asyncio
import logging

from stem_core.clock import Clock
from stem_core.model import WorkerHealth
from stem_core.worker.stacks import all_stacks

logger = logging.getLogger("stem_core.worker")


def health_of(*, wedged: bool, failing: bool, free: int, running: int, waiting: int) -> WorkerHealth:
    """How a worker is; the worst that holds.

    Args:
        wedged: Its loop does not turn.
        failing: A store does not answer.
        free: Slots with nothing to run; none left, or fewer than none after their number has been lowered.
        running: Deliveries in slots.
        waiting: Prefetched deliveries.
    """
    if wedged:
        return "wedged"
    if failing:
        return "degraded"
    if free <= 0 and waiting:
        return "saturated"
    return "busy" if running else "idle"


class Watchdog:
    """Lets the loop answer a call at every look. A loop that owes its answer for ``stall_limit`` seconds is wedged:
    it is reported once, with the stacks of all threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, *, stall_limit: float) -> None:
        self._loop = loop
        self._clock = clock
        self._stall_limit = stall_limit
        self._asked_at: float | None = None
        self._reported = False

    @property
    def stalled_for(self) -> float:
        """For how many seconds the loop has owed an answer; 0 when it owes none."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else self._clock.monotonic() - asked_at

    @property
    def wedged(self) -> bool:
        """Whether that is longer than the stall limit."""
        return self.stalled_for > self._stall_limit

    def look(self) -> None:
        """Ask, unless an answer is still owed; report a stall. In the pulse thread."""
        if self._asked_at is None:
            self._asked_at = self._clock.monotonic()
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._answer)
        elif self.wedged and not self._reported:
            self._reported = True
            self.dump(f"the worker's loop has been blocked for {self.stalled_for:.1f} s; its leases are kept")

    def dump(self, title: str) -> None:
        """Log what every thread is doing."""
        logger.error("%s\n%s", title, all_stacks())

    def _answer(self) -> None:
        if self._reported:
            logger.warning("the worker's loop turns again after %.1f s", self.stalled_for)
            self._reported = False
        self._asked_at = None
