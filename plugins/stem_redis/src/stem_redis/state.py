"""The state store of ``redis://``."""

from __future__ import annotations

import builtins
from typing import Any

from stem_core.contracts import Record, StateStore
from stem_core.errors import VersionConflict
from stem_redis.connection import Argument
from stem_redis.keys import Keys
from stem_redis.store import Store, TellsServerTime


class RedisState(TellsServerTime, StateStore):
    """One session on the records of one namespace. Versions rise across the namespace, also when it was emptied."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._keys = Keys(namespace)

    async def _run(self, collection: str, *arguments: Argument) -> Any:
        return await self._store.run("state", self._keys.state(collection), arguments)

    async def put(
        self, collection: str, key: str, value: bytes, *, ttl: float | None = None, if_version: int | None = None
    ) -> int:
        """Compared and written in one script."""
        expected = "" if if_version is None else if_version
        done, version = await self._run(collection, "put", key, value, "" if ttl is None else ttl * 1000, expected)
        if not done:
            raise VersionConflict(collection, key, if_version or 0, int(version))
        return int(version)

    async def get(self, collection: str, key: str) -> Record | None:
        """Looked up by key."""
        found = await self._run(collection, "get", key)
        return None if found is None else Record(key=key, value=found[1], version=int(found[0]))

    async def list(self, collection: str, *, since_version: int = 0) -> builtins.list[Record]:
        """In order of the sorted set of versions."""
        flat = await self._run(collection, "list", since_version)
        return [
            Record(key=flat[n].decode(), value=flat[n + 2], version=int(flat[n + 1])) for n in range(0, len(flat), 3)
        ]

    async def delete(self, collection: str, key: str) -> bool:
        """A record whose time is over counts as none."""
        return bool(await self._run(collection, "delete", key))
