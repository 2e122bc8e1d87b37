"""What a plugin declares: the keys it answers to, and how to open what stands behind them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts.backend import ResultBackend
from stem_core.contracts.broker import Broker, BrokerCapabilities
from stem_core.contracts.remote import RemoteInvoker
from stem_core.contracts.state import StateStore
from stem_core.contracts.strategy import ConcurrencyStrategy
from stem_core.model import StoreUrl
from stem_core.model._value import value

#: The version of the contracts and hooks. A plugin states what it needs in ``requires_api``.
API_VERSION = "1.0"


@value
class StoreContext:
    """What an opener is given."""

    url: StoreUrl
    #: Prefix of everything this deployment stores.
    namespace: str
    #: The plugin's own settings section, an attrs object; None when it registered none.
    settings: Any = None
    #: Seconds for which the id of a finished message is remembered.
    dedupe_window: float = 600.0
    #: The time of a store that has no clock of its own. A store whose server has one goes by that, and takes this one
    #: instead when it is another than ``SYSTEM_CLOCK``: then a test turns it.
    clock: Clock = SYSTEM_CLOCK
    #: The folder that relative paths in the URL start from; None for the current one.
    directory: str | None = None


@value
class BrokerProvider:
    """Opens brokers for some URL schemes. ``open`` is called once an event loop, and may be entered several times
    in one process; it imports the driver, not the plugin's module."""

    schemes: tuple[str, ...]
    open: Callable[[StoreContext], AbstractAsyncContextManager[Broker]]
    capabilities: BrokerCapabilities


@value
class BackendProvider:
    """Opens result backends for some URL schemes."""

    schemes: tuple[str, ...]
    open: Callable[[StoreContext], AbstractAsyncContextManager[ResultBackend]]


@value
class StateProvider:
    """Opens state stores for some URL schemes."""

    schemes: tuple[str, ...]
    open: Callable[[StoreContext], AbstractAsyncContextManager[StateStore]]


@value
class StrategyProvider:
    """Makes concurrency strategies of one name. ``open(invoker, slots)`` is called at worker start."""

    name: str
    open: Callable[[RemoteInvoker, int], ConcurrencyStrategy]
    #: Whether coroutine functions may run under it.
    runs_coroutines: bool
    #: Whether plain functions may run under it.
    runs_functions: bool
    #: Whether a running call can be ended against its will, so that time limits of plain functions are kept.
    preemptible: bool = False
    #: Whether functions run in other processes, which import the app by themselves.
    isolated: bool = False


@value
class DefaultUrls:
    """What a plugin proposes when the user configured no store."""

    broker: str | None = None
    backend: str | None = None
    state: str | None = None
