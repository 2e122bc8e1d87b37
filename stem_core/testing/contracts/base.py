"""What the contracts of stores ask of the test class that runs them, and the words that the cases are written in."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast

import attrs
import pytest

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts import Broker, ResultBackend, StateStore, StoreContext
from stem_core.model import (
    DEFAULT_PRIORITY,
    Action,
    Delivery,
    Message,
    Settlement,
    StoreUrl,
    Subscription,
    TaskState,
    TaskStatus,
    Verdict,
)
from stem_core.plugins.registry import Registry
from stem_core.plugins.runtime import Runtime, assemble
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.case import Case, OnLoop, is_in_real_time

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: The lease that the cases ask for, in seconds.
LEASE = 30.0
#: The dedupe window that stores are opened with, in seconds.
WINDOW = 600.0
#: No test waits longer than this for something that has to happen, in seconds. A disk may hold everything up for some.
PATIENCE = 20.0


class OpenedStore:
    """One session on one store; what the URL has no provider for skips the case that asks for it."""

    def __init__(
        self,
        url: str = "",
        *,
        broker: Broker | None = None,
        backend: ResultBackend | None = None,
        state: StateStore | None = None,
    ) -> None:
        self._url = url
        self._broker = broker
        self._backend = backend
        self._state = state

    @property
    def broker(self) -> Broker:
        """The broker."""
        return self._there(self._broker, "broker")

    @property
    def backend(self) -> ResultBackend:
        """The result backend of the same URL."""
        return self._there(self._backend, "result backend")

    @property
    def state(self) -> StateStore:
        """The state store of the same URL."""
        return self._there(self._state, "state store")

    def _there(self, opened: T | None, what: str) -> T:
        if opened is None:
            pytest.skip(f"{self._url} has no {what}")
        return opened


class Opener(Protocol[T_co]):
    """Opens the store of the test once more."""

    def __call__(self, *, dedupe_window: float = WINDOW) -> AbstractAsyncContextManager[T_co]: ...


OpenStore = Opener[OpenedStore]
OpenBroker = Opener[Broker]
OpenBackend = Opener[ResultBackend]
OpenState = Opener[StateStore]


class StoreContract(Case):
    """Base of the contracts of stores. Set :attr:`url`, or override a fixture:

    ``store_url``
        where the store of this test is, when that is known only at run time (the port of a server);
    ``store_clock``
        the clock that the store is given;
    ``open_store``
        opens the store without any plugin being installed: a function that returns an asynchronous context manager
        of an :class:`OpenedStore`. Within one test each call opens the **same** store once more, as another process
        would; each test has a store of its own.
    """

    #: Where the store is. ``{tmp_path}`` stands for the folder of the test.
    url: ClassVar[str] = ""
    #: What ``-p`` would say: names of installed plugins, modules that are not installed. None: all that are installed.
    plugins: ClassVar[Sequence[str] | None] = None
    #: Settings of the plugin by dotted key: ``{"mine.timeout": 1.0}``. The environment is not read.
    settings: ClassVar[Mapping[str, Any]] = {}
    #: Whether the store takes its time from ``StoreContext.clock``. Where that cannot be, as in a server that knows
    #: no time but its own, say False: the cases that turn the clock are skipped, those of real time remain.
    turns_clock: ClassVar[bool] = True
    #: Bytes of a payload that has to be taken. Stem's own limit; less where the server's limit is lower.
    large: ClassVar[int] = 1 << 20
    #: Facets that the broker claims to have. Cases of a facet that it lacks are skipped, but not of one named here.
    claims: ClassVar[Sequence[type]] = ()
    _runtime: ClassVar[Runtime]

    @pytest.fixture
    def stem_runtime(self) -> Runtime:
        """The plugins that the URL is looked up in."""
        cls = type(self)
        if "_runtime" not in vars(cls):
            # Once a class: looking through all that is installed takes longer than most cases do.
            cls._runtime = assemble(self.settings, f"{cls.__name__}.settings", environ={}, selection=self.plugins)
        return cls._runtime

    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        """Where the store of this test is."""
        if not self.url:
            raise pytest.UsageError(f"{type(self).__name__} has to set url, or to override the fixture open_store")
        return self.url.replace("{tmp_path}", str(tmp_path))

    @pytest.fixture
    def store_clock(self, request: pytest.FixtureRequest) -> Clock:
        """What the store is given as the time."""
        return FakeClock() if self.turns_clock and not is_in_real_time(request.function) else SYSTEM_CLOCK

    @pytest.fixture
    def clock(self, store_clock: Clock) -> FakeClock:
        """The store's clock, for cases that read or turn it."""
        if not self.turns_clock or not isinstance(store_clock, FakeClock):
            pytest.skip("the clock of this store cannot be turned: turns_clock")
        return store_clock

    @pytest.fixture
    def namespace(self) -> str:
        """A namespace that no other test has."""
        return f"case-{secrets.token_hex(6)}"

    @pytest.fixture
    def open_store(
        self, stem_runtime: Runtime, store_url: str, namespace: str, store_clock: Clock, tmp_path: Path
    ) -> OpenStore:
        """Opens the store of this test once more."""

        @asynccontextmanager
        async def opener(*, dedupe_window: float = WINDOW) -> AsyncIterator[OpenedStore]:
            context = StoreContext(
                url=StoreUrl.parse(store_url),
                namespace=namespace,
                clock=store_clock,
                dedupe_window=dedupe_window,
                directory=str(tmp_path),
            )
            async with open_in(stem_runtime, context) as opened:
                yield opened

        return opener

    @pytest.fixture
    def open_broker(self, open_store: OpenStore) -> OpenBroker:
        """Opens the broker of this test's store once more."""

        @asynccontextmanager
        async def opener(*, dedupe_window: float = WINDOW) -> AsyncIterator[Broker]:
            async with open_store(dedupe_window=dedupe_window) as opened:
                yield opened.broker

        return opener

    @pytest.fixture
    def open_backend(self, open_store: OpenStore) -> OpenBackend:
        """Opens the result backend of this test's store once more."""

        @asynccontextmanager
        async def opener(*, dedupe_window: float = WINDOW) -> AsyncIterator[ResultBackend]:
            async with open_store(dedupe_window=dedupe_window) as opened:
                yield opened.backend

        return opener

    @pytest.fixture
    def open_state(self, open_store: OpenStore) -> OpenState:
        """Opens the state store of this test's store once more."""

        @asynccontextmanager
        async def opener(*, dedupe_window: float = WINDOW) -> AsyncIterator[StateStore]:
            async with open_store(dedupe_window=dedupe_window) as opened:
                yield opened.state

        return opener

    @pytest.fixture
    def broker(self, open_broker: OpenBroker) -> OnLoop[Broker]:
        """The broker under test; the case finds it opened."""
        return OnLoop(open_broker)

    @pytest.fixture
    def other(self, open_broker: OpenBroker) -> OnLoop[Broker]:
        """A second session on the same broker."""
        return OnLoop(open_broker)

    def facet(self, broker: object, kind: Callable[..., T]) -> T:
        """The broker as the facet ``kind``, an abstract class. Without it the case is skipped, unless it is claimed."""
        assert isinstance(kind, type)
        if not isinstance(broker, kind):
            assert kind not in self.claims, f"{type(broker).__name__} claims {kind.__name__} and is none"
            pytest.skip(f"{type(broker).__name__} lacks the ability {kind.__name__}")
        return cast("T", broker)


