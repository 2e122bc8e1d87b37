"""Publications: one connection that only listens, kept while anybody wants to hear."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from stem_core.errors import StoreError, StoreUnavailable
from stem_redis.address import Address
from stem_redis.link import Link

#: Seconds between two tries to get the connection back, at most.
_PAUSE = 1.0

Heard = Callable[[bytes], None]


class Ears:
    """Who wants to hear which channel. After a loss all are told, by an empty text, that they may have missed some."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._link = Link(address, "ears", on_push=self._on_push)
        self._wanted: dict[bytes, set[Heard]] = {}
        #: Set once the server has confirmed the channel on the present connection.
        self._confirmed: dict[bytes, asyncio.Event] = {}
        self._keeping: asyncio.Task[None] | None = None

    async def join(self, channel: bytes, heard: Heard) -> None:
        """Hear what is published from the return of this call on.

        Raises:
            StoreUnavailable: the server did not answer in time. The wish stands all the same, until :meth:`leave`.
        """
        self.want(channel, heard)
        try:
            async with asyncio.timeout(self._address.settings.call_timeout):
                await self._confirmed[channel].wait()
        except TimeoutError as error:
            raise StoreUnavailable(f"cannot listen at {self._address} now: no answer") from error

    def want(self, channel: bytes, heard: Heard) -> None:
        """As :meth:`join`, without waiting for the server. ``heard`` gets an empty text once it listens; who wants the
        same again gets none."""
        callbacks = self._wanted.get(channel)
        if callbacks is None:
            callbacks = self._wanted[channel] = set()
            self._confirmed[channel] = asyncio.Event()
            if (connection := self._link.connection) is not None:
                connection.tell("SUBSCRIBE", channel)
        elif heard not in callbacks and self._confirmed[channel].is_set():
            asyncio.get_running_loop().call_soon(heard, b"")
        callbacks.add(heard)
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    def hears(self, channel: bytes) -> bool:
        """Whether the server knows that somebody here wants to hear it."""
        confirmed = self._confirmed.get(channel)
        return confirmed is not None and confirmed.is_set()

    def leave(self, channel: bytes, heard: Heard) -> None:
        """Hear it no more."""
        callbacks = self._wanted.get(channel)
        if callbacks is None:
            return
        callbacks.discard(heard)
        if not callbacks:
            del self._wanted[channel]
            del self._confirmed[channel]
            if (connection := self._link.connection) is not None:
                connection.tell("UNSUBSCRIBE", channel)

    async def _keep(self) -> None:
        while True:
            try:
                connection = await self._link.open()
            except StoreError:
                # Whoever waits looks from time to time, and meets the error where it can be raised.
                await asyncio.sleep(_PAUSE * random.random())
                continue
            for event in self._confirmed.values():
                event.clear()
            if self._wanted:
                connection.tell("SUBSCRIBE", *self._wanted)
            await asyncio.wait((connection.closed,))

    def _on_push(self, reply: list[Any] | Exception) -> None:
        if isinstance(reply, Exception):
            # The user may not listen: nothing is ever confirmed, and who waits looks from time to time.
            return
        kind, channel = reply[0], reply[1]
        if kind == b"message":
            text = reply[2]
        elif kind == b"subscribe" and channel in self._confirmed:
            self._confirmed[channel].set()
            text = b""
        else:
            return
        for heard in tuple(self._wanted.get(channel, ())):
            heard(text)

    async def close(self) -> None:
        """Stop listening."""
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
        await self._link.close()
