"""Memory stores that fail on demand: a plugin of its own, for apps with ``plugins=["support.flaky"]``.

``flaky://NAME`` behaves as ``memory://NAME`` until the test says otherwise through ``faults_of(NAME)``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stem_core.builtin.memory_backend import MemoryBackend
from stem_core.builtin.memory_broker import MemoryBroker
from stem_core.builtin.memory_state import MemoryState
from stem_core.builtin.memory_store import store_for
from stem_core.contracts import (
    BackendProvider,
    BrokerCapabilities,
    BrokerProvider,
    Record,
    StateProvider,
    StoreContext,
)
from stem_core.errors import StoreUnavailable
from stem_core.hooks import hookimpl
from stem_core.model import Delivery, Message, Receipt, Settlement, Subscription, TaskStatus, Verdict

_SCHEMES = ("flaky",)


class Faults:
    """What is to go wrong with the stores of one name, and what was asked of them.

    Verbs are called ``publish receive settle extend depth``, ``record`` for the backend, ``put list`` for the state.
    """

    def __init__(self) -> None:
        #: Verbs that raise StoreUnavailable until they are taken out again.
        self.down: set[str] = set()
        #: Raised by the next call of the verb, one after the other; the call changes nothing.
        self.errors: dict[str, list[Exception]] = {}
        #: Verbs whose next call is carried out and then fails, as when the reply is lost.
        self.lost_replies: set[str] = set()
        #: A call of the verb waits for this event before it does anything. On the loop of the event only.
        self.held: dict[str, asyncio.Event] = {}
        #: Whether settlements and results are written in one step.
        self.together = True
        #: How often each verb was called.
        self.calls: Counter[str] = Counter()
        #: How many settlements each call of ``settle`` brought.
        self.batches: list[int] = []
        #: Calls that wait at a held verb now.
        self.waiting: Counter[str] = Counter()
        #: How many calls were cancelled while they waited.
        self.cancelled: Counter[str] = Counter()

    async def before(self, verb: str) -> None:
        """Called by every verb first."""
        self.calls[verb] += 1
        gate = self.held.get(verb)
        if gate is not None:
            self.waiting[verb] += 1
            try:
                await gate.wait()
            except asyncio.CancelledError:
                self.cancelled[verb] += 1
                raise
            finally:
                self.waiting[verb] -= 1
        if verb in self.down:
            raise StoreUnavailable(f"{verb}: the store is down")
        errors = self.errors.get(verb)
        if errors:
            raise errors.pop(0)

    def after(self, verb: str) -> None:
        """Called by every verb once it is carried out."""
        if verb in self.lost_replies:
            self.lost_replies.discard(verb)
            raise StoreUnavailable(f"{verb}: the reply was lost")


_faults: dict[str, Faults] = {}


def faults_of(name: str) -> Faults:
    """The faults of ``flaky://name``."""
    return _faults.setdefault(name, Faults())


class FlakyBroker(MemoryBroker):
    """A memory broker behind :class:`Faults`."""

    faults: Faults

    async def publish(self, messages: Sequence[Message]) -> None:
        await self.faults.before("publish")
        await super().publish(messages)
        self.faults.after("publish")

    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        await self.faults.before("receive")
        deliveries = await super().receive(subscription, limit, lease, suspects=suspects)
        self.faults.after("receive")
        return deliveries

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        self.faults.batches.append(len(settlements))
        await self.faults.before("settle")
        verdicts = await super().settle(settlements)
        self.faults.after("settle")
        return verdicts

    async def settle_with_results(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None]
    ) -> list[Verdict]:
        self.faults.batches.append(len(settlements))
        await self.faults.before("settle")
        verdicts = await super().settle_with_results(settlements, statuses)
        self.faults.after("settle")
        return verdicts

    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        await self.faults.before("extend")
        return await super().extend(receipts, lease)

    def shares_store(self, backend: object) -> bool:
        return self.faults.together and super().shares_store(backend)


class FlakyBackend(MemoryBackend):
    """A memory backend behind :class:`Faults`."""

    faults: Faults

    async def record(self, statuses: Sequence[TaskStatus]) -> None:
        await self.faults.before("record")
        await super().record(statuses)


class FlakyState(MemoryState):
    """A memory state store behind :class:`Faults`."""

    faults: Faults

    async def put(
        self, collection: str, key: str, value: bytes, *, ttl: float | None = None, if_version: int | None = None
    ) -> int:
        await self.faults.before("put")
        return await super().put(collection, key, value, ttl=ttl, if_version=if_version)

    async def list(self, collection: str, *, since_version: int = 0) -> list[Record]:
        await self.faults.before("list")
        return await super().list(collection, since_version=since_version)


def _opener(make: Any) -> Any:
    @asynccontextmanager
    async def opened(context: StoreContext) -> AsyncIterator[Any]:
        faults = faults_of(context.url.location)
        await faults.before("open")
        store = make(context)
        store.faults = faults
        yield store

    return opened


def _broker(context: StoreContext) -> FlakyBroker:
    return FlakyBroker(store_for(context), context.clock, context.dedupe_window)


def _backend(context: StoreContext) -> FlakyBackend:
    return FlakyBackend(store_for(context), context.clock)


def _state(context: StoreContext) -> FlakyState:
    return FlakyState(store_for(context), context.clock)


@hookimpl
def stem_register_brokers() -> list[BrokerProvider]:
    """``flaky://``."""
    opener: Any = _opener(_broker)
    return [BrokerProvider(schemes=_SCHEMES, open=opener, capabilities=BrokerCapabilities(durable=False, shared=False))]


@hookimpl
def stem_register_result_backends() -> list[BackendProvider]:
    """``flaky://``."""
    return [BackendProvider(schemes=_SCHEMES, open=_opener(_backend))]


@hookimpl
def stem_register_state_stores() -> list[StateProvider]:
    """``flaky://``."""
    return [StateProvider(schemes=_SCHEMES, open=_opener(_state))]
