"""One opened server, shared by all that one event loop opens on it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts import TellsTime
from stem_redis.address import Address
from stem_redis.checks import check
from stem_redis.connection import Argument
from stem_redis.ears import Ears
from stem_redis.link import Link


class Store:
    """The connections of one event loop to one server: one for commands, others for what blocks, made when needed."""

    def __init__(self, address: Address, clock: Clock) -> None:
        self.address = address
        self.commands = Link(address, "commands", clock=clock)
        self._clock = clock
        self.ears = Ears(address)
        #: Names this store among all that use the server; part of tokens and of the channel for results.
        self.session = os.urandom(6).hex()

    async def open(self) -> None:
        """Connect, and refuse a server that would lose tasks."""
        await self.commands.open()
        await check(self.commands)

    async def run(
        self, name: str, keys: Sequence[Argument], arguments: Sequence[Argument], *, urgent: bool = False
    ) -> Any:
        """What a script replies; see :meth:`Link.run`."""
        return await self.commands.run(name, keys, arguments, urgent=urgent)

    async def now(self) -> float:
        """The server's time, or that of the clock that stands for it."""
        if self._clock is not SYSTEM_CLOCK:
            return self._clock.now()
        seconds, microseconds = await self.commands.call("TIME")
        return int(seconds) + int(microseconds) / 1e6

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self.ears.close(), self.commands.close())


class TellsServerTime(TellsTime):
    """What broker, backend and state store have in common: the server they are on."""

    _store: Store

    async def now(self) -> float:
        """One command."""
        return await self._store.now()


async def in_portions(items: Sequence[Any], size: int, step: Callable[[Sequence[Any]], Any]) -> list[Any]:
    """The results of ``step`` for portions of the items, one after the other."""
    return [await step(items[start : start + size]) for start in range(0, len(items), size)]


async def together(steps: Sequence[Awaitable[Any]]) -> list[Any]:
    """The results of all; the first error is raised when all have ended."""
    if len(steps) == 1:
        # No turns of the loop for tasks that nothing runs beside.
        return [await steps[0]]
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
