"""One queue in memory: what is ready, delayed, leased and dead, each in its order."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from stem_core.builtin.waiter import Waiter
from stem_core.model import DeadLetter, DeadMessage, Message, QueueDepth, Receipt, StoredMessage

#: How long a dead letter is kept, in seconds, and how many a queue keeps.
DEAD_TTL = 30 * 86_400.0
DEAD_LIMIT = 100_000

READY = "ready"
DELAYED = "delayed"
LEASED = "leased"
#: The lease is over: ready for others, while the old receipt is still good.
LAPSED = "lapsed"

#: Numbers what happens: breaks ties in the heaps, so that entries are never compared, and orders what is ready.
ORDER = itertools.count(1)


class Entry:
    """One message and what the broker knows beside it."""

    __slots__ = (
        "at",
        "attempt",
        "crashes",
        "first_delivered_at",
        "grant",
        "message",
        "order",
        "queue",
        "receipt",
        "run",
        "state",
    )

    def __init__(self, message: Message, queue: Queue, run: int, now: float) -> None:
        self.message = message
        self.queue = queue
        self.run = run
        self.state = READY
        #: As in :class:`~stem_core.model.StoredMessage`.
        self.at = now
        #: Rises with every time that an entry becomes ready.
        self.order = 0
        self.attempt = 1
        self.crashes = 0
        self.first_delivered_at: float | None = None
        #: The newest grant's right, while it is good.
        self.receipt: Receipt | None = None
        #: What was granted together with it and not ended since.
        self.grant: dict[str, Entry] | None = None

    def stored(self) -> StoredMessage:
        """The entry as people see it."""
        return StoredMessage(
            message=self.message,
            state=READY if self.state == LAPSED else self.state,
            attempt=self.attempt,
            crashes=self.crashes,
            run=self.run,
            at=self.at,
        )


class Level:
    """What is ready at one priority: two lines, so that suspects that may not be taken hide nobody behind them."""

    __slots__ = ("clean", "suspects")

    def __init__(self) -> None:
        # Ordered mappings: first in first out, and any entry can be taken out at once.
        self.clean: OrderedDict[str, Entry] = OrderedDict()
        #: Entries whose next delivery has crashes.
        self.suspects: OrderedDict[str, Entry] = OrderedDict()

    def line_of(self, entry: Entry) -> OrderedDict[str, Entry]:
        """The line where a ready entry stands."""
        return self.suspects if entry.crashes or entry.state == LAPSED else self.clean

    def take(self, room: int, suspects: int) -> list[Entry]:
        """Take out up to ``room`` entries in the order in which they became ready, at most ``suspects`` suspects."""
        clean = self.clean
        if not self.suspects or suspects <= 0:
            pop = clean.popitem
            return [pop(last=False)[1] for _ in range(min(room, len(clean)))]
        taken: list[Entry] = []
        while len(taken) < room and (clean or (self.suspects and suspects > 0)):
            line = clean
            if self.suspects and suspects > 0:
                suspect = next(iter(self.suspects.values()))
                if not clean or suspect.order < next(iter(clean.values())).order:
                    line = self.suspects
                    suspects -= 1
            taken.append(line.popitem(last=False)[1])
        return taken

    def __len__(self) -> int:
        return len(self.clean) + len(self.suspects)

    def __iter__(self) -> Iterator[Entry]:
        """In the order in which they became ready."""
        return heapq.merge(self.clean.values(), self.suspects.values(), key=lambda entry: entry.order)


class Queue:
    """The entries of one queue. The store's lock is held around every call.

    Times that pass are noticed by :meth:`turn` only; whoever reads or adds calls it first, so the ready entries
    stand in the order in which they became ready.
    """

    __slots__ = ("dead", "delayed", "grants", "leased", "levels", "name", "newest", "priorities", "stale", "waiters")

    def __init__(self, name: str) -> None:
        self.name = name
        self.levels: dict[int, Level] = {}
        #: The keys of ``levels``, most urgent first.
        self.priorities: list[int] = []
        self.delayed: list[tuple[float, int, Entry]] = []
        # What one claim granted ends at one time, so it is one item of the heap: a push a batch, not a push a message.
        self.grants: list[tuple[float, int, dict[str, Entry]]] = []
        #: How many grants in the heap have nothing left in them.
        self.stale = 0
        self.leased = 0
        self.dead: OrderedDict[str, DeadMessage] = OrderedDict()
        #: The order of the entry that became ready last.
        self.newest = 0
        self.waiters: set[Waiter] = set()

    def turn(self, now: float) -> None:
        """Make ready what became so until ``now``, in that order: delays that are over and leases that have ended."""
        delayed, grants = self.delayed, self.grants
        while True:
            due = delayed[0][0] if delayed else float("inf")
            if grants and grants[0][0] <= now and grants[0][0] <= due:
                self._lapse(heapq.heappop(grants))
            elif due <= now:
                entry = heapq.heappop(delayed)[2]
                entry.state = READY
                self._line_up(entry)
            else:
                return

    def _lapse(self, ended: tuple[float, int, dict[str, Entry]]) -> None:
        end, _, grant = ended
        if not grant:
            self.stale -= 1
            return
        self.leased -= len(grant)
        for entry in grant.values():
            entry.state = LAPSED
            entry.at = end
            entry.grant = None
            self._line_up(entry)

    def _line_up(self, entry: Entry) -> None:
        priority = entry.message.priority
        level = self.levels.get(priority)
        if level is None:
            level = self.levels[priority] = Level()
            self.priorities = sorted(self.levels, reverse=True)
        self.newest = entry.order = next(ORDER)
        level.line_of(entry)[entry.message.id] = entry

    def _leave_line(self, entry: Entry) -> None:
        del self.levels[entry.message.priority].line_of(entry)[entry.message.id]

    def add(self, entry: Entry, delay: float, now: float) -> None:
        """Put in an entry that is nowhere now; wakes who waits."""
        entry.receipt = None
        if delay > 0:
            entry.state = DELAYED
            entry.at = now + delay
            heapq.heappush(self.delayed, (entry.at, next(ORDER), entry))
        else:
            entry.state = READY
            entry.at = now
            self._line_up(entry)
        if self.waiters:
            self.wake()

    def grant(self, entries: dict[str, Entry], end: float) -> None:
        """Lease the entries, which are nowhere now, until ``end``."""
        self.leased += len(entries)
        heapq.heappush(self.grants, (end, next(ORDER), entries))
        if self.waiters:
            self.wake(later_than=end)

    def end_lease(self, entry: Entry) -> None:
        """Take a leased entry, or one whose lease has lapsed, out of the queue."""
        grant = entry.grant
        if grant is None:
            self._leave_line(entry)
            return
        del grant[entry.message.id]
        entry.grant = None
        self.leased -= 1
        if not grant:
            self.stale += 1
            if self.stale > 64 and self.stale * 2 > len(self.grants):
                self.grants = [item for item in self.grants if item[2]]
                heapq.heapify(self.grants)
                self.stale = 0

    def waiting(self) -> Iterator[Entry]:
        """What is ready, in the order of delivery, then what is delayed, by its time."""
        yield from self.ready()
        for _, _, entry in sorted(self.delayed):
            yield entry

    def ready(self) -> Iterator[Entry]:
        """What is ready, in the order of delivery."""
        for priority in self.priorities:
            yield from self.levels[priority]

    def in_state(self, state: str) -> Iterable[Entry]:
        """The entries in one state, in the order in which that state ends."""
        if state == READY:
            return self.ready()
        if state == DELAYED:
            return [entry for _, _, entry in sorted(self.delayed)]
        return [entry for _, _, grant in sorted(self.grants, key=lambda item: item[:2]) for entry in grant.values()]

    def take_out(self, entries: Iterable[Entry]) -> None:
        """Remove ready and delayed entries."""
        delayed = set()
        for entry in entries:
            if entry.state == DELAYED:
                delayed.add(entry.message.id)
            else:
                self._leave_line(entry)
        if delayed:
            self.delayed = [item for item in self.delayed if item[2].message.id not in delayed]
            heapq.heapify(self.delayed)

    def take_in(self, entries: Iterable[Entry]) -> None:
        """Add entries of another queue as they are: ready, lapsed or delayed."""
        ready = list(self.ready())
        self.levels, self.priorities = {}, []
        for entry in entries:
            entry.queue = self
            if entry.state == DELAYED:
                heapq.heappush(self.delayed, (entry.at, next(ORDER), entry))
            else:
                ready.append(entry)
        for entry in sorted(ready, key=lambda entry: (entry.at, entry.order)):
            self._line_up(entry)
        self.wake()

    def bury(self, entry: Entry, action: DeadLetter, now: float) -> list[str]:
        """Keep the entry, which is nowhere now, as a dead letter; returns the ids that had to make room."""
        self.dead[entry.message.id] = DeadMessage(
            message=entry.message,
            reason=action.reason,
            detail=action.detail,
            attempt=entry.attempt,
            crashes=entry.crashes,
            run=entry.run,
            died_at=now,
            queue=self.name,
        )
        return self.forget_dead(now)

    def forget_dead(self, now: float) -> list[str]:
        """Drop dead letters over age or number; returns their ids."""
        forgotten: list[str] = []
        while self.dead:
            oldest = next(iter(self.dead.values()))
            if len(self.dead) <= DEAD_LIMIT and oldest.died_at > now - DEAD_TTL:
                break
            forgotten.append(oldest.message.id)
            self.dead.popitem(last=False)
        return forgotten

    def occupied(self) -> bool:
        """Whether there is anything in any state."""
        return bool(self.leased or self.delayed or self.dead or any(self.levels.values()))

    def depth(self, now: float) -> QueueDepth:
        """How much there is, by state."""
        heads = [next(iter(level)).at for level in self.levels.values() if level]
        return QueueDepth(
            ready=sum(map(len, self.levels.values())),
            delayed=len(self.delayed),
            leased=self.leased,
            dead=len(self.dead),
            oldest_ready_age=max(0.0, now - min(heads)) if heads else None,
        )

    def has_news(self, since: int) -> bool:
        """Whether there is something to claim: a suspect counts only when it became ready after ``since``, because
        the one who asks left the older ones where they are."""
        return any(level.clean for level in self.levels.values()) or (
            self.newest > since and any(level.suspects for level in self.levels.values())
        )

    def next_time(self) -> float:
        """When the next delay or lease ends; infinity when there is none."""
        while self.grants and not self.grants[0][2]:
            heapq.heappop(self.grants)
            self.stale -= 1
        return min(
            self.delayed[0][0] if self.delayed else float("inf"), self.grants[0][0] if self.grants else float("inf")
        )

    def wake(self, later_than: float = -1.0) -> None:
        """Wake all who wait for this queue and would sleep beyond ``later_than``."""
        for waiter in [waiter for waiter in self.waiters if waiter.until > later_than]:
            self.waiters.discard(waiter)
            waiter.wake()
