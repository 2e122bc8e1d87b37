"""The broker's abilities for people and tools: dead letters, looking, moving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stem_core.contracts import Inspectable, KeepsDeadLetters
from stem_core.errors import StoreRefused
from stem_core.model import DeadMessage, StoredMessage
from stem_redis.bodies import Record
from stem_redis.connection import Argument
from stem_redis.keys import Keys
from stem_redis.settling import DEAD_KEPT, PORTION
from stem_redis.store import Store, in_portions, together

#: Id, record, time and body of a message, as the script ``fetch`` replies.
Found = tuple[str, Record, float, bytes]


class RedisFacets(KeepsDeadLetters, Inspectable):
    """The facets of the broker that are not on the way of a task. They change 500 messages at a time."""

    def __init__(self, store: Store, namespace: str, dedupe_window: float) -> None:
        self._store = store
        self._keys = Keys(namespace)
        self._window = dedupe_window

    async def _queues_of(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """The ids by the queue they are in; those that are nowhere are left out."""
        queues: dict[str, list[str]] = {}
        if ids:
            records = await self._store.commands.call("HMGET", self._keys.jobs, *ids)
            for id, record in zip(ids, records, strict=True):
                if record is not None:
                    queues.setdefault(Record(record).queue, []).append(id)
        return queues

    async def _fetch(self, queue: str, ids: Sequence[str]) -> tuple[float, list[Found]]:
        """The store's time, and what there is of these messages."""
        found: list[Any] = await self._store.run("fetch", self._keys.head(queue), (queue, *ids))
        return found[0] / 1000, [
            (found[n].decode(), Record(found[n + 1]), int(found[n + 2]) / 1000, found[n + 3])
            for n in range(1, len(found), 4)
        ]

    async def _page(self, queue: str, state: str, limit: int, after: str | None) -> list[str]:
        ids: list[bytes] = await self._store.run(
            "peek", self._keys.head(queue), (queue, state, limit, after or "", DEAD_KEPT)
        )
        return [id.decode() for id in ids]

    async def peek(
        self, queue: str, state: str = "ready", *, limit: int = 100, after: str | None = None
    ) -> list[StoredMessage]:
        """An ``after`` that is in that state no more gives nothing."""
        if state not in {"ready", "delayed", "leased"}:
            raise StoreRefused(f"{state!r} is no state to peek at", hint="use ready, delayed or leased")
        ids = await self._page(queue, state, limit, after)
        now, found = await self._fetch(queue, ids)
        stored = [record.stored(id, body, at, now) for id, record, at, body in found]
        return [one for one in stored if one.state == state]

    async def find(self, ids: Sequence[str]) -> dict[str, StoredMessage]:
        """Looked up by id."""
        stored: dict[str, StoredMessage] = {}
        for portion in _cut(ids):
            for queue, some in (await self._queues_of(portion)).items():
                now, found = await self._fetch(queue, some)
                for id, record, at, body in found:
                    if record.state != "X" or at > now - DEAD_KEPT / 1000:
                        stored[id] = record.stored(id, body, at, now)
        return stored

    async def dead_letters(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[DeadMessage]:
        """Oldest first; an ``after`` that is there no more gives nothing."""
        ids = await self._page(queue, "dead", limit, after)
        _, found = await self._fetch(queue, ids)
        return [record.dead(id, body, at) for id, record, at, body in found if record.state == "X"]

    async def dead_letter(self, id: str) -> DeadMessage | None:
        """Looked up by id."""
        for queue in await self._queues_of([id]):
            now, found = await self._fetch(queue, [id])
            for _, record, at, body in found:
                if record.state == "X" and at > now - DEAD_KEPT / 1000:
                    return record.dead(id, body, at)
        return None

    async def replay(self, ids: Sequence[str]) -> list[str]:
        """One script call a queue and 500 ids."""
        replayed: set[str] = set()
        unique = list(dict.fromkeys(ids))
        for portion in _cut(unique):
            for queue, some in (await self._queues_of(portion)).items():
                keys = (*self._keys.head(queue), *self._keys.outcomes(some))
                done = await self._store.run("replay", keys, (queue, DEAD_KEPT, *some))
                replayed.update(id.decode() for id in done)
        return [id for id in unique if id in replayed]

    async def _drop(self, queue: str, ids: Sequence[str], kind: str, *, marks: bool) -> list[str]:
        keys = (*self._keys.head(queue), *self._keys.outcomes(ids))
        arguments: tuple[Argument, ...] = (queue, kind, math.ceil(self._window * 1000), int(marks), DEAD_KEPT, *ids)
        return [id.decode() for id in await self._store.run("drop", keys, arguments)]

    async def purge_dead(self, queue: str, ids: Sequence[str] | None = None) -> int:
        """Those of ``ids`` that are dead letters of another queue stay."""
        if ids is not None:
            dropped = await in_portions(
                list(dict.fromkeys(ids)), PORTION, lambda some: self._drop(queue, some, "dead", marks=False)
            )
            return sum(map(len, dropped))
        total = 0
        while page := await self._page(queue, "dead", PORTION, None):
            done = len(await self._drop(queue, page, "dead", marks=False))
            total += done
            if not done:
                break
        return total

    async def purge(self, queue: str) -> int:
        """Remove what is ready or delayed; a message that is claimed meanwhile stays."""
        total = 0
        for state in ("ready", "delayed"):
            while page := await self._page(queue, state, PORTION, None):
                done = len(await self._drop(queue, page, "waiting", marks=False))
                total += done
                if not done:
                    break
        return total

    async def remove(self, ids: Sequence[str]) -> list[str]:
        """Leased messages and dead letters stay."""
        removed: set[str] = set()
        unique = list(dict.fromkeys(ids))
        for portion in _cut(unique):
            for queue, some in (await self._queues_of(portion)).items():
                removed.update(await self._drop(queue, some, "waiting", marks=True))
        return [id for id in unique if id in removed]

    async def move(self, queue: str, other: str) -> int:
        """The messages keep the queue name that was sealed into them."""
        total = 0
        if queue == other:
            return total
        for state in ("ready", "delayed"):
            while page := await self._page(queue, state, PORTION, None):
                done: int = await self._store.run("move", self._keys.head(queue, other), (queue, other, *page))
                total += done
                if not done:
                    break
        return total

    async def _gathered(self, name: str, queues: Sequence[str], *arguments: Argument) -> list[Any]:
        """The replies of a script for each of the queues."""
        return await together([self._store.run(name, self._keys.head(queue), arguments) for queue in queues])


def _cut(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + PORTION] for start in range(0, len(ids), PORTION)]
