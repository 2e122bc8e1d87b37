"""The result backend of ``redis://``."""

from __future__ import annotations

import builtins
import heapq
from collections.abc import Sequence

from stem_core.contracts import ResultBackend
from stem_core.model import TaskState, TaskStatus
from stem_core.wire.records import decode_status, encode_status
from stem_redis.connection import Argument
from stem_redis.keys import Keys
from stem_redis.settling import head
from stem_redis.store import Store, TellsServerTime, in_portions
from stem_redis.waiting import ResultWaiters

#: Statuses that one script call stores or reads.
_PORTION = 500


class RedisBackend(TellsServerTime, ResultBackend):
    """One session on the results of one namespace."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store = store
        self._keys = Keys(namespace)
        self._waiters = ResultWaiters(store, self._keys)

    def lives_in(self, store: Store, namespace: str) -> bool:
        """Whether this is where its results are."""
        return self._store is store and self._keys.namespace == namespace

    async def record(self, statuses: Sequence[TaskStatus]) -> None:
        """In script calls of 500 statuses."""
        await in_portions(statuses, _PORTION, self._record)

    async def _record(self, statuses: Sequence[TaskStatus]) -> None:
        arguments: builtins.list[Argument] = []
        for status in statuses:
            arguments += (status.id, head(status), encode_status(status))
        keys = [self._keys.waiters, *self._keys.outcomes([status.id for status in statuses])]
        await self._store.run("record", keys, arguments)

    async def get(self, ids: Sequence[str]) -> dict[str, TaskStatus]:
        """Looked up by key."""
        portions = await in_portions(ids, _PORTION, self._get)
        return {id: status for portion in portions for id, status in portion}

    async def _get(self, ids: Sequence[str]) -> builtins.list[tuple[str, TaskStatus]]:
        found: builtins.list[bytes] = await self._store.run("results", self._keys.outcomes(ids), ())
        return [(id, decode_status(body)) for id, body in zip(ids, found, strict=True) if body]

    async def wait(self, id: str, timeout: float) -> TaskStatus | None:
        """Told by one publication for all of this session's ids that a flush finished."""
        body = await self._waiters.wait(id, timeout)
        return decode_status(body) if body else None

    async def list(
        self, *, state: TaskState | None = None, task: str | None = None, limit: int = 100, after: str | None = None
    ) -> builtins.list[TaskStatus]:
        """Goes through all keys of the database for each page: keeping an order would cost every task, and this is for
        people."""
        prefix = self._keys.outcome_prefix
        least: builtins.list[tuple[str, TaskStatus]] = []
        cursor: Argument = 0
        while True:
            cursor, keys = await self._store.commands.call("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", 1000)
            # A key may come twice in one scan.
            ids = {key.decode().removeprefix(prefix) for key in keys} - {id for id, _ in least}
            if len(least) >= limit:
                ids = {id for id in ids if id < least[-1][0]}
            fitting = [
                (id, status)
                for id, status in (await self.get([id for id in ids if id > (after or "")])).items()
                if (state is None or status.state is state) and (task is None or status.task == task)
            ]
            least = heapq.nsmallest(limit, [*least, *fitting], key=lambda item: item[0])
            if cursor == b"0":
                return [status for _, status in least]

    async def forget(self, ids: Sequence[str]) -> int:
        """The ids stay marked against repeated publishing for the dedupe window."""
        counts = await in_portions(
            ids, _PORTION, lambda some: self._store.run("forget", self._keys.outcomes(dict.fromkeys(some)), ())
        )
        return sum(counts)

    def close(self) -> None:
        """Wait for nothing more."""
        self._waiters.close()
