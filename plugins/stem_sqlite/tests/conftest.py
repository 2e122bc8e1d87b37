"""What the tests of this plugin share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from contracts.cases.base import WINDOW, OpenedStore
from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts import StoreContext
from stem_core.model import StoreUrl
from stem_sqlite import opening
from stem_sqlite.settings import SqliteSettings

OpenSqlite = Callable[..., AbstractAsyncContextManager[OpenedStore]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of the test is."""
    return tmp_path / "stem.db"


@pytest.fixture
def open_sqlite(path: Path) -> OpenSqlite:
    """Opens broker, backend and state store of the test's database."""

    @asynccontextmanager
    async def opener(
        clock: Clock = SYSTEM_CLOCK,
        *,
        dedupe_window: float = WINDOW,
        namespace: str = "test",
        settings: SqliteSettings | None = None,
    ) -> AsyncIterator[OpenedStore]:
        context = StoreContext(
            url=StoreUrl.parse(f"sqlite:///{path}"),
            namespace=namespace,
            clock=clock,
            dedupe_window=dedupe_window,
            settings=settings,
        )
        async with (
            opening.open_broker(context) as broker,
            opening.open_backend(context) as backend,
            opening.open_state(context) as state,
        ):
            yield OpenedStore(broker=broker, backend=backend, state=state)

    return opener
