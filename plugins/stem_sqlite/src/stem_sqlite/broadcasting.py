"""Channels on which every listener gets every message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from stem_sqlite.database import LONGEST_WAIT, Attention, Database
from stem_sqlite.doorbell import BROADCAST
from stem_sqlite.transaction import Transaction, texts

_SEND = "INSERT INTO broadcasts (ns, channel, sent_at, expires_at, message) VALUES (?, ?, ?, ?, ?)"
# Numbers are never given twice, and one writer at a time gives them, so their order is that of sending.
_LAST = "SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'broadcasts'), 0)"
_BEFORE = """
SELECT ifnull(min(broadcasts.seq) - 1, ?4) FROM json_each(?2) wanted CROSS JOIN broadcasts
WHERE ns = ?1 AND channel = wanted.value AND sent_at >= ?3
"""
_NEXT = """
SELECT broadcasts.seq, channel, message FROM json_each(?2) wanted CROSS JOIN broadcasts
WHERE ns = ?1 AND channel = wanted.value AND broadcasts.seq > ?3 AND expires_at > ?4
ORDER BY broadcasts.seq LIMIT 500
"""


def send(transaction: Transaction, namespace: str, channel: str, message: bytes, *, now: float, ttl: float) -> None:
    """Keep the message for all who listen."""
    transaction.change(_SEND, (namespace, channel, now, now + ttl, message))
    transaction.news.add(BROADCAST)


class Listener(AsyncIterator[tuple[str, bytes]]):
    """The iterator that ``listen`` returns. Listens from the moment it was made, not from its first step."""

    def __init__(self, database: Database, namespace: str, channels: Sequence[str], since: float | None) -> None:
        self._database = database
        self._namespace = namespace
        self._channels = texts(channels)
        self._line: deque[tuple[str, bytes]] = deque()
        self._attention: Attention | None = None
        self._closed = False
        #: What was sent up to here has been seen; asked for at once, so that what is sent from now on comes after it.
        self._place: asyncio.Future[int] | int = database.reading(lambda tx: self._start(tx, since))
        # Its error is raised by the first step; without one it is nobody's.
        self._place.add_done_callback(lambda place: place.cancelled() or place.exception())

    def _start(self, transaction: Transaction, since: float | None) -> int:
        last: int = transaction.row(_LAST)[0]
        if since is None:
            return last
        before: int = transaction.row(_BEFORE, (self._namespace, self._channels, since, last))[0]
        return before

    async def __anext__(self) -> tuple[str, bytes]:
        if not self._line and not self._closed:
            with self._database.attention(BROADCAST) as self._attention:
                await self._gather(self._attention)
        if self._closed:
            raise StopAsyncIteration
        return self._line.popleft()

    async def _gather(self, attention: Attention) -> None:
        while not self._line and not self._closed:
            attention.clear()
            if not isinstance(self._place, int):
                self._place = await asyncio.shield(self._place)
            await self._fetch(self._place)
            if not self._line and not self._closed:
                await attention.wait(LONGEST_WAIT)

    async def _fetch(self, place: int) -> None:
        now = self._database.clock.now()
        rows = await self._database.read(lambda tx: tx.rows(_NEXT, (self._namespace, self._channels, place, now)))
        if rows:
            self._place = rows[-1][0]
            self._line.extend((channel, message) for _, channel, message in rows)

    async def aclose(self) -> None:
        """Stop listening; a step that waits ends the iteration."""
        self._closed = True
        if self._attention is not None:
            self._attention.rouse()
