"""What every store has to show, shown by each server there is: in both versions of the protocol, with one connection
for all sessions and with one for each. Each of these is tried once, not with each of the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest

from stem_core.clock import Clock
from stem_core.contracts import Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults
from stem_core.testing.contracts import BrokerContract, PluginContract, ResultBackendContract, StateStoreContract
from stem_core.testing.contracts.base import WINDOW, OpenedStore, OpenStore
from stem_redis.settings import RedisSettings
from support.redis_server import RedisServer, programs

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]


class OnServer:
    """All sessions of a test share one connection, as those of one event loop do."""

    claims = (Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults)
    server_kind: ClassVar[str] = "valkey"
    protocol: ClassVar[str] = "3"
    apart: ClassVar[bool] = False

    @pytest.fixture
    def kind(self) -> str:
        return self.server_kind

    @pytest.fixture
    def open_store(self, open_redis: OpenRedis, store_clock: Clock) -> OpenStore:
        # Only sessions with equal settings share a connection.
        timeouts = itertools.count(5)

        def opener(*, dedupe_window: float = WINDOW) -> AbstractAsyncContextManager[OpenedStore]:
            timeout = float(next(timeouts)) if self.apart else 5.0
            settings = RedisSettings(call_timeout=timeout, protocol=self.protocol)  # type: ignore[arg-type]
            return open_redis(store_clock, dedupe_window=dedupe_window, settings=settings)

        return opener


class OnValkey(OnServer):
    pass


class OnRedis6(OnServer):
    server_kind, protocol = "redis6", "2"


class OnRedis8(OnServer):
    server_kind, apart = "redis8", True


class OnPath(OnServer):
    server_kind = "path"


class TestBrokerOnValkey(OnValkey, BrokerContract):
    pass


class TestBackendOnValkey(OnValkey, ResultBackendContract):
    pass


class TestStateOnValkey(OnValkey, StateStoreContract):
    pass


class TestBrokerOnRedis6(OnRedis6, BrokerContract):
    pass


class TestBackendOnRedis6(OnRedis6, ResultBackendContract):
    pass


class TestStateOnRedis6(OnRedis6, StateStoreContract):
    pass


class TestBrokerOnRedis8(OnRedis8, BrokerContract):
    pass


class TestBackendOnRedis8(OnRedis8, ResultBackendContract):
    pass


class TestStateOnRedis8(OnRedis8, StateStoreContract):
    pass


if "path" in programs():

    class TestBrokerOnPath(OnPath, BrokerContract):
        pass

    class TestBackendOnPath(OnPath, ResultBackendContract):
        pass

    class TestStateOnPath(OnPath, StateStoreContract):
        pass


class TestPlugin(PluginContract):
    plugin = "redis"
    unreachable_url = "redis://127.0.0.1:1"

    @pytest.fixture
    def store_url(self, server: RedisServer) -> str:
        return server.url
