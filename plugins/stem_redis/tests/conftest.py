"""What the tests of this plugin share: servers of several kinds, each started once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts import StoreContext
from stem_core.model import StoreUrl
from stem_core.testing.contracts.base import WINDOW, OpenedStore
from stem_redis import opening
from stem_redis.broker import RedisBroker
from stem_redis.settings import RedisSettings
from support.redis_server import RedisServer, programs, version_of

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]
StartServer = Callable[..., RedisServer]

_PROGRAMS = programs()


def pytest_report_header() -> list[str]:
    return [f"redis {kind}: {version_of(program)}, {program}" for kind, program in _PROGRAMS.items()]


@pytest.fixture(scope="package")
def servers() -> Iterator[Callable[[str], RedisServer]]:
    """The running server of a kind, until the tests of this plugin are over: idle ones cost too."""
    running: dict[str, RedisServer] = {}

    def of(kind: str) -> RedisServer:
        if kind not in _PROGRAMS:
            pytest.skip(f"there is no server of the kind {kind}")
        if kind not in running:
            running[kind] = RedisServer(_PROGRAMS[kind]).start()
        return running[kind]

    yield of
    for server in running.values():
        server.stop()


@pytest.fixture
def kind() -> str:
    """The kind of server of this test."""
    return next(iter(_PROGRAMS), "valkey")


@pytest.fixture
def server(servers: Callable[[str], RedisServer], kind: str) -> RedisServer:
    """The server of this test, empty."""
    found = servers(kind)
    assert found.command("FLUSHALL") == b"+OK\r\n"
    found.command("SCRIPT", "FLUSH")
    found.command("CONFIG", "SET", "maxmemory", "0")
    return found


@pytest.fixture
def start_server(kind: str) -> Iterator[StartServer]:
    """Starts a server of this test's kind for this test alone, with options by keyword (``_`` for ``-``)."""
    started: list[RedisServer] = []

    def starter(**options: str) -> RedisServer:
        if kind not in _PROGRAMS:
            pytest.skip(f"there is no server of the kind {kind}")
        named = tuple((name.replace("_", "-"), word) for name, word in options.items())
        started.append(RedisServer(_PROGRAMS[kind], options=named).start())
        return started[-1]

    yield starter
    for one in started:
        one.stop()


@pytest.fixture
def url(server: RedisServer) -> str:
    """Where the test's server is."""
    return server.url


@pytest.fixture
def open_redis(url: str) -> OpenRedis:
    """Opens broker, backend and state store on the test's server."""

    @asynccontextmanager
    async def opener(
        clock: Clock = SYSTEM_CLOCK,
        *,
        dedupe_window: float = WINDOW,
        namespace: str = "test",
        settings: RedisSettings | None = None,
        url: str = url,
    ) -> AsyncIterator[OpenedStore]:
        context = StoreContext(
            url=StoreUrl.parse(url), namespace=namespace, clock=clock, dedupe_window=dedupe_window, settings=settings
        )
        async with AsyncExitStack() as stack:
            broker, backend, state = [
                await stack.enter_async_context(one(context))  # type: ignore[operator]
                for one in (opening.open_broker, opening.open_backend, opening.open_state)
            ]
            yield OpenedStore(broker=broker, backend=backend, state=state)

    return opener


@pytest.fixture
async def broker(open_redis: OpenRedis) -> AsyncIterator[RedisBroker]:
    """A broker on the test's server."""
    async with open_redis() as opened:
        assert isinstance(opened.broker, RedisBroker)
        yield opened.broker
