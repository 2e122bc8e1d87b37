"""NATS against the contract cases of all that the plugin claims."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")
pytest.importorskip("nats", reason="the client library nats-py is not installed")

from contracts.cases.base import WINDOW, OpenBroker, OpenState
from contracts.cases.dead_letters import DeadLetterCases
from contracts.cases.inspection import InspectionCases
from contracts.cases.suites import BrokerCases, StateStoreCases

from stem_core.clock import Clock
from stem_core.contracts import Broker, StateStore, StoreContext
from stem_core.model import StoreUrl
from stem_nats import opening


class NatsStores:
    """Gives every test a namespace of its own. The cases turn the store's clock, so it is theirs and not the
    server's; see :class:`stem_nats.servertime.ServerTime`."""

    @pytest.fixture
    def open_broker(self, server, namespace) -> OpenBroker:
        @asynccontextmanager
        async def opener(clock: Clock, *, dedupe_window: float = WINDOW) -> AsyncIterator[Broker]:
            url = StoreUrl.parse(server.url)
            context = StoreContext(url=url, namespace=namespace, clock=clock, dedupe_window=dedupe_window)
            async with opening.open_broker(context) as broker:
                yield broker

        return opener

    @pytest.fixture
    def open_state(self, server, namespace) -> OpenState:
        @asynccontextmanager
        async def opener(clock: Clock, *, dedupe_window: float = WINDOW) -> AsyncIterator[StateStore]:
            context = StoreContext(url=StoreUrl.parse(server.url), namespace=namespace, clock=clock)
            async with opening.open_state(context) as state:
                yield state

        return opener


class TestNatsBroker(NatsStores, BrokerCases):
    pass


class TestNatsDeadLetters(NatsStores, DeadLetterCases):
    pass


class TestNatsInspection(NatsStores, InspectionCases):
    pass


class TestNatsState(NatsStores, StateStoreCases):
    pass
