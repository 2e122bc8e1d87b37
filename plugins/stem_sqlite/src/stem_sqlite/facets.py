"""The broker's abilities for people and tools: dead letters, looking, moving, broadcasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stem_core.contracts import Broadcasts, Inspectable, KeepsDeadLetters, TellsTime
from stem_core.model import DeadMessage, StoredMessage
from stem_sqlite import inspecting
from stem_sqlite.claiming import promote
from stem_sqlite.database import Database
from stem_sqlite.inspecting import PORTION
from stem_sqlite.transaction import Transaction


class SqliteFacets(KeepsDeadLetters, Inspectable, Broadcasts, TellsTime):
    """The facets of the broker that are not on the way of a task."""

    def __init__(self, database: Database, namespace: str, dedupe_window: float) -> None:
        self._database = database
        self._namespace = namespace
        self._window = dedupe_window

    def _now(self) -> float:
        return self._database.clock.now()

    async def now(self) -> float:
        """By the clock of this machine: the database has none of its own."""
        return self._now()

    async def _in_portions(self, step: Callable[[Transaction], int]) -> int:
        """Repeat a step until it does less than a portion; how much was done in all."""
        total = 0
        while True:
            done = await self._database.write(step, weight=PORTION)
            total += done
            if done < PORTION:
                return total

    async def dead_letters(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[DeadMessage]:
        """Oldest first; an ``after`` that is there no more gives nothing."""
        return await self._database.read(
            lambda tx: inspecting.dead_letters(tx, self._namespace, queue, self._now(), limit=limit, after=after)
        )

    async def dead_letter(self, id: str) -> DeadMessage | None:
        """Looked up by id."""
        return await self._database.read(lambda tx: inspecting.dead_letter(tx, self._namespace, id, self._now()))

    async def replay(self, ids: Sequence[str]) -> list[str]:
        """In transactions of 2,000 messages."""
        replayed: list[str] = []
        for portion in _cut(ids):
            replayed += await self._replay(portion)
        return replayed

    async def _replay(self, ids: Sequence[str]) -> list[str]:
        return await self._database.write(
            lambda tx: inspecting.replay(tx, self._namespace, ids, self._now()), weight=len(ids)
        )

    async def purge_dead(self, queue: str, ids: Sequence[str] | None = None) -> int:
        """In transactions of 2,000 messages. Those of ``ids`` that are dead letters of another queue stay."""
        return await self._in_portions(
            lambda tx: inspecting.purge_dead(tx, self._namespace, queue, ids, now=self._now(), window=self._window)
        )

    async def peek(
        self, queue: str, state: str = "ready", *, limit: int = 100, after: str | None = None
    ) -> list[StoredMessage]:
        """An ``after`` that is in that state no more gives nothing."""
        await self._database.write(
            lambda tx: promote(tx, self._namespace, queue, self._now()),
            worth=lambda tx: inspecting.due(tx, self._namespace, queue, self._now()),
        )
        return await self._database.read(
            lambda tx: inspecting.peek(tx, self._namespace, queue, state, limit=limit, after=after)
        )

    async def find(self, ids: Sequence[str]) -> dict[str, StoredMessage]:
        """Looked up by id."""
        return await self._database.read(lambda tx: inspecting.find(tx, self._namespace, ids, self._now()))

    async def remove(self, ids: Sequence[str]) -> list[str]:
        """In transactions of 2,000 messages. Leased messages and dead letters stay."""
        removed: list[str] = []
        for portion in _cut(ids):
            removed += await self._remove(portion)
        return removed

    async def _remove(self, ids: Sequence[str]) -> list[str]:
        return await self._database.write(
            lambda tx: inspecting.remove(tx, self._namespace, ids, self._now(), self._window), weight=len(ids)
        )

    async def move(self, queue: str, other: str) -> int:
        """In transactions of 2,000 messages, which keep the queue name that was sealed into them."""
        if queue == other:
            return 0
        return await self._in_portions(lambda tx: inspecting.move(tx, self._namespace, queue, other, self._now()))


def _cut(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + PORTION] for start in range(0, len(ids), PORTION)]
