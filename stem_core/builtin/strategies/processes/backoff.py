"""How soon a child is started when others have died before it."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Children that die one after the other are started again after up to this many seconds.
MAX_BACKOFF = 30.0
FIRST_BACKOFF = 0.1


def backoff(failures: int) -> float:
    """Seconds before the next start; the first failure may have been an accident."""
    if failures < 2:
        return 0.0
    return min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures - 2, 20)) * random.uniform(0.5, 1.0)


class Pause:
    """Counts failures in a row, and knows when the pause after the last one is over. ``now``: monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failures = 0
        self._until = 0.0

    @property
    def over(self) -> bool:
        return self._now() >= self._until

    def failed(self) -> None:
        self._failures += 1
        self._until = self._now() + backoff(self._failures)

    def worked(self) -> None:
        self._failures = 0
