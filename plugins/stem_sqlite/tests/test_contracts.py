"""What every store has to show, shown by SQLite: with one connection for all sessions, and with one for each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from contracts.cases.base import WINDOW, OpenedStore, OpenStore
from contracts.cases.suites import BrokerCases, FacetCases, ResultBackendCases, StateStoreCases
from stem_core.clock import Clock
from stem_sqlite.settings import SqliteSettings

OpenSqlite = Callable[..., AbstractAsyncContextManager[OpenedStore]]


class OneConnection:
    """All sessions of a test share one connection, as those of one event loop do."""

    @pytest.fixture
    def open_store(self, open_sqlite: OpenSqlite) -> OpenStore:
        return open_sqlite


class ConnectionEach:
    """Each session has a connection and a thread of its own, as in a process of its own."""

    @pytest.fixture
    def open_store(self, open_sqlite: OpenSqlite) -> OpenStore:
        # Only sessions with equal settings share a connection.
        timeouts = itertools.count(5)

        def opener(clock: Clock, *, dedupe_window: float = WINDOW) -> AbstractAsyncContextManager[OpenedStore]:
            settings = SqliteSettings(busy_timeout=float(next(timeouts)))
            return open_sqlite(clock, dedupe_window=dedupe_window, settings=settings)

        return opener


class TestBroker(OneConnection, BrokerCases):
    pass


class TestBrokerBetweenConnections(ConnectionEach, BrokerCases):
    pass


class TestFacets(OneConnection, FacetCases):
    pass


class TestFacetsBetweenConnections(ConnectionEach, FacetCases):
    pass


class TestBackend(OneConnection, ResultBackendCases):
    pass


class TestBackendBetweenConnections(ConnectionEach, ResultBackendCases):
    pass


class TestState(OneConnection, StateStoreCases):
    pass


class TestStateBetweenConnections(ConnectionEach, StateStoreCases):
    pass
