"""Running tasks on the worker's event loop."""

from __future__ import annotations

import asyncio
from typing import Literal

from stem_core.contracts import Call, ConcurrencyStrategy, Invoker


class EventLoopStrategy(ConcurrencyStrategy):
    """Awaits the function where it stands; the worker gives every call an asyncio task of its own.

    A coroutine that blocks the loop blocks the worker's other coroutines too; nothing here can help that.
    """

    def __init__(self, invoker: Invoker, slots: int) -> None:
        """``slots`` is the worker's business: a loop has room for any number."""
        self._invoker = invoker
        self._running = 0
        self._drained: asyncio.Event | None = None

    async def run(self, call: Call) -> bytes:
        """A cancellation reaches the function at its next await."""
        self._running += 1
        try:
            return await self._invoker.call(call)
        finally:
            self._running -= 1
            if self._drained is not None and not self._running:
                self._drained.set()

    async def resize(self, slots: int) -> None:
        """Nothing to do: a loop has room for any number."""

    async def close(self, mode: Literal["drain", "abandon"]) -> None:
        """``abandon`` leaves the calls to whoever holds their asyncio tasks."""
        if mode == "drain" and self._running:
            self._drained = self._drained or asyncio.Event()
            await self._drained.wait()
