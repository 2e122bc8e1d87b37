"""Waiting for results: one look into the database for all that wait in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from stem_core.errors import StoreError
from stem_sqlite.database import LONGEST_WAIT, Attention, Database
from stem_sqlite.doorbell import RESULT
from stem_sqlite.transaction import texts

_FINISHED = """
SELECT outcomes.id FROM json_each(?2) wanted CROSS JOIN outcomes
WHERE ns = ?1 AND outcomes.id = wanted.value AND terminal
"""
#: Where more than these wait, a look is followed by a rest of so many times its length.
_CROWD, _REST = 100, 5.0


class ResultWaiters:
    """Who waits for which id. The looking goes on in a task of its own while anybody waits."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, set[Attention]] = {}
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def waiting(self, id: str) -> Iterator[Attention]:
        """Be woken when ``id`` may have finished; looks that begin later see it."""
        attention = Attention(self._loop)
        self._waiting.setdefault(id, set()).add(attention)
        if self._looking is None:
            self._looking = self._loop.create_task(self._look())
        try:
            yield attention
        finally:
            waiting = self._waiting[id]
            waiting.discard(attention)
            if not waiting:
                del self._waiting[id]
            if not self._waiting and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        with self._database.attention(RESULT) as news:
            while True:
                news.clear()
                begun = self._loop.time()
                for id in await self._finished(list(self._waiting)):
                    for attention in self._waiting.get(id, ()):
                        attention.rouse()
                if len(self._waiting) > _CROWD:
                    await asyncio.sleep((self._loop.time() - begun) * _REST)
                await news.wait(LONGEST_WAIT)

    async def _finished(self, ids: list[str]) -> list[str]:
        try:
            rows = await self._database.read(lambda tx: tx.rows(_FINISHED, (self._namespace, texts(ids))))
        except StoreError:
            # Those who wait look for themselves then, and meet the error where it can be raised.
            return ids
        return [row[0] for row in rows]
