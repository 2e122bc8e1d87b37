"""The event loop of a child process, in a thread beside the one that runs plain functions."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from stem_core.client.app import Stem

Cancel = Callable[[str], None]


class SideLoop:
    """While started: the app is open on this loop and its lifespan is entered. Leaving it ends both.

    Plain functions have the main thread for themselves: signals and libraries want that one, and no loop runs there,
    so that they may use ``enqueue_sync`` and ``asyncio.run``.
    """

    def __init__(self, app: Stem) -> None:
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ready: Future[None] = Future()
        self._ended: Future[None] = Future()
        #: What the app's lifespan yielded.
        self.state: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave the lifespan, in the task that entered it. Raises what that raises."""
        if self._loop is not None and self._leave is not None:
            self._loop.call_soon_threadsafe(self._leave.set)
            self._ended.result()

    def start(self) -> None:
        """Returns when the lifespan is entered; raises what entering raised."""
        self._thread = threading.Thread(target=self._run, name="stem-loop", daemon=True)
        self._thread.start()
        self._ready.result()

    def run(self, make: Callable[[], Awaitable[None]]) -> None:
        """Await something on the loop, from the main thread."""

        async def inside() -> None:
            await make()

        self._submit(inside(), contextvars.copy_context(), _unheard)

    def call(
        self,
        make: Callable[[], Coroutine[Any, Any, bytes]],
        context: contextvars.Context,
        listen: Callable[[Cancel], None],
    ) -> bytes:
        """Run a coroutine in this context; ``listen`` is given what cancels it, for any thread."""
        if self._loop is None:
            self.start()
        result: bytes = self._submit(make(), context, listen)
        return result

    def _submit(
        self, work: Coroutine[Any, Any, Any], context: contextvars.Context, listen: Callable[[Cancel], None]
    ) -> Any:
        loop = self._loop
        assert loop is not None
        done: Future[tuple[Any, BaseException | None]] = Future()

        async def inside() -> None:
            # What ends a program must not end this loop; nor is a traceback to show the way to the main thread.
            try:
                returned = await work
            except BaseException as error:  # whatever it is, it belongs to the work
                done.set_result((None, error))
            else:
                done.set_result((returned, None))

        def begin() -> None:
            task = loop.create_task(inside(), context=context)
            # A task that is cancelled before its first step does not take one.
            task.add_done_callback(lambda _: None if done.done() else _never_began(work, done))
            listen(lambda reason: _soon(loop, lambda: task.cancel(reason)))

        loop.call_soon_threadsafe(begin)
        returned, error = done.result()
        if error is not None:
            raise error
        return returned

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
            self._ended.set_result(None)
        except BaseException as error:  # told to the main thread, whose process it is
            if self._ready.done():
                self._ended.set_exception(error)
            else:
                self._ready.set_exception(error)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        leave = asyncio.Event()
        async with AsyncExitStack() as stack:
            if self._app.runtime.capabilities.shared:
                await stack.enter_async_context(self._app.open(producer=False))
            if self._app.lifespan is not None:
                self.state = await stack.enter_async_context(self._app.lifespan(self._app))
            self._leave = leave
            self._ready.set_result(None)
            await leave.wait()


def _never_began(work: Coroutine[Any, Any, Any], done: Future[tuple[Any, BaseException | None]]) -> None:
    work.close()
    done.set_result((None, asyncio.CancelledError()))


def _soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


def _unheard(cancel: Cancel) -> None:
    """Nobody cancels it."""
