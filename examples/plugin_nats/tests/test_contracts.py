"""NATS against the shipped contract, for all that the plugin claims."""

from __future__ import annotations

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")
pytest.importorskip("nats", reason="the client library nats-py is not installed")

from stem_core.contracts import Inspectable, KeepsDeadLetters, TellsTime
from stem_core.testing.contracts import BrokerContract, BrokerMachineContract, PluginContract, StateStoreContract

CLAIMS = (KeepsDeadLetters, Inspectable, TellsTime)


class NatsStores:
    """The stores behind the URL of the server of these tests."""

    plugins = ("nats",)

    @pytest.fixture
    def store_url(self, server) -> str:
        return server.url


class TestNatsBroker(NatsStores, BrokerContract):
    """With a clock that the cases turn: the records are the same, only the time in them is not the server's."""

    claims = CLAIMS


class TestNatsBrokerOnServerTime(NatsStores, BrokerContract):
    """With the clock that it has in service; what needs a clock that is turned is skipped."""

    claims = CLAIMS
    turns_clock = False


class TestNatsState(NatsStores, StateStoreContract):
    pass


class TestNatsStateOnServerTime(NatsStores, StateStoreContract):
    turns_clock = False


class TestNatsHistories(NatsStores, BrokerMachineContract):
    pass


class TestNatsPlugin(NatsStores, PluginContract):
    plugin = "nats"
    unreachable_url = "nats://user:secret@127.0.0.1:1"
