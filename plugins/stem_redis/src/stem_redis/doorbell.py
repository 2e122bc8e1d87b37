"""Waiting for work: a blocking read of the queues' wake keys, on connections of its own."""

from __future__ import annotations

import asyncio
import functools
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
        self._loop = asyncio.get_running_loop()
        self._links: list[Link] = []
        #: The read that is under way, and its keys.
        self._reading: object | None = None
        self._keys: tuple[bytes, ...] = ()
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    async def wait(self, keys: tuple[bytes, ...], timeout: float) -> None:
        """Return when one of the keys rings, after ``timeout`` seconds, or after a second."""
        if self._reading is None or keys != self._keys:
            await self._begin(keys)
        waiting = self._loop.create_future()
        self._waiting.add(waiting)
        timer = self._loop.call_later(timeout, _finish, waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            self._waiting.discard(waiting)

    def ring(self) -> bool:
        """End the waits; whether there were any."""
        waits = [waiting for waiting in self._waiting if not waiting.done()]
        for waiting in waits:
            waiting.set_result(None)
        return bool(waits)

    async def _begin(self, keys: tuple[bytes, ...]) -> None:
        link = next((link for link in self._links if link.connection is None or link.connection.idle), None)
        if link is None:
            link = Link(self._address, "waits", patience=self._address.settings.call_timeout + LONGEST_WAIT)
            self._links.append(link)
        connection = await link.open()
        reading = self._reading = object()
        self._keys = keys
        connection.post(("BLPOP", *keys, LONGEST_WAIT), functools.partial(self._rang, reading), at_once=True)

    def _rang(self, reading: object, reply: Any) -> None:
        heard = False
        if reading is self._reading:
            self._reading = None
            heard = bool(self._waiting)
            # An error is no reason to wait on: the next claim tells what it is about.
            self.ring()
        if heard or self._closed or reply is None or isinstance(reply, Exception):
            return
        connection = self._commands.connection
        if connection is not None:
            for command in (("RPUSH", reply[0], 1), ("PEXPIRE", reply[0], _WAKE_TTL)):
                # What comes of it does not matter: all look by themselves within a second.
                connection.post(command, _forget)

    async def close(self) -> None:
        """Let go of the server."""
        self._closed = True
        await asyncio.gather(*(link.close() for link in self._links))


def _forget(_reply: Any) -> None:
    pass


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def wake_keys(keys: Sequence[bytes]) -> tuple[bytes, ...]:
    """In one order, so that a subscription that takes turns is the same wait."""
    return tuple(sorted(keys))
