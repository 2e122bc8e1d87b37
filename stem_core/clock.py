"""Time is handed in. This is the only place of the core that reads a clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from; tests hand in one that they turn."""

    def now(self) -> float:
        """Seconds since the epoch: for display, due times and stores."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: for spans and deadlines."""
        ...


class SystemClock:
    """The clock of this machine."""

    # Bound directly, not wrapped: a call costs 0.04 us instead of 0.1.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


SYSTEM_CLOCK: Clock = SystemClock()


def since_boot() -> float:
    """Seconds since this machine started, by which Linux dates its processes. Linux only."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
