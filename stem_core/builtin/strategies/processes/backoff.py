"""How soon a child is started when others have died before it."""

from __future__ import annotations

import random

#: Children that die one after the other are started again after up to this many seconds.
MAX_BACKOFF = 30.0
FIRST_BACKOFF = 0.1


def backoff(failures: int) -> float:
    """Seconds before the next start; the first failure may have been an accident."""
    if failures < 2:
        return 0.0
    return min(MAX_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures - 2, 20)) * random.uniform(0.5, 1.0)
