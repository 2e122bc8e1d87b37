"""streaQ: only how fast it enqueues, for the sake of its bulk call."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.drivers.peers import Peer, added

# By name: it is not there when types are checked.
streaq: Any = importlib.import_module("streaq")


async def _add(a: int, b: int) -> int:
    return added(a, b)


class Library(Peer):
    """Its worker object is its client, too."""

    async def open(self, stack: AsyncExitStack) -> None:
        """As its documentation says."""
        self.worker = streaq.Worker(redis_url=self.url)
        self.add_task = self.worker.task(name="add")(_add)
        await stack.enter_async_context(self.worker)

    async def add(self, number: int) -> object:
        """``enqueue`` returns a task that is sent when it is awaited."""
        return await self.add_task.enqueue(number, 1)

    async def add_many(self, numbers: Sequence[int]) -> None:
        """One pipeline."""
        await self.worker.enqueue_many([self.add_task.enqueue(number, 1) for number in numbers])
