"""The server's time, as far as it can be known from here."""

from __future__ import annotations

from datetime import datetime

from stem_core.clock import SYSTEM_CLOCK, Clock

#: By how much two clocks may drift apart in a second: twice what cheap quartz does.
_DRIFT = 200e-6


class ServerTime:
    """The clock of the server, read over the network.

    NATS decides nothing by time on our behalf: deadlines stand in the records, and whoever reads them judges. So that
    a worker with a wrong clock does no harm, all read one clock: that of the server, which stands in its answers. It
    is known to within half a round trip, and :attr:`error` says how well. Deadlines are set late and read late by it,
    so nothing comes early.

    A clock other than the system's is one that somebody turns by hand: that one is then the store's clock, exactly.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.turned_by_hand = clock is not SYSTEM_CLOCK
        self._difference = 0.0
        self._error = 0.0
        self._sampled = clock.monotonic()

    def now(self) -> float:
        """Seconds since the epoch: the best guess."""
        if self.turned_by_hand:
            return self._clock.now()
        return self._clock.monotonic() + self._difference

    @property
    def error(self) -> float:
        """By how many seconds :meth:`now` may be off at the most."""
        if self.turned_by_hand:
            return 0.0
        return self._error + (self._clock.monotonic() - self._sampled) * _DRIFT

    def passed(self) -> float:
        """A time that is over for sure; what is compared with deadlines."""
        return self.now() - self.error

    def local(self) -> float:
        """What :meth:`sample` counts by."""
        return self._clock.monotonic()

    def sample(self, sent: float, stamp: str) -> None:
        """Learn from an answer that was asked for at ``sent`` (by :meth:`local`) and bears the server's ``stamp``."""
        received = self._clock.monotonic()
        error = (received - sent) / 2
        # A worse sample than what is known tells nothing, unless it contradicts: then the server's clock was set.
        difference = datetime.fromisoformat(stamp).timestamp() - (sent + error)
        if error <= self.error or abs(difference - self._difference) > error + self.error or not self._difference:
            self._difference, self._error, self._sampled = difference, error, received
