"""When a failed task is tried again: a policy is data, its decision a value."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from stem_core.errors import InvalidOption
from stem_core.model._value import value

#: The longest wait between two attempts unless a policy says otherwise, in seconds.
DEFAULT_CAP = 600.0


@value
class RetryPolicy:
    """How long to wait before each retry. Use the constructors; every wait is in seconds.

    A policy is data and travels inside the sealed header when a call overrides it.
    """

    kind: Literal["exponential", "fixed", "delays"]
    #: ``exponential``: the first wait. ``fixed``: every wait.
    base: float = 1.0
    #: No wait is longer than this.
    cap: float = DEFAULT_CAP
    #: ``delays``: the waits in order; the last one repeats.
    delays: tuple[float, ...] = ()
    #: Draw each wait uniformly from 0 to its length, so that failures of one moment do not come back as one.
    jitter: bool = True

    @classmethod
    def exponential(cls, base: float = 1.0, *, cap: float = DEFAULT_CAP, jitter: bool = True) -> RetryPolicy:
        """``base``, twice that, four times that ... up to ``cap``, with full jitter."""
        _check_seconds("base", base)
        _check_seconds("cap", cap)
        return cls(kind="exponential", base=float(base), cap=float(cap), jitter=jitter)

    @classmethod
    def fixed(cls, seconds: float, *, jitter: bool = False) -> RetryPolicy:
        """The same wait before every retry."""
        _check_seconds("seconds", seconds)
        return cls(kind="fixed", base=float(seconds), cap=float(seconds), jitter=jitter)

    @classmethod
    def after(cls, delays: Sequence[float], *, jitter: bool = False) -> RetryPolicy:
        """The given waits in order; the last one repeats."""
        if not delays:
            raise InvalidOption("delays", delays, "at least one number of seconds")
        for delay in delays:
            _check_seconds("delays", delay)
        waits = tuple(float(delay) for delay in delays)
        return cls(kind="delays", delays=waits, cap=max(waits), jitter=jitter)

    def delay(self, failures: int) -> float:
        """Seconds to wait after the ``failures``-th failed attempt (from 1)."""
        longest = self.longest(failures)
        return random.uniform(0.0, longest) if self.jitter else longest

    def longest(self, failures: int) -> float:
        """The wait without jitter: the most that :meth:`delay` returns for the same ``failures``."""
        if self.kind == "delays":
            return self.delays[min(failures, len(self.delays)) - 1]
        if self.kind == "fixed":
            return self.base
        # 2**1024 overflows a float; no cap is reached later than after 64 doublings of a positive base.
        return min(self.cap, self.base * 2.0 ** min(failures - 1, 64))

    def horizon(self, max_retries: int) -> float:
        """The longest time that ``max_retries`` retries can wait, all together."""
        return sum(self.longest(n) for n in range(1, min(max_retries, 1000) + 1))


def _check_seconds(name: str, seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise InvalidOption(name, seconds, "a finite number of seconds, 0 or more")


#: What a task gets that says nothing: exponential from 1 s with full jitter, capped at 10 min.
DEFAULT_RETRY = RetryPolicy(kind="exponential")
