"""What a session knows of all messages without asking: what is where, and what comes next.

A hint, kept up to date by :mod:`stem_nats.follower`: nothing is decided here, since every change is conditional on
the record it was made for. No bodies are held but those of messages that this session itself has claimed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence

from stem_nats.records import DEAD, DELAYED, FINISHED, LEASED, PURGED, READY, Meta

# The tick before the entry keeps entries from being compared: one record may be learnt of twice.
Ready = tuple[int, float, int, int, "Entry"]
Timed = tuple[float, int, int, "Entry"]


class Entry:
    """One message. Replaced as a whole by its next record."""

    __slots__ = ("body", "id", "meta", "sequence")

    def __init__(self, id: str, sequence: int, meta: Meta, body: bytes | None) -> None:
        self.id = id
        self.sequence = sequence
        self.meta = meta
        self.body = body


class Line:
    """One queue. Its heaps also hold entries that are replaced by now; they are dropped when they come up."""

    __slots__ = ("clean", "dead", "newest_suspect", "suspects", "timed")

    def __init__(self) -> None:
        #: What is ready: ``(-priority, ready since, number of the record, tick, entry)``.
        self.clean: list[Ready] = []
        #: The same, of messages whose next delivery has crashes.
        self.suspects: list[Ready] = []
        #: What is delayed or leased: ``(until, number of the record, tick, entry)``.
        self.timed: list[Timed] = []
        self.dead: dict[str, Entry] = {}
        #: The tick at which a suspect became ready last.
        self.newest_suspect = 0


class View:
    """All messages of a namespace, by queue."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.ticks = 0
        self._lines: dict[str, Line] = {}
        #: Names of queues in which something changed since the last look.
        self.changed: set[str] = set()

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self._lines.clear()

    def apply(self, id: str, sequence: int, meta: Meta, body: bytes | None = None) -> None:
        """Learn of a record, unless a newer one is known."""
        old = self.entries.get(id)
        if old is not None:
            if old.sequence >= sequence:
                return
            if old.meta.state == DEAD:
                self._lines[old.meta.queue].dead.pop(id, None)
            if body is None and old.meta.token and old.meta.token == meta.token:
                body = old.body
        if meta.state in {FINISHED, PURGED}:
            self.entries.pop(id, None)
            return
        entry = self.entries[id] = Entry(id, sequence, meta, body)
        line = self._line(meta.queue)
        if meta.state == READY:
            self._line_up(line, entry)
        elif meta.state == DEAD:
            line.dead[id] = entry
        else:
            self.ticks += 1
            heapq.heappush(line.timed, (meta.at, sequence, self.ticks, entry))
        self.changed.add(meta.queue)

    def forget(self, entry: Entry) -> None:
        """The server has no such record any more."""
        if self.is_current(entry):
            del self.entries[entry.id]
            self._line(entry.meta.queue).dead.pop(entry.id, None)

    def is_current(self, entry: Entry) -> bool:
        """Whether no newer record of the message is known."""
        return self.entries.get(entry.id) is entry

    def _line(self, queue: str) -> Line:
        line = self._lines.get(queue)
        if line is None:
            line = self._lines[queue] = Line()
        return line

    def _line_up(self, line: Line, entry: Entry) -> None:
        self.ticks += 1
        item = (-entry.meta.priority, entry.meta.at, entry.sequence, self.ticks, entry)
        if entry.meta.is_suspect():
            line.newest_suspect = self.ticks
            heapq.heappush(line.suspects, item)
        else:
            heapq.heappush(line.clean, item)

    def _turn(self, queue: str, now: float) -> Line:
        """Make ready what became so until ``now``."""
        line = self._line(queue)
        timed = line.timed
        while timed and (timed[0][0] <= now or not self.is_current(timed[0][3])):
            entry = heapq.heappop(timed)[3]
            if self.is_current(entry):
                self._line_up(line, entry)
        return line

    def _head(self, heap: list[Ready]) -> Ready | None:
        while heap and not self.is_current(heap[0][4]):
            heapq.heappop(heap)
        return heap[0] if heap else None

    def take(self, queue: str, room: int, suspects: int, now: float) -> list[Entry]:
        """Take out up to ``room`` messages in the order of delivery, at most ``suspects`` suspects. What is not
        granted afterwards has to be put back."""
        line = self._turn(queue, now)
        taken: list[Entry] = []
        while len(taken) < room:
            clean = self._head(line.clean)
            suspect = self._head(line.suspects) if suspects > 0 else None
            if suspect is not None and (clean is None or suspect < clean):
                taken.append(heapq.heappop(line.suspects)[4])
                suspects -= 1
            elif clean is not None:
                taken.append(heapq.heappop(line.clean)[4])
            else:
                break
        return taken

    def put_back(self, entry: Entry) -> None:
        """What was taken and not granted lies where it lay."""
        if self.is_current(entry):
            self._line_up(self._line(entry.meta.queue), entry)

    def has_news(self, queues: Sequence[str], since: Mapping[str, int], now: float) -> bool:
        """Whether there is something to claim: a suspect counts only when it became ready after the tick ``since`` of
        its queue, because the one who asks left the older ones where they are."""
        for queue in queues:
            line = self._turn(queue, now)
            if self._head(line.clean) or (line.newest_suspect > since.get(queue, 0) and self._head(line.suspects)):
                return True
        return False

    def next_time(self, queues: Sequence[str]) -> float:
        """When the next delay or lease ends; infinity when there is none. Right after :meth:`has_news` only."""
        heads = [timed[0][0] for queue in queues if (timed := self._line(queue).timed)]
        return min(heads, default=float("inf"))

    def names(self, now: float) -> set[str]:
        """The queues that hold a message in any state."""
        return {entry.meta.queue for entry in self.entries.values() if not entry.meta.over(now)}

    def of(self, queue: str) -> Iterator[Entry]:
        """All messages of one queue in no order."""
        return (entry for entry in self.entries.values() if entry.meta.queue == queue)

    def in_state(self, queue: str, state: str, now: float) -> list[Entry]:
        """The messages of one queue in one state, in the order of delivery, or in which that state ends."""
        found = [entry for entry in self.of(queue) if state_of(entry.meta, now) == state]
        if state == READY:
            found.sort(key=lambda entry: (-entry.meta.priority, entry.meta.at, entry.sequence))
        else:
            found.sort(key=lambda entry: (entry.meta.at, entry.sequence))
        return found

    def dead(self, queue: str, now: float) -> list[Entry]:
        """The dead letters of one queue, oldest first."""
        letters = [entry for entry in self._line(queue).dead.values() if not entry.meta.over(now)]
        return sorted(letters, key=lambda entry: (entry.meta.at, entry.sequence))

    def count_dead(self, queue: str) -> int:
        """How many dead letters the queue has, at the most."""
        return len(self._line(queue).dead)


def state_of(meta: Meta, now: float) -> str:
    """``ready``, ``delayed``, ``leased`` or ``dead``: what a delay or a lease held until now is ready."""
    return READY if meta.state in {DELAYED, LEASED} and meta.at <= now else meta.state
