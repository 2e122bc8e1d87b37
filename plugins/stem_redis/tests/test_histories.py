"""Histories that nobody thought of; ``STEM_TEST_MACHINE_EXAMPLES=5000`` tries more and others, with `-o timeout=0`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from stem_core.clock import Clock
from stem_core.testing.contracts import BrokerMachineContract
from stem_core.testing.contracts.base import OpenedStore
from stem_core.testing.contracts.machine import OpenFresh

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]


class TestHistories(BrokerMachineContract):
    examples = 60
    moment = 0.625
    moves_in_order = False

    @pytest.fixture
    def open_fresh(self, open_redis: OpenRedis) -> OpenFresh:
        """By the clock of the test, which the scripts get with each call."""

        def opener(clock: Clock, namespace: str) -> AbstractAsyncContextManager[OpenedStore]:
            return open_redis(clock, namespace=namespace)

        return opener
