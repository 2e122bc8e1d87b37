"""For code without an event loop: one background loop a process, made when it is first needed."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from stem_core.errors import StemError

if TYPE_CHECKING:
    from stem_core.client.app import Stem

logger = logging.getLogger("stem_core.client")

T = TypeVar("T")

#: How long the end of a process waits for the sessions to close, in seconds.
CLOSE_TIMEOUT = 5.0


def run(app: Stem, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``await make()`` on the background loop, where ``app`` is open, and return what it returns. Blocks.

    The context variables of the caller are seen inside, so a task in a thread stays the parent of what it enqueues.

    Raises:
        StemError: called on a running event loop, which it would block.
        StoreError: the app cannot be opened; the next call tries again.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise StemError(
            "a _sync method was called on a running event loop, which it would block",
            hint="use 'await task.enqueue(...)' and 'await handle.result()' inside 'async with app.open()'",
        )
    return _get().run(app, make)


def close() -> None:
    """Close the sessions of the background loop and end it; the next call makes a new one."""
    global _background
    with _lock:
        background, _background = _background, None
    if background is not None:
        background.close()


class _Background:
    """A loop in a thread of its own, and the apps that are open on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._open = AsyncExitStack()
        # A daemon: it must not keep the process from ending.
        self._thread = threading.Thread(target=self._loop.run_forever, name="stem-sync", daemon=True)
        self._thread.start()

    def run(self, app: Stem, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        future = asyncio.run_coroutine_threadsafe(self._inside(app, make), self._loop)
        try:
            return future.result()
        finally:
            # Changes nothing but after a KeyboardInterrupt: nobody waits for it any more.
            future.cancel()

    async def _inside(self, app: Stem, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not app.is_open:
            await self._open.enter_async_context(app.open())
        return await make()

    async def _end(self) -> None:
        await self._open.aclose()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()

    def close(self) -> None:
        closing = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        try:
            closing.result(CLOSE_TIMEOUT)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CLOSE_TIMEOUT)
            if not self._thread.is_alive():
                self._loop.close()


_lock = threading.Lock()
_background: _Background | None = None
#: What belonged to the parent process. Kept, for closing it would act on descriptors that the parent still uses.
_abandoned: list[object] = []


def _get() -> _Background:
    global _background
    with _lock:
        if _background is None:
            _background = _Background()
        return _background


def _after_fork() -> None:
    """In a forked child neither the thread nor the connections exist: begin anew."""
    global _background, _lock
    _lock = threading.Lock()
    if _background is not None:
        _abandoned.append(_background)
        _background = None


def _at_exit() -> None:
    try:
        close()
    except Exception as error:
        logger.warning("the sessions of the background loop could not be closed: %s", error)


os.register_at_fork(after_in_child=_after_fork)
# Before non-daemon threads are joined where Python offers it: those of a driver end when their session is closed.
getattr(threading, "_register_atexit", atexit.register)(_at_exit)
