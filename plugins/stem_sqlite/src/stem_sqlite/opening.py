"""From a URL to an opened database. This module imports the driver; the plugin's own does not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from stem_core.contracts import Broker, ResultBackend, StateStore, StoreContext
from stem_core.errors import StoreRefused
from stem_core.model import StoreUrl
from stem_sqlite.backend import SqliteBackend
from stem_sqlite.broker import SqliteBroker
from stem_sqlite.connection import EngineOptions
from stem_sqlite.database import Database
from stem_sqlite.settings import SqliteSettings
from stem_sqlite.state import SqliteState


class _Shared:
    """A database, and how many use it."""

    def __init__(self) -> None:
        self.users = 0
        self.opening = asyncio.Lock()
        self.database: Database | None = None


# By process and event loop as well: neither a forked child nor another thread finds what is not its own.
_shared: dict[tuple[int, asyncio.AbstractEventLoop, EngineOptions], _Shared] = {}


@asynccontextmanager
async def open_broker(context: StoreContext) -> AsyncIterator[Broker]:
    """The broker of a database file.

    Raises:
        StoreRefused: it cannot be used: permissions, another program's file, a newer schema, an old SQLite.
        StoreUnavailable: it stayed locked by another process, or the disk is full.
    """
    async with _database(context) as database:
        broker = SqliteBroker(database, context.namespace, context.dedupe_window)
        try:
            yield broker
        finally:
            await broker.close()


@asynccontextmanager
async def open_backend(context: StoreContext) -> AsyncIterator[ResultBackend]:
    """The result backend of a database file; raises as :func:`open_broker`."""
    async with _database(context) as database:
        yield SqliteBackend(database, context.namespace)


@asynccontextmanager
async def open_state(context: StoreContext) -> AsyncIterator[StateStore]:
    """The state store of a database file; raises as :func:`open_broker`."""
    async with _database(context) as database:
        yield SqliteState(database, context.namespace)


@asynccontextmanager
async def _database(context: StoreContext) -> AsyncIterator[Database]:
    settings = context.settings if context.settings is not None else SqliteSettings()
    options = EngineOptions(
        path=database_path(context.url, context.directory),
        clock=context.clock,
        synchronous=settings.synchronous,
        busy_timeout=settings.busy_timeout,
        poll_interval=settings.poll_interval,
    )
    key = (os.getpid(), asyncio.get_running_loop(), options)
    shared = _shared.setdefault(key, _Shared())
    shared.users += 1
    try:
        async with shared.opening:
            if shared.database is None:
                database = Database(options)
                await database.start()
                shared.database = database
        yield shared.database
    finally:
        shared.users -= 1
        if not shared.users:
            del _shared[key]
            if shared.database is not None:
                await shared.database.close()


def database_path(url: StoreUrl, directory: str | None) -> Path:
    """The absolute path of ``sqlite:///relative.db`` (to ``directory``, else the current folder) or
    ``sqlite:////absolute.db``.

    Raises:
        StoreRefused: the URL names no file, or has options.
    """
    location = url.location
    if url.options:
        raise StoreRefused(
            f"the URL {url} has options; sqlite:// takes none",
            hint="set them in [sqlite] of stem.toml or as STEM_SQLITE_...",
        )
    if not location.startswith("/") or location in {"/", "//"}:
        raise StoreRefused(
            f"the URL {url} names no file",
            hint="write sqlite:///relative.db (three slashes) or sqlite:////absolute/path.db (four)",
        )
    if location == "/:memory:":
        raise StoreRefused("sqlite keeps its queues in a file", hint="use memory:// for one process, or name a file")
    # One name for one file, however it is reached: the bells hang beside it.
    return (Path(directory or "") / Path(location[1:]).expanduser()).resolve()
