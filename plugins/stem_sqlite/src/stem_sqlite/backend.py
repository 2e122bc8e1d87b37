"""The result backend of ``sqlite://``."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Sequence

from stem_core.contracts import ResultBackend
from stem_core.model import TaskState, TaskStatus
from stem_core.wire.records import decode_status
from stem_sqlite import outcomes
from stem_sqlite.database import Database
from stem_sqlite.transaction import texts
from stem_sqlite.waiting import ResultWaiters

#: Statuses that one transaction stores; more take several.
_PORTION = 2_000

_GET = """
SELECT outcomes.id, body FROM json_each(?2) wanted CROSS JOIN outcomes
WHERE ns = ?1 AND outcomes.id = wanted.value AND body IS NOT NULL AND expires_at > ?3
"""
_LIST = """
SELECT body FROM outcomes
WHERE ns = ?1 AND id > ?2 AND body IS NOT NULL AND expires_at > ?3
    AND (?4 IS NULL OR state = ?4) AND (?5 IS NULL OR task = ?5)
ORDER BY id LIMIT ?6
"""
# The marker and the run of the id stay: they are the broker's.
_FORGET = """
UPDATE outcomes SET body = NULL, state = NULL, task = NULL, terminal = 0, run = 0, expires_at = 0,
    last_run = max(last_run, run)
WHERE ns = ?1 AND id IN (SELECT value FROM json_each(?2)) AND body IS NOT NULL AND expires_at > ?3
"""


class SqliteBackend(ResultBackend):
    """One session on the results of one namespace."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace
        self._waiters = ResultWaiters(database, namespace)

    def lives_in(self, database: Database, namespace: str) -> bool:
        """Whether this is where its results are."""
        return self._database is database and self._namespace == namespace

    def _now(self) -> float:
        return self._database.clock.now()

    async def record(self, statuses: Sequence[TaskStatus]) -> None:
        """In transactions of 2,000 statuses."""
        portions = [statuses[start : start + _PORTION] for start in range(0, len(statuses), _PORTION)]
        await asyncio.gather(*map(self._record, portions))

    async def _record(self, statuses: Sequence[TaskStatus]) -> None:
        await self._database.write(
            lambda tx: outcomes.record(tx, self._namespace, self._now(), statuses, [None] * len(statuses)),
            weight=len(statuses),
        )

    async def get(self, ids: Sequence[str]) -> dict[str, TaskStatus]:
        """Looked up by id."""
        rows = await self._database.read(lambda tx: tx.rows(_GET, (self._namespace, texts(ids), self._now())))
        return {id: decode_status(body) for id, body in rows}

    async def wait(self, id: str, timeout: float) -> TaskStatus | None:
        """All that wait in one process share one look into the database."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        with self._waiters.waiting(id) as finished:
            while True:
                finished.clear()
                status = (await self.get([id])).get(id)
                left = deadline - loop.time()
                if left <= 0 or (status is not None and status.state.terminal):
                    return status
                await finished.wait(left)

    async def list(
        self, *, state: TaskState | None = None, task: str | None = None, limit: int = 100, after: str | None = None
    ) -> builtins.list[TaskStatus]:
        """In order of the index of ids."""
        parameters = (self._namespace, after or "", self._now(), None if state is None else state.value, task, limit)
        rows = await self._database.read(lambda tx: tx.rows(_LIST, parameters))
        return [decode_status(row[0]) for row in rows]

    async def forget(self, ids: Sequence[str]) -> int:
        """The ids stay marked against repeated publishing for the dedupe window."""
        return await self._database.write(
            lambda tx: tx.change(_FORGET, (self._namespace, texts(ids), self._now())), weight=len(ids)
        )
