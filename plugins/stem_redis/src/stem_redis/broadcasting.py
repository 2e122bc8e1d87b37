"""Channels on which every listener gets every message: a stream each, and a publication to look at it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from stem_core.errors import StoreError
from stem_redis.keys import Keys
from stem_redis.store import Store

#: Seconds after which a listener looks again, should a publication have been lost.
_LOOK_AGAIN = 5.0


async def send(store: Store, keys: Keys, channel: str, message: bytes, ttl: float) -> None:
    """Keep the message for all who listen, and tell them."""
    await store.run("send", (keys.channel(channel), keys.sent), (ttl * 1000, message, keys.news(channel)))


class Listener(AsyncIterator[tuple[str, bytes]]):
    """The iterator that ``listen`` returns. Listens from the moment it was made, not from its first step."""

    def __init__(self, store: Store, keys: Keys, channels: Sequence[str], since: float | None) -> None:
        self._store = store
        self._channels = tuple(dict.fromkeys(channels))
        self._streams = [keys.channel(channel) for channel in self._channels]
        self._news = [keys.news(channel) for channel in self._channels]
        self._line: deque[tuple[str, bytes]] = deque()
        self._attention = asyncio.Event()
        self._closed = False
        self._places: list[bytes] | None = None
        self._since = "" if since is None else since * 1000
        self._placing = self._begin()
        for news in self._news:
            store.ears.want(news, self._heard)

    def _begin(self) -> asyncio.Task[list[bytes]]:
        # Sent at once, so that whatever is sent from now on comes after it.
        placing: asyncio.Task[list[bytes]] = self._store.commands.begin("place", self._streams, (self._since,))
        # Its error is raised by a step; without one it is nobody's.
        placing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return placing

    def _heard(self, _text: bytes) -> None:
        self._attention.set()

    async def __anext__(self) -> tuple[str, bytes]:
        while not self._line and not self._closed:
            self._attention.clear()
            try:
                await self._fetch()
            except StoreError:
                if not self._closed:
                    raise
            if not self._line and not self._closed:
                try:
                    async with asyncio.timeout(_LOOK_AGAIN):
                        await self._attention.wait()
                except TimeoutError:
                    continue
        if self._closed:
            raise StopAsyncIteration
        return self._line.popleft()

    async def _fetch(self) -> None:
        if self._places is None:
            try:
                self._places = await asyncio.shield(self._placing)
            except StoreError:
                self._placing = self._begin()
                raise
        places = self._places
        if not places:
            return
        flat = await self._store.run("news", self._streams, places)
        for n in range(0, len(flat), 3):
            number, place, message = flat[n] - 1, flat[n + 1], flat[n + 2]
            places[number] = place
            if message is not None:
                self._line.append((self._channels[number], message))

    async def aclose(self) -> None:
        """Stop listening; a step that waits ends the iteration."""
        self._closed = True
        self._attention.set()
        for news in self._news:
            self._store.ears.leave(news, self._heard)
