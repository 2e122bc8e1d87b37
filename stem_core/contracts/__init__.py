"""The contracts that plugins implement. They gain only non-abstract methods within a major version."""

from __future__ import annotations

from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import (
    Broadcasts,
    Broker,
    BrokerCapabilities,
    Inspectable,
    KeepsDeadLetters,
    SettlesWithResults,
)
from stem_core.contracts.facets import TellsTime
from stem_core.contracts.middleware import Middleware
from stem_core.contracts.providers import (
    API_VERSION,
    BackendProvider,
    BrokerProvider,
    DefaultUrls,
    StateProvider,
    StoreContext,
    StrategyProvider,
)
from stem_core.contracts.remote import ChildHost, ChildLink, ChildOpener, ChildPlan, RemoteInvoker
from stem_core.contracts.state import Record, StateStore
from stem_core.contracts.strategy import Call, ConcurrencyStrategy, Invoker

__all__ = [
    "API_VERSION",
    "BackendProvider",
    "Broadcasts",
    "Broker",
    "BrokerCapabilities",
    "BrokerProvider",
    "Call",
    "ChildHost",
    "ChildLink",
    "ChildOpener",
    "ChildPlan",
    "ConcurrencyStrategy",
    "DefaultUrls",
    "Inspectable",
    "Invoker",
    "KeepsDeadLetters",
    "Middleware",
    "Record",
    "RemoteInvoker",
    "ResultBackend",
    "SettlesWithResults",
    "StateProvider",
    "StateStore",
    "StoreContext",
    "StrategyProvider",
    "TellsTime",
]
