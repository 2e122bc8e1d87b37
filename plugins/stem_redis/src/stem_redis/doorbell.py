"""Waiting for work: a blocking read of the queues' wake keys, on connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from stem_redis.address import Address
from stem_redis.link import Link

#: The server lets go of a blocking read after this many seconds, so that it notices who is gone.
LONGEST_WAIT = 1.0
#: A wake that nobody took is gone after this many milliseconds: by then all have looked by themselves.
_WAKE_TTL = 5_000


class Doorbell:
    """The waits of one session. A wait that was left goes on at the server for a moment: the next one takes it up,
    and a wake that comes meanwhile is given back, so that it wakes another."""

    def __init__(self, address: Address, commands: Link) -> None:
        self._address = address
        self._commands = commands
        self._links: list[Link] = []
        self._pending: asyncio.Future[Any] | None = None
        self._keys: tuple[bytes, ...] = ()
        self._attached = 0
        self._closed = False

    async def wait(self, keys: tuple[bytes, ...], timeout: float) -> None:
        """Return when one of the keys rings, after ``timeout`` seconds, or after a second."""
        pending = self._pending
        if pending is None or pending.done() or keys != self._keys:
            pending = await self._begin(keys)
        self._attached += 1
        try:
            await asyncio.wait((pending,), timeout=timeout)
        finally:
            self._attached -= 1

    async def _begin(self, keys: tuple[bytes, ...]) -> asyncio.Future[Any]:
        link = next((link for link in self._links if link.connection is None or link.connection.idle), None)
        if link is None:
            link = Link(self._address, "waits", patience=self._address.settings.call_timeout + LONGEST_WAIT)
            self._links.append(link)
        connection = await link.open()
        pending = connection.send("BLPOP", *keys, LONGEST_WAIT)
        pending.add_done_callback(self._rang)
        connection.flush()
        self._pending, self._keys = pending, keys
        return pending

    def _rang(self, pending: asyncio.Future[Any]) -> None:
        if pending.cancelled() or pending.exception() is not None or pending.result() is None:
            return
        connection = self._commands.connection
        if (self._attached == 0 or pending is not self._pending) and connection is not None and not self._closed:
            key = pending.result()[0]
            # Nobody is behind this one; what comes of it does not matter.
            for command in (("RPUSH", key, 1), ("PEXPIRE", key, _WAKE_TTL)):
                connection.send(*command).add_done_callback(_forget)

    async def close(self) -> None:
        """Let go of the server."""
        self._closed = True
        await asyncio.gather(*(link.close() for link in self._links))


def _forget(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():
        reply.exception()


def wake_keys(keys: Sequence[bytes]) -> tuple[bytes, ...]:
    """In one order, so that a subscription that takes turns is the same wait."""
    return tuple(sorted(keys))
