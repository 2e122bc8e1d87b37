"""The broker of ``memory://``: for tests, for bursts inside one process, and the fastest there can be."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stem_core.builtin.memory_backend import MemoryBackend
from stem_core.builtin.memory_channels import Listener
from stem_core.builtin.memory_inspection import MemoryInspection
from stem_core.builtin.memory_queue import ORDER
from stem_core.builtin.memory_store import MemoryStore, store_for
from stem_core.builtin.waiter import Waiter
from stem_core.clock import Clock
from stem_core.contracts import Broadcasts, Broker, SettlesWithResults, StoreContext, TellsTime
from stem_core.model import Delivery, Message, QueueDepth, Receipt, Settlement, Subscription, TaskStatus, Verdict


@asynccontextmanager
async def open_broker(context: StoreContext) -> AsyncIterator[Broker]:
    """Open the broker of a name; all that open one name in this process share its messages."""
    broker = MemoryBroker(store_for(context), context.clock, context.dedupe_window)
    try:
        yield broker
    finally:
        await broker.close()


class MemoryBroker(MemoryInspection, SettlesWithResults, Broadcasts, TellsTime, Broker):
    """One session on a :class:`~stem_core.builtin.memory_store.MemoryStore`. Every verb is one hold of its lock."""

    def __init__(self, store: MemoryStore, clock: Clock, dedupe_window: float) -> None:
        super().__init__(store, clock, dedupe_window)
        self._listeners: list[Listener] = []
        #: When this session claimed last of each queue, in the numbers that order what is ready.
        self._seen: dict[str, int] = {}

    async def close(self) -> None:
        """End what listens; the messages stay."""
        for listener in self._listeners:
            await listener.aclose()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Refuses a delay that is no finite number."""
        with self._store.lock:
            self._store.publish(messages, self._clock.now())

    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        """Never awaits, so it is done at once."""
        with self._store.lock:
            self._seen.update(dict.fromkeys(subscription.queues, next(ORDER)))
            return self._store.receive(subscription, limit, lease, suspects, self._clock.now())

    async def wait_for_work(self, subscription: Subscription, timeout: float) -> None:
        """Everybody who waits for a queue is woken by what becomes ready in it, so no wake has to be passed on."""
        store, now = self._store, self._clock.now()
        with store.lock:
            queues = [store.queue(name, now) for name in subscription.queues]
            if timeout <= 0 or any(queue.has_news(self._seen.get(queue.name, 0)) for queue in queues):
                return
            waiter = Waiter(min([now + timeout, *(queue.next_time() for queue in queues)]))
            for queue in queues:
                queue.waiters.add(waiter)
        try:
            await waiter.sleep(waiter.until - now)
        finally:
            with store.lock:
                for queue in queues:
                    queue.waiters.discard(waiter)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """Refuses a delay that is no finite number."""
        with self._store.lock:
            return self._store.settle(settlements, itertools.repeat(None), self._clock.now(), self._window)

    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        """One item of the lease heap for the whole batch."""
        with self._store.lock:
            return self._store.extend(receipts, lease, self._clock.now())

    async def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """Counted when asked."""
        now = self._clock.now()
        with self._store.lock:
            return {name: self._queue(name, now).depth(now) for name in queues}

    async def queues(self) -> list[str]:
        """Names of queues that hold something."""
        now = self._clock.now()
        with self._store.lock:
            return sorted(name for name in self._store.queues if self._queue(name, now).occupied())

    async def now(self) -> float:
        """By the clock of this process."""
        return self._clock.now()

    async def send(self, channel: str, message: bytes, ttl: float) -> None:
        """Kept in the store's own list until the time is over."""
        with self._store.lock:
            self._store.channels.send(channel, message, ttl, self._clock.now())

    def listen(self, channels: Sequence[str], since: float | None = None) -> AsyncIterator[tuple[str, bytes]]:
        """Listens from this call on. The iterator has ``aclose()``, and ends with the broker's session."""
        store = self._store
        listener = Listener(store.channels, store.lock, channels)
        with store.lock:
            store.channels.join(listener, since, self._clock.now())
        self._listeners.append(listener)
        return listener

    def shares_store(self, backend: object) -> bool:
        """True for a backend of the same name and namespace in this process."""
        return isinstance(backend, MemoryBackend) and backend.store is self._store

    async def settle_with_results(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None]
    ) -> list[Verdict]:
        """One hold of the lock for all."""
        if len(settlements) != len(statuses):
            raise ValueError(f"{len(settlements)} settlements with {len(statuses)} statuses")
        with self._store.lock:
            return self._store.settle(settlements, statuses, self._clock.now(), self._window)
