"""The memory stores against all contracts."""

from __future__ import annotations

from stem_core.contracts import Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults
from stem_core.testing.contracts import BrokerContract, ResultBackendContract, StateStoreContract


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
