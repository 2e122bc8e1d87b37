"""Waiting for a slot where slots are not for everybody."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stem_core.worker.lanes import Lanes

if TYPE_CHECKING:
    from stem_core.worker.inflight import Entry


class LaneWaiting:
    """Takes the place of the one deque of a worker without lanes: a line for each queue, so that a full lane holds up
    nobody behind it."""

    def __init__(self, running: Lanes) -> None:
        self._running = running
        self._lines: dict[str, deque[tuple[int, Entry]]] = {}
        self._numbers = itertools.count()

    def append(self, entry: Entry) -> None:
        """Wait behind all that came before."""
        queue = entry.delivery.receipt.queue
        self._lines.setdefault(queue, deque()).append((next(self._numbers), entry))

    def popleft(self) -> Entry | None:
        """Take the one that came first of those whose lane has room; None: no lane that is waited for has."""
        ready = [line for queue, line in self._lines.items() if line and self._running.room(queue)]
        if not ready:
            return None
        _, entry = min(ready, key=_came).popleft()
        return entry

    def clear(self) -> None:
        """Nobody waits any more."""
        self._lines.clear()

    def __len__(self) -> int:
        return sum(map(len, list(self._lines.values())))

    def __iter__(self) -> Iterator[Entry]:
        # In the order they came, so that they can be put back as they are. A list: any thread may look.
        return iter([entry for _, entry in sorted(itertools.chain(*list(self._lines.values())), key=_number)])


def _number(waiting: tuple[int, Entry]) -> int:
    return waiting[0]


def _came(line: deque[tuple[int, Entry]]) -> int:
    return line[0][0]
