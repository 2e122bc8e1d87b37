"""Interrupting what runs: time limits, revocations, lost leases and shutdown, all through one scope a delivery."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from stem_core.errors import InterruptReason
from stem_core.worker.inflight import RUNNING, Entry


def interrupt(entry: Entry, reason: InterruptReason, detail: str = "") -> bool:
    """Ask a running entry to stop; the first reason stays. On the worker's loop only.

    A coroutine is cancelled at its next await. A thread cannot be left: its function sees ``ctx.check()``. A process
    is told, so that its function sees it there; it is killed when its lease is lost.
    Returns whether this call was the first.
    """
    if entry.stage is not RUNNING or not mark(entry, reason, detail):
        return False
    if reason == "lease-lost" and kill(entry, reason):
        return True
    task, strategy, call = entry.task, entry.strategy, entry.call
    if strategy is not None and call is not None and strategy.interrupt(call, reason):
        return True
    # Cancelling the asyncio task that waits for a thread would lose the result of a function that ends all the same;
    # without a context the function has not begun.
    if task is not None and (task.is_coroutine or entry.ctx is None) and entry.asyncio_task is not None:
        entry.asyncio_task.cancel(reason)
    return True


def kill(entry: Entry, reason: InterruptReason) -> bool:
    """End what runs, where that is possible; any thread. Returns whether it is."""
    strategy, call = entry.strategy, entry.call
    return strategy is not None and call is not None and strategy.kill(call, reason)


def mark(entry: Entry, reason: InterruptReason, detail: str = "") -> bool:
    """Let ``ctx.check()`` of a running entry raise; any thread. Returns whether this call was the first."""
    if entry.interrupt is not None:
        return False
    entry.interrupt = reason
    entry.interrupted_detail = detail
    if entry.ctx is not None:
        entry.ctx.interrupt = reason
    return True


class Deadlines:
    """The time limits of all that runs: one heap and one timer a worker.

    ``asyncio.timeout`` for every job costs 4.8 us each; an entry here costs 0.6.
    """

    #: So many entries are kept before those that have ended are looked for.
    ROOM = 1024

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        #: When, in order, what, whether it is to be ended against its will, and by how much the task had extended it.
        self._heap: list[tuple[float, int, Entry, bool, float]] = []
        #: Called with what has reached its hard limit.
        self.on_overrun: Callable[[Entry], None] = _nothing
        self._sequence = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._room = self.ROOM

    def add(self, entry: Entry, seconds: float, *, hard: bool = False) -> None:
        """Interrupt the entry as ``time-limit`` after ``seconds``, or end it, unless it has ended by then.

        What ``ctx.extend`` adds meanwhile is looked at when the time has come, so that any thread may extend.
        """
        if len(self._heap) >= self._room:
            self._drop_ended()
        when = self._loop.time() + seconds
        heapq.heappush(self._heap, (when, next(self._sequence), entry, hard, 0.0))
        if self._heap[0][0] == when:
            self._arm()

    def close(self) -> None:
        """Forget all deadlines."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _drop_ended(self) -> None:
        """A long limit must not keep a delivery that ended long before; doubling the room makes it cheap."""
        self._heap = [item for item in self._heap if item[2].stage is RUNNING]
        heapq.heapify(self._heap)
        self._room = max(self.ROOM, 2 * len(self._heap))

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._expire) if self._heap else None

    def _expire(self) -> None:
        now = self._loop.time()
        heap = self._heap
        # Entries that ended are dropped when they come up, or many at once: one by one would cost every job a search.
        while heap and (heap[0][0] <= now or heap[0][2].stage is not RUNNING):
            when, sequence, entry, hard, counted = heapq.heappop(heap)
            if entry.stage is not RUNNING:
                continue
            extended = 0.0 if entry.ctx is None else entry.ctx.extended
            if extended > counted:
                heapq.heappush(heap, (when + extended - counted, sequence, entry, hard, extended))
            elif hard:
                self.on_overrun(entry)
            else:
                interrupt(entry, "time-limit")
        self._timer = None
        self._arm()


def _nothing(entry: Entry) -> None:
    """Until somebody enforces hard limits."""
