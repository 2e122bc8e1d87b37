"""A clock that tests turn by hand."""

from __future__ import annotations


class FakeClock:
    """A :class:`stem_core.clock.Clock` that stands still until :meth:`advance` moves it.

    Starts at a whole second, and whole and half seconds added to it stay exact in a float.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._monotonic = 1_000.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass; negative ones are refused."""
        if seconds < 0:
            raise ValueError(f"time does not go back: advance({seconds})")
        self._now += seconds
        self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock by ``seconds``, back or forth, as an administrator does; spans are not touched."""
        self._now += seconds
