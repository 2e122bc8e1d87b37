"""The state store of ``memory://``."""

from __future__ import annotations

import builtins
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stem_core.builtin.expiring import Expiring
from stem_core.builtin.memory_store import MemoryStore, store_for
from stem_core.clock import Clock
from stem_core.contracts import Record, StateStore, StoreContext
from stem_core.errors import VersionConflict


@asynccontextmanager
async def open_state(context: StoreContext) -> AsyncIterator[StateStore]:
    """Open the state store of a name; all that open one name in this process share its records."""
    yield MemoryState(store_for(context), context.clock)


class MemoryState(StateStore):
    """One session on the records of a :class:`~stem_core.builtin.memory_store.MemoryStore`."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(
        self, collection: str, key: str, value: bytes, *, ttl: float | None = None, if_version: int | None = None
    ) -> int:
        """Compared and written under one hold of the lock."""
        store, now = self._store, self._clock.now()
        with store.lock:
            records = store.records.setdefault(collection, Expiring())
            if if_version is not None:
                old = records.get(key, now)
                found = old.version if old is not None else 0
                if found != if_version:
                    raise VersionConflict(collection, key, if_version, found)
            store.version += 1
            records.sweep(now, 2)
            record = Record(key=key, value=value, version=store.version)
            records.put(key, record, now + ttl if ttl is not None else math.inf)
            return store.version

    async def get(self, collection: str, key: str) -> Record | None:
        """Looked up by key."""
        with self._store.lock:
            records = self._store.records.get(collection)
            return records.get(key, self._clock.now()) if records is not None else None

    async def list(self, collection: str, *, since_version: int = 0) -> builtins.list[Record]:
        """Sorted when asked."""
        with self._store.lock:
            records = self._store.records.get(collection)
            live = [record for _, record in records.live(self._clock.now())] if records is not None else []
        return sorted((r for r in live if r.version > since_version), key=lambda record: record.version)

    async def delete(self, collection: str, key: str) -> bool:
        """A record whose time is over counts as none."""
        with self._store.lock:
            records = self._store.records.get(collection)
            return records is not None and records.pop(key, self._clock.now()) is not None
