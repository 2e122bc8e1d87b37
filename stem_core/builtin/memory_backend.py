"""The result backend of ``memory://``."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stem_core.builtin.memory_store import MemoryStore, store_for
from stem_core.builtin.waiter import Waiter
from stem_core.clock import Clock
from stem_core.contracts import ResultBackend, StoreContext
from stem_core.model import TaskState, TaskStatus


@asynccontextmanager
async def open_backend(context: StoreContext) -> AsyncIterator[ResultBackend]:
    """Open the backend of a name; all that open one name in this process share its results."""
    yield MemoryBackend(store_for(context), context.clock)


class MemoryBackend(ResultBackend):
    """One session on the results of a :class:`~stem_core.builtin.memory_store.MemoryStore`."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self.store = store
        self._clock = clock

    async def record(self, statuses: Sequence[TaskStatus]) -> None:
        """One hold of the lock for all."""
        store, now = self.store, self._clock.now()
        with store.lock:
            store.results.sweep(now, 2 * len(statuses))
            for status in statuses:
                store.record(status, now)

    async def get(self, ids: Sequence[str]) -> dict[str, TaskStatus]:
        """Looked up by id."""
        results, now = self.store.results, self._clock.now()
        with self.store.lock:
            found = ((key, results.get(key, now)) for key in ids)
            return {key: status for key, status in found if status is not None}

    async def wait(self, id: str, timeout: float) -> TaskStatus | None:
        """Sleeps until the terminal status is recorded, by whatever loop or thread of this process."""
        store = self.store
        with store.lock:
            status = store.results.get(id, self._clock.now())
            if timeout <= 0 or (status is not None and status.state.terminal):
                return status
            waiter = Waiter()
            store.result_waiters.setdefault(id, set()).add(waiter)
        try:
            await waiter.sleep(timeout)
        finally:
            with store.lock:
                waiters = store.result_waiters.get(id)
                if waiters is not None:
                    waiters.discard(waiter)
                    if not waiters:
                        del store.result_waiters[id]
        with store.lock:
            return store.results.get(id, self._clock.now())

    async def list(
        self, *, state: TaskState | None = None, task: str | None = None, limit: int = 100, after: str | None = None
    ) -> builtins.list[TaskStatus]:
        """Sorted when asked."""
        with self.store.lock:
            found = [
                status
                for key, status in self.store.results.live(self._clock.now())
                if (after is None or key > after)
                and (state is None or status.state is state)
                and (task is None or status.task == task)
            ]
        return sorted(found, key=lambda status: status.id)[:limit]

    async def forget(self, ids: Sequence[str]) -> int:
        """Waiters go on waiting for what may come."""
        now = self._clock.now()
        with self.store.lock:
            return sum(self.store.results.pop(key, now) is not None for key in ids)
