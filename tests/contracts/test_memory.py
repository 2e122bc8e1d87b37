"""The memory stores against all contracts."""

from __future__ import annotations

from stem_core.contracts import Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults
from stem_core.testing.contracts import BrokerContract, PluginContract, ResultBackendContract, StateStoreContract


class MemoryStores:
    url = "memory://"
    plugins = ("builtin",)
    claims = (Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults)


class TestMemoryBroker(MemoryStores, BrokerContract):
    pass


class TestMemoryBackend(MemoryStores, ResultBackendContract):
    pass


class TestMemoryState(MemoryStores, StateStoreContract):
    pass


class TestBuiltinPlugin(PluginContract):
    plugin = "builtin"
    url = "memory://"


class TestFlakyStoresWithoutFaults(BrokerContract):
    url = "flaky://"
    plugins = ("stem_core.testing.flaky_stores",)
    claims = MemoryStores.claims


class TestFlakyPlugin(PluginContract):
    plugin = "stem_core.testing.flaky_stores"
    url = "flaky://"
