"""What the mixins ask of the test class that runs them.

A test class inherits the case classes that it wants and overrides one fixture, ``open_store``::

    class TestMine(BrokerCases, DeadLetterCases, BackendCases, StateCases):
        @pytest.fixture
        def open_store(self, tmp_path: Path) -> OpenStore:
            @asynccontextmanager
            async def opener(clock: Clock, *, dedupe_window: float = 600.0) -> AsyncIterator[OpenedStore]:
                context = StoreContext(url=..., namespace="test", clock=clock, dedupe_window=dedupe_window)
                async with open_broker(context) as broker, open_backend(context) as backend, open_state(...) as state:
                    yield OpenedStore(broker=broker, backend=backend, state=state)

            return opener

Within one test every call opens the **same** store once more, as another process would; each test has a store of its
own. Who has no backend or state store overrides ``open_broker``, ``open_backend`` or ``open_state`` instead.
The clock is the store's clock: the cases move it by ``clock.advance(seconds)``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar, cast

import attrs
import pytest

from stem_core.clock import Clock
from stem_core.contracts import Broker, ResultBackend, StateStore
from stem_core.model import (
    DEFAULT_PRIORITY,
    Action,
    Delivery,
    Message,
    Settlement,
    Subscription,
    TaskState,
    TaskStatus,
    Verdict,
)
from support.clock import FakeClock

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: The lease that the cases ask for, in seconds.
LEASE = 30.0
#: The dedupe window that stores are opened with, in seconds.
WINDOW = 600.0
#: No test waits longer than this for something that has to happen, in seconds.
PATIENCE = 5.0


@attrs.define
class OpenedStore:
    """One session on one store."""

    broker: Broker
    backend: ResultBackend
    state: StateStore


class Opener(Protocol[T_co]):
    """Opens the store of the test once more."""

    def __call__(self, clock: Clock, *, dedupe_window: float = WINDOW) -> AbstractAsyncContextManager[T_co]: ...


OpenStore = Opener[OpenedStore]
OpenBroker = Opener[Broker]
OpenBackend = Opener[ResultBackend]
OpenState = Opener[StateStore]


class StoreCase:
    """Base of the case classes: the fixtures they use."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The store's clock."""
        return FakeClock()

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Override this one."""
        raise pytest.UsageError(f"{type(self).__name__} has to override the fixture open_store")

    @pytest.fixture
    def open_broker(self, open_store: OpenStore) -> OpenBroker:
        """Opens the broker of the test's store once more."""

        @asynccontextmanager
        async def opener(clock: Clock, *, dedupe_window: float = WINDOW) -> AsyncIterator[Broker]:
            async with open_store(clock, dedupe_window=dedupe_window) as opened:
                yield opened.broker

        return opener

    @pytest.fixture
    def open_backend(self, open_store: OpenStore) -> OpenBackend:
        """Opens the result backend of the test's store once more."""

        @asynccontextmanager
        async def opener(clock: Clock, *, dedupe_window: float = WINDOW) -> AsyncIterator[ResultBackend]:
            async with open_store(clock, dedupe_window=dedupe_window) as opened:
                yield opened.backend

        return opener

    @pytest.fixture
    def open_state(self, open_store: OpenStore) -> OpenState:
        """Opens the state store of the test's store once more."""

        @asynccontextmanager
        async def opener(clock: Clock, *, dedupe_window: float = WINDOW) -> AsyncIterator[StateStore]:
            async with open_store(clock, dedupe_window=dedupe_window) as opened:
                yield opened.state

        return opener

    @pytest.fixture
    async def broker(self, open_broker: OpenBroker, clock: FakeClock) -> AsyncIterator[Broker]:
        """The broker under test."""
        async with open_broker(clock) as opened:
            yield opened

    @pytest.fixture
    async def other(self, open_broker: OpenBroker, clock: FakeClock) -> AsyncIterator[Broker]:
        """A second session on the same broker."""
        async with open_broker(clock) as opened:
            yield opened


def message(
    id: str,
    *,
    queue: str = "default",
    priority: int = DEFAULT_PRIORITY,
    delay: float = 0.0,
    payload: bytes = b"[[],{}]",
) -> Message:
    """A sealed message; brokers never look inside, so the header need not be one."""
    return Message(
        id=id, queue=queue, priority=priority, delay=delay, header=b'{"id":"' + id.encode() + b'"}', payload=payload
    )


def messages(
    count: int, *, queue: str = "default", prefix: str = "job", priority: int = DEFAULT_PRIORITY
) -> list[Message]:
    """``count`` messages whose ids sort in the order of the list."""
    return [message(f"{prefix}-{n:04}", queue=queue, priority=priority) for n in range(count)]


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    """The ids of the deliveries, in order."""
    return [delivery.message.id for delivery in deliveries]


async def claim(broker: Broker, limit: int = 10, *, queue: str = "default", lease: float = LEASE) -> list[Delivery]:
    """Receive from one queue."""
    return await broker.receive(Subscription.of(queue), limit, lease)


async def claim_one(broker: Broker, *, queue: str = "default", lease: float = LEASE) -> Delivery:
    """Receive the one message that has to be there."""
    deliveries = await claim(broker, 10, queue=queue, lease=lease)
    assert len(deliveries) == 1, f"expected one delivery from {queue!r}, got {ids(deliveries)}"
    return deliveries[0]


async def settle(broker: Broker, delivery: Delivery, action: Action) -> str:
    """Settle one delivery; the kind of the verdict."""
    return kinds(await broker.settle([Settlement(receipt=delivery.receipt, action=action)]))[0]


async def extend(broker: Broker, delivery: Delivery, lease: float = LEASE) -> str:
    """Extend one delivery; the kind of the verdict."""
    return kinds(await broker.extend([delivery.receipt], lease))[0]


def kinds(verdicts: Sequence[Verdict]) -> list[str]:
    """``done``, ``lost`` or ``refused`` of each."""
    return [verdict.kind for verdict in verdicts]


def facet(broker: object, kind: Callable[..., T]) -> T:
    """The broker as the facet ``kind``, an abstract class; fails when it does not have it."""
    assert isinstance(kind, type)
    assert isinstance(broker, kind), f"{type(broker).__name__} lacks the facet {kind.__name__}"
    return cast("T", broker)


def status(
    id: str, state: TaskState = TaskState.SUCCEEDED, *, run: int = 1, task: str = "tasks.add", ttl: float = 86_400.0
) -> TaskStatus:
    """A status as a worker writes it."""
    result = b"42" if state is TaskState.SUCCEEDED else None
    return TaskStatus(id=id, task=task, queue="default", state=state, run=run, attempt=1, result=result, ttl=ttl)
