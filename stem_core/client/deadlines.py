"""Time limits of calls to stores: one timer for all that are under way.

``asyncio.timeout`` costs 4.8 us a call, most of it the timer that is made and cancelled; an entry here costs 1.0
(CPython 3.11), and a call to a store is made for every job that is enqueued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from stem_core.errors import StoreUnavailable

T = TypeVar("T")


class _Call:
    """One call under way, and the task that awaits it."""

    __slots__ = ("cancelling", "due", "expired", "task")

    def __init__(self, task: asyncio.Task[object], due: float) -> None:
        self.task = task
        self.due = due
        #: How often the task had been cancelled by others before.
        self.cancelling = task.cancelling()
        self.expired = False


class CallDeadlines:
    """The calls of one session. Belongs to the event loop on which it is used first."""

    def __init__(self) -> None:
        self._calls: set[_Call] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, seconds: float, work: Awaitable[T], what: str) -> T:
        """Await ``work``, at most so many seconds. ``what`` names the store and the call for the message.

        Raises:
            StoreUnavailable: not done in time; it was cancelled, and has ended.
        """
        task = asyncio.current_task()
        assert task is not None
        loop = task.get_loop()
        call = _Call(task, loop.time() + seconds)
        self._calls.add(call)
        timer = self._timer
        if timer is None or timer.when() > call.due:
            if timer is not None:
                timer.cancel()
            self._timer = loop.call_at(call.due, self._expire, loop)
        try:
            return await work
        except asyncio.CancelledError as error:
            if not call.expired:
                raise
            call.expired = False
            # As asyncio.timeout does: who else cancelled the task has to be heard.
            if task.uncancel() > call.cancelling:
                raise
            raise _late(seconds, what) from error
        except TimeoutError as error:
            # A store that has a limit of its own, and did not translate it.
            raise _late(seconds, what) from error
        finally:
            self._calls.discard(call)
            if call.expired:
                # It raised something else, or returned, in spite of the cancellation.
                task.uncancel()

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        following: float | None = None
        for call in self._calls:
            if call.due <= now:
                if not call.expired:
                    call.expired = True
                    call.task.cancel()
            elif following is None or call.due < following:
                following = call.due
        self._timer = None if following is None else loop.call_at(following, self._expire, loop)


def _late(seconds: float, what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"no answer within {seconds:g} s ({what})",
        hint="see that the store is up and can be reached, or raise worker.call_timeout (STEM_WORKER_CALL_TIMEOUT)",
    )
