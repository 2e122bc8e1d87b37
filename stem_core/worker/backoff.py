"""How long to wait before trying a store again."""

from __future__ import annotations

import asyncio
import random


class Backoff:
    """Full jitter from 50 ms, doubling, capped at 2 s: a store that returns is met again within 5 s, and a fleet
    that lost it does not come back in one moment."""

    FIRST = 0.05
    CAP = 2.0

    def __init__(self) -> None:
        self._failures = 0

    def next(self) -> float:
        """The next wait in seconds."""
        ceiling = min(self.CAP, self.FIRST * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return random.uniform(ceiling / 2, ceiling)

    def reset(self) -> None:
        """Start over: the last call worked."""
        self._failures = 0

    async def sleep(self) -> None:
        """Wait for :meth:`next` seconds."""
        await asyncio.sleep(self.next())
