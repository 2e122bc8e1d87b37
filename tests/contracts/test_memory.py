"""The memory stores against all contract cases."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.cases.base import WINDOW, OpenedStore, OpenStore
from contracts.cases.suites import BrokerCases, FacetCases, ResultBackendCases, StateStoreCases
from stem_core.builtin.memory_backend import open_backend
from stem_core.builtin.memory_broker import open_broker
from stem_core.builtin.memory_state import open_state
from stem_core.clock import Clock
from stem_core.contracts import StoreContext
from stem_core.model import StoreUrl

_NAMES = itertools.count()


class MemoryStores:
    """Gives every test a memory store of its own name."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        url = StoreUrl.parse(f"memory://case-{next(_NAMES)}")

        @asynccontextmanager
        async def opener(clock: Clock, *, dedupe_window: float = WINDOW) -> AsyncIterator[OpenedStore]:
            context = StoreContext(url=url, namespace="test", clock=clock, dedupe_window=dedupe_window)
            async with open_broker(context) as broker, open_backend(context) as backend, open_state(context) as state:
                yield OpenedStore(broker=broker, backend=backend, state=state)

        return opener


class TestMemoryBroker(MemoryStores, BrokerCases):
    pass


class TestMemoryFacets(MemoryStores, FacetCases):
    pass


class TestMemoryBackend(MemoryStores, ResultBackendCases):
    pass


class TestMemoryState(MemoryStores, StateStoreCases):
    pass
