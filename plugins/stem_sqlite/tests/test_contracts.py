"""What every store has to show, shown by SQLite: with one connection for all sessions, and with one for each."""

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
from stem_sqlite.settings import SqliteSettings

OpenSqlite = Callable[..., AbstractAsyncContextManager[OpenedStore]]


class OneConnection:
    """All sessions of a test share one connection, as those of one event loop do."""

    url = "sqlite:///{tmp_path}/stem.db"
    plugins = ("sqlite",)
    settings: ClassVar = {"sqlite.synchronous": "normal"}
    claims = (Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults)


class ConnectionEach:
    """Each session has a connection and a thread of its own, as in a process of its own."""

    claims = (Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults)

    @pytest.fixture
    def open_store(self, open_sqlite: OpenSqlite, store_clock: Clock) -> OpenStore:
        # Only sessions with equal settings share a connection.
        timeouts = itertools.count(5)

        def opener(*, dedupe_window: float = WINDOW) -> AbstractAsyncContextManager[OpenedStore]:
            settings = SqliteSettings(busy_timeout=float(next(timeouts)), synchronous="normal")
            return open_sqlite(store_clock, dedupe_window=dedupe_window, settings=settings)

        return opener


class TestBroker(OneConnection, BrokerContract):
    pass


class TestBrokerBetweenConnections(ConnectionEach, BrokerContract):
    pass


class TestBackend(OneConnection, ResultBackendContract):
    pass


class TestBackendBetweenConnections(ConnectionEach, ResultBackendContract):
    pass


class TestState(OneConnection, StateStoreContract):
    pass


class TestStateBetweenConnections(ConnectionEach, StateStoreContract):
    pass


class TestPlugin(PluginContract):
    plugin = "sqlite"
    url = OneConnection.url
    unreachable_url = "sqlite:////proc/1/no/such/folder/stem.db"
