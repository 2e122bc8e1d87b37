"""The app's own resources: entered once a worker, before the first task; left after the last."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any

from stem_core.errors import ConfigurationError
from stem_core.worker.stopping import StopMachine

if TYPE_CHECKING:
    from stem_core.client.app import Stem


class StoppedAtStart(Exception):
    """The worker was asked to stop before it was ready."""


async def enter_lifespan(app: Stem, stack: AsyncExitStack, machine: StopMachine) -> object:
    """Enter what ``Stem(lifespan=...)`` gives, on ``stack``; its value.

    Raises:
        ConfigurationError: it gives no asynchronous context manager.
        StoppedAtStart: a stop was asked for meanwhile.
    """
    if app.lifespan is None:
        return None
    lifespan, loop = _made(app), asyncio.get_running_loop()
    # Entered in this task, not in one of its own: what is entered in one task cannot always be left in another.
    try:
        async with asyncio.timeout(None) as scope:
            stopped = loop.create_task(machine.reached("warm"))
            try:
                stopped.add_done_callback(lambda _: None if stopped.cancelled() else scope.reschedule(loop.time()))
                return await stack.enter_async_context(lifespan)
            finally:
                stopped.cancel()
    except TimeoutError:
        if scope.expired():
            raise StoppedAtStart from None
        raise


def _made(app: Stem) -> AbstractAsyncContextManager[Any]:
    assert app.lifespan is not None
    made: object = app.lifespan(app)
    if isinstance(made, AbstractAsyncContextManager):
        return made
    if inspect.iscoroutine(made):
        made.close()  # Python complains of those that nobody awaited
    raise ConfigurationError(
        f"the lifespan of the app {app.name!r} returned no asynchronous context manager but {type(made).__name__}",
        hint="write it as 'async def' with one yield, under @contextlib.asynccontextmanager",
    )
