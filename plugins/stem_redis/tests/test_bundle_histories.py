"""Histories that chance makes up of messages that share entries of the stream, beside a model of what has to be there.

A failure tells its step, and comes again with its seed. ``STEM_TEST_BUNDLE_SEEDS=200`` tries more of them.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from stem_core.clock import SYSTEM_CLOCK
from stem_core.model import ACK, Delivery, Message, Release, Settlement, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, OpenedStore, kinds, message
from stem_redis.broker import RedisBroker
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]

SEEDS = range(int(os.environ.get("STEM_TEST_BUNDLE_SEEDS", "10")))
STEPS = 300
QUEUES = ("default", "other", "third")

# Messages that are published together, and bytes of a body; an entry has at most 16, of 4,000 together.
BATCHES = (1, 1, 2, 3, 5, 15, 16, 17, 40) * 10 + (300,)
SIZES = (1, 10, 10, 10, 300, 300, 2000, 5000)


class Model:
    """What has to be in the queues."""

    def __init__(self) -> None:
        self.sent: dict[str, Message] = {}
        self.ready: dict[str, list[str]] = {queue: [] for queue in QUEUES}
        #: Ready too, after a crash. A claim takes no more of them than it was told to.
        self.suspects: dict[str, set[str]] = {queue: set() for queue in QUEUES}
        #: With the times at which the leases end.
        self.held: dict[str, tuple[Delivery, float]] = {}
        self.done: set[str] = set()
        self.runs = Counter[str]()

    def clean(self, queue: str) -> list[str]:
        """What is ready and no suspect, in the order of delivery."""
        return sorted(self.ready[queue], key=lambda one: -self.sent[one].priority)

    def depth(self, queue: str) -> tuple[int, int]:
        """How many are ready, and how many are held."""
        held = sum(one.receipt.queue == queue for one, _ in self.held.values())
        return len(self.ready[queue]) + len(self.suspects[queue]), held

    def grant(self, queue: str, claimed: Sequence[Delivery], deadline: float) -> None:
        """See that these were the next of the queue, and hold them."""
        expected, got = self.clean(queue), [one.message.id for one in claimed if not one.crashes]
        assert got == expected[: len(got)]
        # Where a suspect stands among those of its priority is a matter of other tests.
        order = [one.message.priority for one in claimed] + [self.sent[id].priority for id in expected[len(got) :]]
        assert order == sorted(order, reverse=True)
        taken = set(got)
        self.ready[queue] = [id for id in self.ready[queue] if id not in taken]
        for one in claimed:
            id = one.message.id
            if one.crashes:
                assert id in self.suspects[queue]
                self.suspects[queue].remove(id)
            assert id not in self.held
            assert id not in self.done
            assert one.message == self.sent[id]
            self.runs[id] += 1
            assert one.receipt.run == self.runs[id]
            self.held[id] = (one, deadline)

    def settle(self, settlement: Settlement) -> None:
        one, _ = self.held.pop(settlement.receipt.id)
        if settlement.action is ACK:
            self.done.add(one.message.id)
        elif one.crashes:
            self.suspects[one.receipt.queue].add(one.message.id)
        else:
            self.ready[one.receipt.queue].append(one.message.id)

    def end_leases(self, now: float) -> None:
        for id, (one, deadline) in list(self.held.items()):
            if deadline <= now:
                del self.held[id]
                self.suspects[one.receipt.queue].add(id)


class History:
    """Two sessions on one server, and the model beside them."""

    def __init__(self, brokers: Sequence[RedisBroker], server: RedisServer, seed: int, clock: FakeClock | None) -> None:
        self.model, self.chance = Model(), random.Random(seed)
        self._brokers, self._server, self._clock = brokers, server, clock
        # The scripts have a shorter way for a queue of one priority.
        self._priorities = (5, 5, 5, 2, 8) if seed % 2 else (5,)

    @property
    def broker(self) -> RedisBroker:
        return self.chance.choice(self._brokers)

    def wait(self, seconds: float) -> float:
        """The time after that. By the clock of the server no time passes that matters to a lease."""
        if self._clock:
            self._clock.advance(seconds)
        now = self._clock.now() if self._clock else 0.0
        self.model.end_leases(now)
        return now

    async def publish(self) -> None:
        queue, priority, batch = self.chance.choice(QUEUES), self.chance.choice(self._priorities), list[Message]()
        # Only neighbours of one queue and priority share an entry.
        for _ in range(self.chance.choice(BATCHES)):
            if self.chance.random() < 0.1:
                queue = self.chance.choice(QUEUES)
            if self.chance.random() < 0.1:
                priority = self.chance.choice(self._priorities)
            id = f"m{len(self.model.sent):05}"
            payload = id.encode() + b"x" * self.chance.choice(SIZES)
            self.model.sent[id] = message(id, queue=queue, priority=priority, payload=payload)
            self.model.ready[queue].append(id)
            batch.append(self.model.sent[id])
        await self.broker.publish(batch)
        if self.chance.random() < 0.2:
            await self.broker.publish(batch)

    async def receive(self, subscription: Subscription, limit: int, suspects: int) -> list[Delivery]:
        clean = [len(self.model.ready[queue]) for queue in subscription.queues]
        suspected = min(suspects, sum(len(self.model.suspects[queue]) for queue in subscription.queues))
        claimed = await self.broker.receive(subscription, limit, LEASE, suspects=suspects)
        assert sum(one.crashes > 0 for one in claimed) <= suspected
        if caps := subscription.caps:
            # It depends on their order whether the caps leave room for the suspects.
            least = sum(map(min, clean, caps))
            assert min(limit, least) <= len(claimed) <= min(limit, least + suspected)
        else:
            assert len(claimed) == min(limit, sum(clean) + suspected)
        for queue, cap in zip(subscription.queues, caps or [limit] * len(clean), strict=True):
            of_queue = [one for one in claimed if one.receipt.queue == queue]
            assert len(of_queue) <= cap
            self.model.grant(queue, of_queue, self.wait(0.0) + LEASE)
        return claimed

    async def receive_of_one(self) -> None:
        limit = self.chance.choice([1, 1, 2, 3, 7, 16, 40, 500, 1500])
        await self.receive(Subscription.of(self.chance.choice(QUEUES)), limit, self.chance.choice([0, 1, 3]))

    async def receive_of_several(self) -> None:
        queues = tuple(self.chance.sample(QUEUES, self.chance.randint(2, 3)))
        weights = tuple(self.chance.randint(1, 4) for _ in queues)
        caps = tuple(self.chance.choice([1, 2, 5, 30]) for _ in queues) if self.chance.random() < 0.4 else ()
        subscription = Subscription(queues=queues, weights=weights, caps=caps)
        await self.receive(subscription, self.chance.choice([1, 2, 5, 7, 30, 100]), self.chance.choice([0, 1, 5]))

    async def settle(self, released: float = 0.2) -> None:
        count = min(len(self.model.held), self.chance.choice([1, 5, 50, 400]))
        receipts = [self.model.held[id][0].receipt for id in self.chance.sample(sorted(self.model.held), count)]
        actions = [Release() if self.chance.random() < released else ACK for _ in receipts]
        settlements = [Settlement(receipt=one, action=action) for one, action in zip(receipts, actions, strict=True)]
        assert kinds(await self.broker.settle(settlements)) == ["done"] * count
        for one in settlements:
            self.model.settle(one)

    async def remove(self) -> None:
        ready = self.model.ready[self.chance.choice(QUEUES)]
        removed = self.chance.sample(ready, min(len(ready), self.chance.choice([1, 2, 10])))
        assert sorted(await self.broker.remove(removed)) == sorted(removed)
        ready[:] = [id for id in ready if id not in removed]

    async def move(self) -> None:
        source, target = self.chance.sample(QUEUES, 2)
        assert await self.broker.move(source, target) == self.model.depth(source)[0]
        self.model.ready[target] += self.model.ready[source]
        self.model.suspects[target] |= self.model.suspects[source]
        self.model.ready[source].clear()
        self.model.suspects[source].clear()

    async def purge(self) -> None:
        queue = self.chance.choice(QUEUES)
        assert await self.broker.purge(queue) == self.model.depth(queue)[0]
        self.model.ready[queue].clear()
        self.model.suspects[queue].clear()

    async def peek(self) -> None:
        queue, size, found = self.chance.choice(QUEUES), self.chance.choice([3, 16, 19, 100, 500]), list[str]()
        suspects = self.model.suspects[queue]
        while page := await self.broker.peek(queue, limit=size, after=found[-1] if found else None):
            found += [one.message.id for one in page]
            assert len(page) <= size
            assert len(found) <= self.model.depth(queue)[0]
        assert [id for id in found if id not in suspects] == self.model.clean(queue)
        assert suspects <= set(found)
        some = self.chance.sample(found, min(len(found), 3))
        known = {id: (one.message, one.state) for id, one in (await self.broker.find(some)).items()}
        assert known == {id: (self.model.sent[id], "ready") for id in some}

    async def lose_the_group(self) -> None:
        queue, priority = self.chance.choice(QUEUES), self.chance.choice(self._priorities)
        self._server.command("XGROUP", "DESTROY", f"{{test:{queue}}}:p{priority}", "stem")

    async def forget_the_scripts(self) -> None:
        self._server.command("SCRIPT", "FLUSH")

    async def end_leases(self) -> None:
        self.wait(LEASE + 1.0)

    async def count(self) -> None:
        for queue, depth in (await self.broker.depth(QUEUES)).items():
            assert (depth.ready, depth.leased) == self.model.depth(queue), queue

    async def drain(self) -> None:
        for queue in QUEUES:
            while self.model.held or await self.receive(Subscription.of(queue), 100, 100):
                await self.settle(released=0.0)
        await self.count()
        for part in ("levels", "leases", "suspects", "aside", "extra", "picked", "p?"):
            assert self._server.command("KEYS", f"{{test:*}}:{part}") == b"*0\r\n", part


VERBS: dict[Callable[[History], Awaitable[None]], int] = {
    History.publish: 40, History.receive_of_one: 70, History.receive_of_several: 30, History.settle: 40,
    History.remove: 10, History.move: 5, History.purge: 1, History.peek: 15, History.count: 70,
    History.lose_the_group: 10, History.forget_the_scripts: 10, History.end_leases: 3,
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("turned", [True, False], ids=["turned clock", "clock of the server"])
async def test_every_history_is_as_the_model_tells_it(
    open_redis: OpenRedis, server: RedisServer, seed: int, turned: bool
) -> None:
    clock = FakeClock() if turned else None
    async with open_redis(clock or SYSTEM_CLOCK) as first, open_redis(clock or SYSTEM_CLOCK) as second:
        brokers = [one.broker for one in (first, second) if isinstance(one.broker, RedisBroker)]
        history = History(brokers, server, seed, clock)
        verbs = history.chance.choices([*VERBS], [*VERBS.values()], k=STEPS)
        for step, verb in enumerate([*verbs, History.drain]):
            try:
                history.wait(history.chance.choice([0.0, 0.125, 0.625, 3.0]))
                await verb(history)
            except Exception as error:
                error.add_note(f"seed {seed}, step {step}: {verb.__qualname__}")
                raise
