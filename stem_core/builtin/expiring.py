"""Values that are kept for a time, without a timer and without long pauses."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

#: Keys whose time is over in the same span of this many bits of seconds (16 s) are found together.
_SPAN_BITS = 4


class Expiring(Generic[T]):
    """A mapping whose entries are gone after a time, by the clock of whoever asks.

    Reading is exact: an entry is never given out after its time. The room of old entries is freed by :meth:`sweep`,
    a few at a time, so no call pays for all that came before it.
    """

    __slots__ = ("_bucket", "_buckets", "_from", "_order", "_until", "entries")

    def __init__(self) -> None:
        #: Key to ``(expires, value)``, old ones included. Hot loops look here themselves: a method call is 0.1 us.
        self.entries: dict[str, tuple[float, T]] = {}
        self._buckets: dict[int, list[str]] = {}
        self._order: list[int] = []
        #: The bucket of the last key, and the times that go into it: mostly the next goes there too.
        self._bucket: list[str] = []
        self._from = self._until = 0.0

    def get(self, key: str, now: float) -> T | None:
        """The value, or None when there is none or its time is over."""
        entry = self.entries.get(key)
        return entry[1] if entry is not None and entry[0] > now else None

    def put(self, key: str, value: T, expires: float) -> None:
        """Keep the value until ``expires`` (seconds since the epoch, or infinity), in place of an older one."""
        entries = self.entries
        # A key that is in a bucket already is looked at when that bucket's time comes, and moved on if it still lives.
        known = key in entries and entries[key][0] != math.inf
        entries[key] = (expires, value)
        if known:
            return
        if self._from <= expires < self._until:
            self._bucket.append(key)
        else:
            self._remind(key, expires)

    def pop(self, key: str, now: float) -> T | None:
        """Remove the entry and return its value, or None when there is none or its time is over."""
        entry = self.entries.pop(key, None)
        return entry[1] if entry is not None and entry[0] > now else None

    def live(self, now: float) -> Iterator[tuple[str, T]]:
        """The keys and values whose time is not over, in no order that means anything."""
        return ((key, value) for key, (expires, value) in self.entries.items() if expires > now)

    def sweep(self, now: float, limit: int) -> None:
        """Free the room of up to ``limit`` entries whose time is over."""
        over = int(now) >> _SPAN_BITS
        while self._order and self._order[0] < over and limit > 0:
            keys = self._buckets[self._order[0]]
            while keys and limit > 0:
                limit -= 1
                key = keys.pop()
                entry = self.entries.get(key)
                if entry is None:
                    continue
                if entry[0] <= now:
                    del self.entries[key]
                else:
                    self._remind(key, entry[0])
            if not keys:
                del self._buckets[heapq.heappop(self._order)]
                self._from = self._until = 0.0

    def _remind(self, key: str, expires: float) -> None:
        if expires == math.inf:
            return
        number = int(expires) >> _SPAN_BITS
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = []
            heapq.heappush(self._order, number)
        bucket.append(key)
        self._bucket = bucket
        self._from, self._until = float(number << _SPAN_BITS), float((number + 1) << _SPAN_BITS)
