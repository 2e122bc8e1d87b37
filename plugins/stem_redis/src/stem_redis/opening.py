"""From a URL to an opened server. This module imports the driver; the plugin's own does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stem_core.clock import Clock
from stem_core.contracts import Broker, ResultBackend, StateStore, StoreContext
from stem_redis.address import Address
from stem_redis.backend import RedisBackend
from stem_redis.broker import RedisBroker
from stem_redis.settings import RedisSettings
from stem_redis.state import RedisState
from stem_redis.store import Store


class _Shared:
    """A store, and how many use it."""

    def __init__(self) -> None:
        self.users = 0
        self.opening = asyncio.Lock()
        self.store: Store | None = None


# By process and event loop as well: neither a forked child nor another thread finds what is not its own.
_shared: dict[tuple[int, asyncio.AbstractEventLoop, Address, Clock], _Shared] = {}


@asynccontextmanager
async def open_broker(context: StoreContext) -> AsyncIterator[Broker]:
    """The broker on a server.

    Raises:
        StoreRefused: it cannot be used: password, permissions, an old version, a replica, a policy of eviction.
        StoreUnavailable: it cannot be reached, or not for now.
    """
    async with _store(context) as store:
        broker = RedisBroker(store, context.namespace, context.dedupe_window)
        try:
            yield broker
        finally:
            await broker.close()


@asynccontextmanager
async def open_backend(context: StoreContext) -> AsyncIterator[ResultBackend]:
    """The result backend on a server; raises as :func:`open_broker`."""
    async with _store(context) as store:
        backend = RedisBackend(store, context.namespace)
        try:
            yield backend
        finally:
            backend.close()


@asynccontextmanager
async def open_state(context: StoreContext) -> AsyncIterator[StateStore]:
    """The state store on a server; raises as :func:`open_broker`."""
    async with _store(context) as store:
        yield RedisState(store, context.namespace)


@asynccontextmanager
async def _store(context: StoreContext) -> AsyncIterator[Store]:
    settings = context.settings if context.settings is not None else RedisSettings()
    address = Address.parse(context.url, settings)
    key = (os.getpid(), asyncio.get_running_loop(), address, context.clock)
    shared = _shared.setdefault(key, _Shared())
    shared.users += 1
    try:
        async with shared.opening:
            if shared.store is None:
                store = Store(address, context.clock)
                try:
                    await store.open()
                except BaseException:
                    await store.close()
                    raise
                shared.store = store
        yield shared.store
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[key]
            if shared.store is not None:
                await shared.store.close()
