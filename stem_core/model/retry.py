"""When a failed task is tried again: a policy is data, its decision a value."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, get_args

from stem_core.errors import InvalidOption
from stem_core.model._value import value
from stem_core.model.spans import LONGEST, Span, in_seconds

#: The longest wait between two attempts unless a policy says otherwise, in seconds.
DEFAULT_CAP = 600.0

Kind = Literal["exponential", "fixed", "delays"]
_KINDS = get_args(Kind)


@value
class RetryPolicy:
    """How long to wait before each retry. Use the constructors, which take seconds or timedeltas; fields are seconds.

    A policy is data and travels inside the sealed header when a call overrides it.
    """

    kind: Kind
    #: ``exponential``: the first wait. ``fixed``: every wait.
    base: float = 1.0
    #: No wait is longer than this.
    cap: float = DEFAULT_CAP
    #: ``delays``: the waits in order; the last one repeats.
    delays: tuple[float, ...] = ()
    #: Draw each wait uniformly from 0 to its length, so that failures of one moment do not come back as one.
    jitter: bool = True

    @classmethod
    def exponential(cls, base: Span = 1.0, *, cap: Span = DEFAULT_CAP, jitter: bool = True) -> RetryPolicy:
        """``base``, twice that, four times that ... up to ``cap``, with full jitter."""
        first, most = in_seconds("base", base, least="0"), in_seconds("cap", cap, least="0")
        return cls(kind="exponential", base=first, cap=most, jitter=jitter)

    @classmethod
    def fixed(cls, seconds: Span, *, jitter: bool = False) -> RetryPolicy:
        """The same wait before every retry."""
        every = in_seconds("seconds", seconds, least="0")
        return cls(kind="fixed", base=every, cap=every, jitter=jitter)

    @classmethod
    def after(cls, delays: Sequence[Span], *, jitter: bool = False) -> RetryPolicy:
        """The given waits in order; the last one repeats."""
        if not isinstance(delays, Sequence) or not delays:
            raise InvalidOption("delays", delays, "a list of waits, such as [1, 10, 60]")
        waits = tuple(in_seconds("delays", delay, least="0") for delay in delays)
        return cls(kind="delays", delays=waits, cap=max(waits), jitter=jitter)

    @property
    def usable(self) -> bool:
        """Whether it can travel and be followed: what the constructors make sure of, and nobody else."""
        if self.kind not in _KINDS or not isinstance(self.jitter, bool) or not isinstance(self.delays, tuple):
            return False
        if self.kind == "delays" and not self.delays:
            return False
        waits = (self.base, self.cap, *self.delays)
        # JSON has no infinity, and True and False are no numbers there.
        return all(type(wait) in (int, float) and 0 <= wait <= LONGEST for wait in waits)

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


#: What a task gets that says nothing: exponential from 1 s with full jitter, capped at 10 min.
DEFAULT_RETRY = RetryPolicy(kind="exponential")
