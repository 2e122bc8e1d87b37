"""The broker of ``redis://``."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence

from stem_core.contracts import Broadcasts, Broker, SettlesWithResults
from stem_core.errors import StoreRefused
from stem_core.model import Delivery, Message, QueueDepth, Receipt, Settlement, Subscription, TaskStatus, Verdict
from stem_redis.backend import RedisBackend
from stem_redis.broadcasting import Listener, send
from stem_redis.claiming import Claimer
from stem_redis.facets import RedisFacets
from stem_redis.publishing import Publisher
from stem_redis.settling import DEAD_KEPT, Settler
from stem_redis.store import Store, TellsServerTime


class RedisBroker(RedisFacets, TellsServerTime, SettlesWithResults, Broadcasts, Broker):
    """One session on the messages of one namespace."""

    def __init__(self, store: Store, namespace: str, dedupe_window: float) -> None:
        super().__init__(store, namespace, dedupe_window)
        self._publisher = Publisher(store, self._keys)
        self._claimer = Claimer(store, self._keys)
        self._settler = Settler(store, self._keys, dedupe_window)
        self._listeners: set[Listener] = set()

    async def close(self) -> None:
        """End what listens and waits."""
        for listener in self._listeners:
            await listener.aclose()
        await self._publisher.close()
        await self._claimer.close()

    async def publish(self, messages: Sequence[Message]) -> None:
        """What is published in one turn of the loop shares script calls of up to 250 messages.

        Refuses a delay that is no finite number.
        """
        for message in messages:
            if not message.delay < math.inf:
                raise StoreRefused(
                    f"message {message.id} has a delay of {message.delay} seconds", hint="give a finite number"
                )
        await self._publisher.publish(messages)

    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        """One script call for up to 1,000 messages of all queues."""
        return await self._claimer.receive(subscription, limit, lease, suspects)

    async def wait_for_work(self, subscription: Subscription, timeout: float) -> None:
        """A blocking read of the queues' wake keys, for at most a second."""
        await self._claimer.wait(subscription, timeout)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """A delay that is no finite number is ``refused``."""
        return await self._settler.settle(settlements, None)

    def shares_store(self, backend: object) -> bool:
        """True for a backend on the same server, database and namespace, opened on the same event loop."""
        return isinstance(backend, RedisBackend) and backend.lives_in(self._store, self._keys.namespace)

    async def settle_with_results(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None]
    ) -> list[Verdict]:
        """One script call a queue and 500 items; one publication for each session that waits for some of them."""
        if len(settlements) != len(statuses):
            raise ValueError(f"{len(settlements)} settlements with {len(statuses)} statuses")
        return await self._settler.settle(settlements, statuses)

    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        """One script call a queue and 500 items."""
        return await self._settler.extend(receipts, lease)

    async def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """By the sizes of the keys, however much they hold."""
        depths = {}
        for queue, found in zip(queues, await self._gathered("depth", queues, DEAD_KEPT), strict=True):
            ready, delayed, leased, dead, age = found
            depths[queue] = QueueDepth(
                ready=ready,
                delayed=delayed,
                leased=leased,
                dead=dead,
                oldest_ready_age=None if age is None else max(0, age) / 1000,
            )
        return depths

    async def queues(self) -> list[str]:
        """Looks at the sizes of all queues that held something lately."""
        names = [name.decode() for name in await self._store.commands.call("SMEMBERS", self._keys.queues)]
        found = await self._gathered("depth", names, DEAD_KEPT)
        return sorted(name for name, counts in zip(names, found, strict=True) if any(counts[:4]))

    async def send(self, channel: str, message: bytes, ttl: float) -> None:
        """Kept in the channel's stream until its time is over."""
        await send(self._store, self._keys, channel, message, ttl)

    def listen(self, channels: Sequence[str], since: float | None = None) -> AsyncIterator[tuple[str, bytes]]:
        """Listens from this call on. The iterator has ``aclose()``, and ends with the broker's session."""
        listener = Listener(self._store, self._keys, channels, since)
        self._listeners.add(listener)
        return listener
