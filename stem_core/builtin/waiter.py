"""Sleeping until another task, loop or thread has news."""

from __future__ import annotations

import asyncio
import contextlib
import math


class Waiter:
    """One coroutine that sleeps on its own event loop and may be woken from any other."""

    __slots__ = ("_future", "_loop", "until")

    def __init__(self, until: float = math.inf) -> None:
        """``until``: when it wakes by itself, by the store's clock."""
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()
        self.until = until

    async def sleep(self, seconds: float) -> None:
        """Return when woken, at the latest after ``seconds``. May be cancelled."""
        timer = self._loop.call_later(max(0.0, seconds), self._finish)
        try:
            await self._future
        finally:
            timer.cancel()

    def wake(self) -> None:
        """End the sleep; callable from a coroutine of any loop."""
        if self._loop is asyncio.get_running_loop():
            self._finish()
        else:
            # The sleeper's loop may have been closed since: then nobody sleeps there any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self._future.done():
            self._future.set_result(None)
