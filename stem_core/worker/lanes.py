"""Lanes: how many of each queue may be held at once. Counting, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from stem_core.model import Subscription
from stem_core.model._value import value


@value
class LaneRules:
    """What is reserved for queues, and what they are limited to: slots by name of the queue."""

    reserve: Mapping[str, int]
    limit: Mapping[str, int]

    def __bool__(self) -> bool:
        return bool(self.reserve or self.limit)

    def widened(self, slots: int, prefetch: int) -> LaneRules:
        """The same for slots and prefetch together: each lane gets the share of the prefetch that it has of the slots.

        Reserves are rounded down, so that they fit in, and limits up, so that a small lane is held ready too.
        """
        return LaneRules(
            reserve={queue: count + prefetch * count // slots for queue, count in self.reserve.items()},
            limit={queue: count + -(-prefetch * count // slots) for queue, count in self.limit.items()},
        )


class Lanes:
    """Counts what is held of each queue within a room of ``size``, and says what else may come in.

    A queue with a reserve of r can always have r of the room: others leave it free. One with a limit never has more.
    """

    def __init__(self, rules: LaneRules, size: int) -> None:
        self.counts: Counter[str] = Counter()
        self.total = 0
        #: What is held and what is kept free for reserves, together: the sum of max(held, reserve) of all queues.
        self.taken = 0
        self.resize(rules, size)

    def resize(self, rules: LaneRules, size: int) -> None:
        """From now on these rules in a room of this size. What is held stays, even where it is too much."""
        self.size = size
        self._reserve, self._limit = rules.reserve, rules.limit
        queues = {*self.counts, *self._reserve}
        self.taken = sum(max(self.counts[queue], self._reserve.get(queue, 0)) for queue in queues)

    @property
    def shared(self) -> int:
        """How many more may come in of any queue, without touching what is kept free for reserves."""
        return max(0, self.size - self.taken)

    def owed(self, queue: str) -> int:
        """How much of its reserve the queue does not hold."""
        return max(0, self._reserve.get(queue, 0) - self.counts[queue])

    def room(self, queue: str) -> int:
        """How many more of this queue may come in."""
        most = min(self.size - self.total, self.owed(queue) + self.shared)
        limit = self._limit.get(queue)
        if limit is not None:
            most = min(most, limit - self.counts[queue])
        return max(0, most)

    def most(self, queue: str) -> int:
        """How many of this queue there can be at all, were all else gone."""
        others = sum(count for name, count in self._reserve.items() if name != queue)
        return max(0, min(self.size - others, self._limit.get(queue, self.size)))

    def full(self, queue: str) -> bool:
        """Whether this queue holds all that its limit lets it have."""
        limit = self._limit.get(queue)
        return limit is not None and self.counts[queue] >= limit

    def enter(self, queue: str) -> None:
        """One of this queue has come in."""
        if self.counts[queue] >= self._reserve.get(queue, 0):
            self.taken += 1
        self.counts[queue] += 1
        self.total += 1

    def leave(self, queue: str) -> None:
        """One of this queue has gone."""
        self.counts[queue] -= 1
        self.total -= 1
        if self.counts[queue] >= self._reserve.get(queue, 0):
            self.taken -= 1


class LaneClaims:
    """What a worker with lanes asks its broker for: never more of a queue than its lane may hold."""

    def __init__(self, running: Lanes, held: Lanes) -> None:
        self._running = running
        self._held = held

    def worth(self, queue: str) -> int:
        """How many of this queue to ask for now; 0 while a claim would not be worth it.

        Few large claims: a quarter of what can be held has to be free, unless a slot would stay empty for it.
        """
        room = self._held.room(queue)
        return room if room * 4 >= self._held.most(queue) or self._running.room(queue) else 0

    def wanted(self, reading: Subscription) -> Subscription:
        """The queues that are worth asking for, each with the most to ask of it."""
        return reading.capped({queue: self.worth(queue) for queue in reading.queues})

    @property
    def shared(self) -> int:
        """The most that a claim of several queues may bring, or it could take what is kept free for another."""
        return self._held.shared

    def owed(self, wanted: Subscription, brought: Iterable[str]) -> Subscription:
        """What is asked for next, after a claim that brought one each of these queues: what reserves are still owed.

        Of this each queue may bring all that its cap says, whatever the others do.
        """
        came = Counter(brought)
        owed = {queue: min(self._held.owed(queue), self._held.room(queue)) for queue in wanted.queues}
        return wanted.capped({queue: count - came[queue] for queue, count in owed.items()})
