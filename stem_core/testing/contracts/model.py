"""The oracle: a broker as the contract tells it, in plain lists, without anything that makes a broker fast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from stem_core.model import (
    Ack,
    Action,
    DeadLetter,
    Delivery,
    Message,
    QueueDepth,
    Receipt,
    Release,
    Retry,
    Subscription,
)

#: Two times may differ by so many seconds, for stores that count in whole parts of one.
TOLERANCE = 1e-3

READY, DELAYED, LEASED, DEAD = "ready", "delayed", "leased", "dead"


@attrs.define
class Item:
    """One message, and what is known of it."""

    message: Message
    queue: str
    state: str
    #: As in :class:`~stem_core.model.StoredMessage`.
    at: float
    #: At least so many claims; exactly, where :attr:`run_known`.
    run: int
    run_known: bool
    attempt: int = 1
    crashes: int = 0
    first_delivered_at: float | None = None
    #: The receipt of the newest grant while it is good.
    receipt: Receipt | None = None

    def lapsed(self, now: float) -> bool:
        """Whether the lease is over and nobody else has it yet."""
        return self.state == LEASED and self.at <= now

    def ready(self, now: float) -> bool:
        """Whether it can be claimed."""
        return self.state == READY or (self.state in {DELAYED, LEASED} and self.at <= now)

    def suspect(self, now: float) -> bool:
        """Whether the next delivery has crashes."""
        return self.crashes > 0 or self.lapsed(now)

    def shown_state(self, now: float) -> str:
        """The state as people see it."""
        return READY if self.ready(now) else self.state


class Model:
    """What a broker has to hold and answer. Times are the store's."""

    def __init__(self, window: float) -> None:
        self.window = window
        self.items: dict[str, Item] = {}
        #: Finished ids: until when they are remembered.
        self.markers: dict[str, float] = {}
        #: Runs that the next life of an id goes on from, and until when that is certain.
        self.runs: dict[str, tuple[int, float]] = {}
        #: Tokens of receipts that settled: of which id, and until when a repetition is certainly done.
        self.settled: dict[str, tuple[str, float]] = {}
        #: Tokens of which ``done`` and ``lost`` are both true: what they settled was undone by hand since.
        self.vague: set[str] = set()
        self.tokens: set[str] = set()

    # What changes it

    def publish(self, messages: Iterable[Message], now: float) -> None:
        """Store what is new."""
        for message in messages:
            job = message.id
            if job in self.items or self.markers.get(job, 0.0) > now:
                continue
            run, certain_until = self.runs.get(job, (0, 0.0))
            known = job not in self.runs or certain_until > now
            self.items[job] = Item(
                message=message,
                queue=message.queue,
                state=DELAYED if message.delay > 0 else READY,
                at=now + max(0.0, message.delay),
                run=run if known else 0,
                run_known=known,
            )

    def settle(self, receipt: Receipt, action: Action, now: float) -> set[str]:
        """Apply it; the kinds of verdict that are right."""
        item = self.items.get(receipt.id)
        if item is None or item.receipt is None or item.receipt.token != receipt.token:
            return self._again(receipt, now)
        item.receipt = None
        self.settled[receipt.token] = (receipt.id, now + self.window)
        match action:
            case Ack():
                del self.items[receipt.id]
                self.markers[receipt.id] = now + self.window
                self.runs[receipt.id] = (item.run, 0.0)
            case DeadLetter():
                item.state, item.at = DEAD, now
            case Retry(delay=delay):
                item.attempt += 1
                item.first_delivered_at = None
                self._wait(item, delay, now)
            case Release(delay=delay, charge=charge):
                item.crashes += charge
                self._wait(item, delay, now)
        return {"done"}

    def _wait(self, item: Item, delay: float, now: float) -> None:
        item.state = DELAYED if delay > 0 else READY
        item.at = now + max(0.0, delay)

    def _again(self, receipt: Receipt, now: float) -> set[str]:
        if receipt.token in self.vague:
            return {"done", "lost"}
        return {"done"} if self.settled.get(receipt.token, ("", 0.0))[1] > now else {"lost"}

    def extend(self, receipt: Receipt, lease: float, now: float) -> set[str]:
        """Let the lease end later; the kinds of verdict that are right."""
        item = self.items.get(receipt.id)
        if item is None or item.receipt is None or item.receipt.token != receipt.token:
            return {"lost"}
        item.at = now + lease
        return {"done"}

    def purge(self, queue: str, now: float) -> int:
        """Remove what is ready or delayed; how many."""
        gone = self.waiting(queue, now)
        for item in gone:
            self._forget(item, now)
        return len(gone)

    def remove(self, ids: Sequence[str], now: float) -> list[str]:
        """Remove some of what is ready or delayed, and mark the ids; which."""
        gone = [job for job in dict.fromkeys(ids) if job in self.items and self._waits(self.items[job], now)]
        for job in gone:
            self._forget(self.items[job], now)
            self.markers[job] = now + self.window
        return gone

    def move(self, queue: str, other: str, now: float) -> int:
        """Put what is ready or delayed into another queue; how many."""
        moved = self.waiting(queue, now)
        for item in moved:
            item.queue = other
        return len(moved)

    def replay(self, ids: Sequence[str], now: float) -> list[str]:
        """Put dead letters back; which."""
        back = [job for job in dict.fromkeys(ids) if job in self.items and self.items[job].state == DEAD]
        for job in back:
            item = self.items[job]
            item.state, item.at, item.attempt, item.crashes, item.first_delivered_at = READY, now, 1, 0, None
            self._blur(job)
        return back

    def purge_dead(self, queue: str, ids: Sequence[str] | None, now: float) -> int:
        """Throw dead letters away; how many."""
        gone = [item for item in self.dead(queue) if ids is None or item.message.id in ids]
        for item in gone:
            self._forget(item, now)
        return len(gone)

    def _forget(self, item: Item, now: float) -> None:
        job = item.message.id
        del self.items[job]
        self.runs[job] = (item.run, now + self.window if item.run_known else 0.0)
        self._blur(job)

    def _blur(self, job: str) -> None:
        self.vague |= {token for token, (owner, _) in self.settled.items() if owner == job}

    def claim(
        self,
        deliveries: Sequence[Delivery],
        subscription: Subscription,
        limit: int,
        suspects: int,
        lease: float,
        *,
        now: float,
    ) -> None:
        """See that a claim gave what it had to, in an order that is right, and take note of it.

        Messages of one priority that became ready at one time may come in any order.
        """
        left = list(deliveries)
        for queue, most in subscription.plan(limit):
            room = min(most, limit - (len(deliveries) - len(left)))
            while room > 0 and (first := self._first(queue, suspects, now)):
                assert left, f"{queue} holds {sorted(first)} and was not asked for more than {limit}, but gave no more"
                delivery = left.pop(0)
                job = delivery.message.id
                assert job in first, f"{job} came from {queue} before {sorted(first)}"
                suspects -= first[job].suspect(now)
                self._grant(first[job], delivery, lease, now)
                room -= 1
        assert not left, f"{[one.message.id for one in left]} must not be delivered now"

    def _first(self, queue: str, suspects: int, now: float) -> dict[str, Item]:
        """What may be delivered next."""
        ready = [
            item
            for item in self.items.values()
            if item.queue == queue and item.ready(now) and (suspects > 0 or not item.suspect(now))
        ]
        best = min(((-item.message.priority, item.at) for item in ready), default=None)
        return {item.message.id: item for item in ready if (-item.message.priority, item.at) == best}

    def _grant(self, item: Item, delivery: Delivery, lease: float, now: float) -> None:
        receipt, sent = delivery.receipt, item.message
        item.crashes += item.lapsed(now)
        if item.first_delivered_at is None:
            item.first_delivered_at = now
        assert receipt.run > item.run, f"{sent.id}: the run went from {item.run} to {receipt.run}"
        assert receipt.run == item.run + 1 or not item.run_known, sent.id
        assert receipt.token not in self.tokens, f"the token {receipt.token} was granted before"
        got = delivery.message
        assert (got.queue, got.priority) == (sent.queue, sent.priority)
        assert (got.header, got.payload) == (sent.header, sent.payload)
        assert (delivery.attempt, delivery.crashes) == (item.attempt, item.crashes), sent.id
        assert abs(delivery.first_delivered_at - item.first_delivered_at) < TOLERANCE
        assert abs(delivery.now - now) < TOLERANCE
        item.state, item.at, item.receipt = LEASED, now + lease, receipt
        item.run, item.run_known = receipt.run, True
        self.tokens.add(receipt.token)

    # What it answers

    def waiting(self, queue: str, now: float) -> list[Item]:
        """What is ready or delayed."""
        return [item for item in self.items.values() if item.queue == queue and self._waits(item, now)]

    def _waits(self, item: Item, now: float) -> bool:
        return item.state in {READY, DELAYED} or item.lapsed(now)

    def dead(self, queue: str) -> list[Item]:
        """The dead letters."""
        return [item for item in self.items.values() if item.queue == queue and item.state == DEAD]

    def depth(self, queue: str, now: float) -> QueueDepth:
        """How much there is, by state."""
        items = [item for item in self.items.values() if item.queue == queue]
        ready = [item.at for item in items if item.ready(now)]
        states = [item.shown_state(now) for item in items]
        return QueueDepth(
            ready=len(ready),
            delayed=states.count(DELAYED),
            leased=states.count(LEASED),
            dead=states.count(DEAD),
            oldest_ready_age=now - min(ready) if ready else None,
        )
