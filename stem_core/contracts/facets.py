"""Abilities that any store may have, be it a broker, a result backend or a state store."""

from __future__ import annotations

from abc import ABC, abstractmethod


class TellsTime(ABC):
    """Facet: the store says what time it is, so that people can see whose clock is wrong."""

    @abstractmethod
    async def now(self) -> float:
        """Seconds since the epoch by the clock that decides when delays, leases and times to live end.

        Asked of the store itself at every call. An embedded store answers with the clock that it was opened with.
        """
