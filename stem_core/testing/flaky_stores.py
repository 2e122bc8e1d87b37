"""A plugin for tests: ``flaky://NAME`` behaves as ``memory://NAME`` until ``faults_of(NAME)`` says otherwise.

::

    app = Stem("shop", broker_url="flaky://shop", plugins=["stem_core.testing.flaky_stores"])
    faults_of("shop").script("settle", "lost reply")
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from stem_core.builtin import memory_backend, memory_broker, memory_state
from stem_core.contracts import BackendProvider, BrokerCapabilities, BrokerProvider, StateProvider, StoreContext
from stem_core.hooks import hookimpl
from stem_core.testing.flaky import Faults, FlakyBackend, FlakyBroker, FlakyState

_SCHEMES = ("flaky",)
_faults: dict[str, Faults] = {}


def faults_of(name: str) -> Faults:
    """The faults of ``flaky://name``, shared by its broker, backend and state store."""
    return _faults.setdefault(name, Faults())


def _opener(
    kind: Callable[[Any, Faults], Any], open_inner: Callable[[StoreContext], AbstractAsyncContextManager[Any]]
) -> Callable[[StoreContext], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def opened(context: StoreContext) -> AsyncIterator[Any]:
        faults = faults_of(context.url.location)
        await faults.before("open")
        async with open_inner(context) as inner:
            yield kind(inner, faults)

    return opened


@hookimpl
def stem_register_brokers() -> list[BrokerProvider]:
    """``flaky://``."""
    capabilities = BrokerCapabilities(durable=False, shared=False)
    return [
        BrokerProvider(
            schemes=_SCHEMES, open=_opener(FlakyBroker, memory_broker.open_broker), capabilities=capabilities
        )
    ]


@hookimpl
def stem_register_result_backends() -> list[BackendProvider]:
    """``flaky://``."""
    return [BackendProvider(schemes=_SCHEMES, open=_opener(FlakyBackend, memory_backend.open_backend))]


@hookimpl
def stem_register_state_stores() -> list[StateProvider]:
    """``flaky://``."""
    return [StateProvider(schemes=_SCHEMES, open=_opener(FlakyState, memory_state.open_state))]
