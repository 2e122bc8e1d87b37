"""The broker of ``sqlite://``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Sequence

import attrs

from stem_core.contracts import Broker, SettlesWithResults
from stem_core.errors import StoreRefused
from stem_core.model import (
    Delivery,
    Message,
    QueueDepth,
    Receipt,
    Release,
    Retry,
    Settlement,
    Subscription,
    TaskStatus,
    Verdict,
)
from stem_sqlite import claiming, inspecting, settling
from stem_sqlite.backend import SqliteBackend
from stem_sqlite.broadcasting import Listener, send
from stem_sqlite.database import LONGEST_WAIT, Database
from stem_sqlite.doorbell import WORK
from stem_sqlite.facets import SqliteFacets
from stem_sqlite.publishing import publish
from stem_sqlite.transaction import Transaction

#: The most that one publish transaction stores; more messages take several, so that others get their turn.
_MESSAGES, _BYTES = 2_500, 8 * 2**20


@attrs.define(kw_only=True)
class _Claim:
    """One call of ``receive``: looks first, and takes the write lock only when there is something to claim."""

    database: Database
    namespace: str
    subscription: Subscription
    limit: int
    suspects: int
    lease: float
    #: The suspects that were left lying.
    passed: dict[str, list[str]] = attrs.field(factory=dict)

    def worth(self, transaction: Transaction) -> bool:
        queues = self.subscription.queues
        self.passed = claiming.suspects_in(transaction, self.namespace, queues)
        # A suspect is worth a claim only to whoever may have one.
        soon = claiming.next_ready(transaction, self.namespace, queues, {} if self.suspects > 0 else self.passed)
        return soon is not None and soon <= self.database.clock.now()

    def run(self, transaction: Transaction) -> list[Delivery]:
        deliveries = claiming.claim(
            transaction,
            self.namespace,
            self.subscription,
            limit=self.limit,
            suspects=self.suspects,
            lease=self.lease,
            now=self.database.clock.now(),
        )
        self.passed = claiming.suspects_in(transaction, self.namespace, self.subscription.queues)
        return deliveries


class SqliteBroker(SqliteFacets, SettlesWithResults, Broker):
    """One session on the messages of one namespace. Calls that wait at the same time share one commit."""

    def __init__(self, database: Database, namespace: str, dedupe_window: float) -> None:
        super().__init__(database, namespace, dedupe_window)
        self._listeners: set[Listener] = set()
        #: The suspects that the last claim of each queue left lying there. One look may be several claims, each of
        #: other queues.
        self._passed: dict[str, list[str]] = {}

    async def close(self) -> None:
        """End what listens."""
        for listener in self._listeners:
            await listener.aclose()

    async def publish(self, messages: Sequence[Message]) -> None:
        """In transactions of at most 2,500 messages. Refuses a delay that is no finite number."""
        for message in messages:
            if not message.delay < math.inf:
                raise StoreRefused(
                    f"message {message.id} has a delay of {message.delay} seconds", hint="give a finite number"
                )
        portions = list(_portions(messages))
        if len(portions) == 1:
            # Nearly always; a gather would be a quarter of what publishing one message costs.
            await self._publish(portions[0])
        else:
            await asyncio.gather(*map(self._publish, portions))

    async def _publish(self, messages: Sequence[Message]) -> None:
        await self._database.write_items(self._store, messages, weight=2 * len(messages))

    def _store(self, transaction: Transaction, messages: Sequence[Message]) -> None:
        publish(transaction, self._namespace, self._now(), messages)

    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        """An empty-handed call writes nothing."""
        if limit <= 0:
            return []
        claim = _Claim(
            database=self._database,
            namespace=self._namespace,
            subscription=subscription,
            limit=limit,
            suspects=suspects,
            lease=lease,
        )
        deliveries: list[Delivery] = await self._database.write(claim.run, weight=limit, worth=claim.worth, idle=[])
        self._passed.update(claim.passed)
        return deliveries

    async def wait_for_work(self, subscription: Subscription, timeout: float) -> None:
        """Every waiting process is woken by each commit that makes something ready, so no wake has to be passed on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        passed = {queue: self._passed.get(queue, []) for queue in subscription.queues}
        with self._database.attention(WORK) as attention:
            while True:
                attention.clear()
                soon = await self._database.read(
                    lambda tx: claiming.next_ready(tx, self._namespace, subscription.queues, passed)
                )
                if soon is not None:
                    deadline = min(deadline, loop.time() + soon - self._now())
                left = deadline - loop.time()
                if left <= 0 or await attention.wait(min(left, LONGEST_WAIT)):
                    return

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """A delay that is no finite number is ``refused``."""
        return await self._settle(settlements, None)

    def shares_store(self, backend: object) -> bool:
        """True for a backend on the same database and namespace, opened on the same event loop."""
        return isinstance(backend, SqliteBackend) and backend.lives_in(self._database, self._namespace)

    async def settle_with_results(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None]
    ) -> list[Verdict]:
        """One commit for all."""
        if len(settlements) != len(statuses):
            raise ValueError(f"{len(settlements)} settlements with {len(statuses)} statuses")
        return await self._settle(settlements, statuses)

    async def _settle(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None] | None
    ) -> list[Verdict]:
        if not settlements:
            return []

        def run(transaction: Transaction) -> list[Verdict]:
            call = settling.Settling(namespace=self._namespace, now=self._now(), window=self._window)
            return call.settle(transaction, good, results)

        bad = {position: error for position, one in enumerate(settlements) if (error := _unfit(one))}
        good = [one for position, one in enumerate(settlements) if position not in bad] if bad else settlements
        results = statuses
        if statuses is not None and bad:
            results = [status for position, status in enumerate(statuses) if position not in bad]
        verdicts = await self._database.write(run, weight=2 * len(good))
        for position, error in bad.items():
            verdicts.insert(position, Verdict(kind="refused", error=error))
        return verdicts

    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        """One statement for the whole batch."""
        if not receipts:
            return []
        return await self._database.write(
            lambda tx: settling.extend(tx, self._namespace, receipts, self._now() + lease), weight=len(receipts)
        )

    async def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """Counts in the indexes: some 60 ms for a million messages."""
        now = self._now()
        return await self._database.read(
            lambda tx: {queue: inspecting.depth(tx, self._namespace, queue, now) for queue in queues}
        )

    async def purge(self, queue: str) -> int:
        """In transactions of 2,000 messages."""
        return await self._in_portions(
            lambda tx: inspecting.purge(tx, self._namespace, queue, self._now(), self._window)
        )

    async def queues(self) -> list[str]:
        """One seek in the indexes a queue, however much it holds."""
        return await self._database.read(lambda tx: inspecting.queues(tx, self._namespace))

    async def send(self, channel: str, message: bytes, ttl: float) -> None:
        """Kept in the database until its time is over."""
        await self._database.write(lambda tx: send(tx, self._namespace, channel, message, now=self._now(), ttl=ttl))

    def listen(self, channels: Sequence[str], since: float | None = None) -> AsyncIterator[tuple[str, bytes]]:
        """Listens from this call on. The iterator has ``aclose()``, and ends with the broker's session."""
        listener = Listener(self._database, self._namespace, channels, since)
        self._listeners.add(listener)
        return listener


def _portions(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    start = size = 0
    for position, message in enumerate(messages):
        size += len(message.header) + len(message.payload)
        if position - start >= _MESSAGES or (size > _BYTES and position > start):
            yield messages[start:position]
            start, size = position, len(message.header) + len(message.payload)
    if start < len(messages):
        yield messages[start:]


def _unfit(settlement: Settlement) -> str:
    action = settlement.action
    if isinstance(action, Retry | Release) and not action.delay < math.inf:
        return f"a delay of {action.delay} seconds"
    return ""
