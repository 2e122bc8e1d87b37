"""How a worker stops: running, quiet, warm, soft, hard. It only ever goes forward."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Literal, get_args

from stem_core.clock import Clock
from stem_core.errors import InvalidOption
from stem_core.model import WorkerPhase

logger = logging.getLogger("stem_core.worker")

StopMode = Literal["quiet", "warm", "soft", "hard"]

_ORDER: tuple[WorkerPhase, ...] = ("starting", "running", "quiet", "warm", "soft", "hard", "stopped")


def margins(shutdown_timeout: float, soft: float, hard: float) -> tuple[float, float]:
    """How long before the end of the budget soft and hard begin. A budget smaller than the margins is shared out:
    half to drain, the rest to interrupt and to hand back."""
    soft = soft if soft < shutdown_timeout else shutdown_timeout / 2
    return soft, min(hard, soft * 0.4)


def check_mode(mode: str) -> StopMode:
    """Return ``mode``, or raise :class:`InvalidOption`."""
    if mode not in get_args(StopMode):
        raise InvalidOption("mode", mode, "quiet, warm, soft or hard")
    return mode  # type: ignore[return-value]  # just checked


class StopMachine:
    """The phase of a worker, and when the next one is due.

    Requests come from any thread. The pulse thread calls :meth:`advance`, so that a deadline passes even while the
    worker's loop is blocked; the loop waits in :meth:`reached`.
    """

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        shutdown_timeout: float,
        soft_margin: float,
        hard_margin: float,
    ) -> None:
        self._clock = clock
        self._loop = loop
        self._timeout = shutdown_timeout
        self._soft_margin, self._hard_margin = margins(shutdown_timeout, soft_margin, hard_margin)
        self._lock = threading.RLock()
        self.phase: WorkerPhase = "starting"
        self.reason = ""
        #: Monotonic times at which soft and hard begin; None while no stop was asked for.
        self.soft_at: float | None = None
        self.hard_at: float | None = None
        self._events: dict[WorkerPhase, asyncio.Event] = {phase: asyncio.Event() for phase in _ORDER}

    @property
    def stopping(self) -> bool:
        """Whether the worker takes no new work any more."""
        return self.at_least("quiet")

    def at_least(self, phase: WorkerPhase) -> bool:
        """Whether this phase, or a later one, has begun."""
        return _ORDER.index(self.phase) >= _ORDER.index(phase)

    async def reached(self, phase: WorkerPhase) -> None:
        """Return once this phase or a later one has begun. On the worker's loop."""
        await self._events[phase].wait()

    def begin(self) -> None:
        """The worker runs."""
        self._enter("running", "")

    def end(self) -> None:
        """The worker has stopped."""
        self._enter("stopped", self.reason)

    def request(self, mode: StopMode, reason: str, timeout: float | None = None) -> None:
        """Go to ``mode`` unless that is behind already. ``timeout`` replaces the budget of a warm stop, in seconds."""
        with self._lock:
            now = self._clock.monotonic()
            if mode == "warm" and self.soft_at is None:
                budget = self._timeout if timeout is None else timeout
                self.soft_at = now + max(0.0, budget - self._soft_margin)
                self.hard_at = now + max(0.0, budget - self._hard_margin)
            elif mode == "soft":
                grace = (self._soft_margin - self._hard_margin) if timeout is None else timeout
                self.soft_at = min(now, self.soft_at or now)
                self.hard_at = min(now + grace, self.hard_at or now + grace)
            elif mode == "hard":
                self.soft_at = min(now, self.soft_at or now)
                self.hard_at = min(now, self.hard_at or now)
            self._enter(mode, reason)

    def escalate(self, mode: StopMode, reason: str) -> None:
        """Go to ``mode``; when that, or a later one, has begun already, one step further than now."""
        with self._lock:
            if not self.at_least(mode):
                self.request(mode, reason)
            elif self.phase in ("quiet", "warm", "soft"):
                following: dict[WorkerPhase, StopMode] = {"quiet": "warm", "warm": "soft", "soft": "hard"}
                self.request(following[self.phase], f"{reason} again")

    def advance(self) -> None:
        """Enter the next phase when its time has come."""
        with self._lock:
            now = self._clock.monotonic()
            if self.hard_at is not None and now >= self.hard_at and not self.at_least("hard"):
                self._enter("hard", f"{self.reason}: time is up")
            elif self.soft_at is not None and now >= self.soft_at and not self.at_least("soft"):
                self._enter("soft", f"{self.reason}: time is nearly up")

    def _enter(self, phase: WorkerPhase, reason: str) -> None:
        with self._lock:
            if self.at_least(phase):
                return
            self.phase = phase
            self.reason = reason
            if self.stopping and phase != "stopped":
                logger.info("stopping: %s (%s)", phase, reason)
        self._loop.call_soon_threadsafe(self._set_events)

    def _set_events(self) -> None:
        for phase in _ORDER[: _ORDER.index(self.phase) + 1]:
            self._events[phase].set()
