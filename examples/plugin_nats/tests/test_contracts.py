"""NATS against the contracts of all that the plugin claims."""

from __future__ import annotations

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")
pytest.importorskip("nats", reason="the client library nats-py is not installed")

from stem_core.contracts import Inspectable, KeepsDeadLetters
from stem_core.testing.contracts import BrokerContract, StateStoreContract


class NatsStores:
    """Every test has a namespace of its own on the one server. The cases turn the store's clock, so it is theirs and
    not the server's; see :class:`stem_nats.servertime.ServerTime`."""

    plugins = ("stem_nats.plugin",)
    claims = (Inspectable, KeepsDeadLetters)

    @pytest.fixture
    def store_url(self, server) -> str:
        return server.url


class TestNatsBroker(NatsStores, BrokerContract):
    pass


class TestNatsState(NatsStores, StateStoreContract):
    pass