@asynccontextmanager
async def open_in(runtime: Runtime, context: StoreContext) -> AsyncIterator[OpenedStore]:
    """Open what there is behind the URL of ``context``; each opener gets the settings of its plugin.

    Raises:
        UnknownScheme, PluginConflict: no plugin, or several, have anything for this URL.
    """
    registries: dict[str, Registry[Any]] = {
        "broker": runtime.brokers,
        "backend": runtime.backends,
        "state": runtime.states,
    }
    scheme = context.url.scheme
    found = {name: registry for name, registry in registries.items() if scheme in registry}
    async with AsyncExitStack() as stack:
        opened: dict[str, Any] = {}
        # Where there is nothing at all, the registry of brokers says why.
        for name, registry in (found or {"broker": runtime.brokers}).items():
            claim = registry.claim(scheme)
            sections = claim.plugin.sections
            settings = runtime.settings.section(sections[0].name) if sections else None
            own = attrs.evolve(cast("Any", context), settings=settings)
            opened[name] = await stack.enter_async_context(claim.provider.open(own))
        yield OpenedStore(str(context.url), **opened)


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


async def counts(broker: Broker, queue: str = "default") -> tuple[int, int, int, int]:
    """Ready, delayed, leased, dead: the depth without its age, which goes on where the clock cannot be stopped."""
    depth = (await broker.depth([queue]))[queue]
    return (depth.ready, depth.delayed, depth.leased, depth.dead)


def kinds(verdicts: Sequence[Verdict]) -> list[str]:
    """``done``, ``lost`` or ``refused`` of each."""
    return [verdict.kind for verdict in verdicts]


def status(
    id: str, state: TaskState = TaskState.SUCCEEDED, *, run: int = 1, task: str = "tasks.add", ttl: float = 86_400.0
) -> TaskStatus:
    """A status as a worker writes it."""
    result = b"42" if state is TaskState.SUCCEEDED else None
    return TaskStatus(id=id, task=task, queue="default", state=state, run=run, attempt=1, result=result, ttl=ttl)
