"""The state store of ``sqlite://``."""

from __future__ import annotations

import builtins
from typing import Any

from stem_core.contracts import Record, StateStore
from stem_core.errors import VersionConflict
from stem_sqlite.database import Database
from stem_sqlite.transaction import Transaction

_GET = """
SELECT key, value, version FROM state
WHERE ns = ?1 AND collection = ?2 AND key = ?3 AND ifnull(expires_at > ?4, true)
"""
_PUT = """
INSERT INTO state (ns, collection, key, value, version, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (ns, collection, key) DO UPDATE SET
    value = excluded.value, version = excluded.version, expires_at = excluded.expires_at
"""
_LIST = """
SELECT key, value, version FROM state
WHERE ns = ?1 AND collection = ?2 AND version > ?3 AND ifnull(expires_at > ?4, true) ORDER BY version
"""
_DELETE = "DELETE FROM state WHERE ns = ?1 AND collection = ?2 AND key = ?3 AND ifnull(expires_at > ?4, true)"


class SqliteState(StateStore):
    """One session on the records of one namespace. Versions rise across the whole database."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    def _at(self, collection: str, *more: Any) -> tuple[Any, ...]:
        return (self._namespace, collection, *more, self._database.clock.now())

    async def put(
        self, collection: str, key: str, value: bytes, *, ttl: float | None = None, if_version: int | None = None
    ) -> int:
        """Compared and written in one transaction."""

        def run(transaction: Transaction) -> tuple[int, int]:
            """The new version, or 0 and the one that was found."""
            if if_version is not None:
                found = transaction.rows(_GET, self._at(collection, key))
                version = found[0][2] if found else 0
                if version != if_version:
                    return 0, version
            version = transaction.count("version")
            expires_at = None if ttl is None else self._database.clock.now() + ttl
            transaction.change(_PUT, (self._namespace, collection, key, value, version, expires_at))
            return version, 0

        # A conflict is an answer like another: raised inside, it would undo what else is in the transaction.
        written, found = await self._database.write(run)
        if not written and if_version is not None:
            raise VersionConflict(collection, key, if_version, found)
        return written

    async def get(self, collection: str, key: str) -> Record | None:
        """Looked up by key."""
        rows = await self._database.read(lambda tx: tx.rows(_GET, self._at(collection, key)))
        return _record(rows[0]) if rows else None

    async def list(self, collection: str, *, since_version: int = 0) -> builtins.list[Record]:
        """In order of the index of versions."""
        rows = await self._database.read(lambda tx: tx.rows(_LIST, self._at(collection, since_version)))
        return [_record(row) for row in rows]

    async def delete(self, collection: str, key: str) -> bool:
        """A record whose time is over counts as none."""
        return await self._database.write(lambda tx: tx.change(_DELETE, self._at(collection, key)) > 0)


def _record(row: tuple[Any, ...]) -> Record:
    return Record(key=row[0], value=row[1], version=row[2])
