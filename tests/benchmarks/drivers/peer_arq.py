"""arq: takes a lock for each job and acknowledges after it; keeps results under a key of their own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.drivers.peers import Peer, added, stamped
from benchmarks.redis_gauge import Server

# By name: it is not there when types are checked.
arq: Any = importlib.import_module("arq")
connections: Any = importlib.import_module("arq.connections")


async def add(_context: object, a: int, b: int) -> int:
    """The task."""
    return added(a, b)


async def stamp(_context: object) -> float:
    """When it ran."""
    return stamped()


class Library(Peer):
    """It polls; every 10 ms instead of every half second, so that there is something to compare."""

    results_pattern = "arq:result:*"

    async def open(self, stack: AsyncExitStack) -> None:
        """One pool."""
        self.settings = connections.RedisSettings.from_dsn(self.url)
        self.pool = await arq.create_pool(self.settings)
        stack.push_async_callback(self.pool.aclose)

    async def add(self, number: int) -> object:
        """It has no bulk call."""
        return await self.pool.enqueue_job("add", number, 1)

    async def stamp(self) -> Callable[[], Any]:
        """``Job.result`` polls as well; every ms instead of every half second."""
        job = await self.pool.enqueue_job("stamp")
        return lambda: job.result(timeout=60, poll_delay=0.001)

    async def work(self) -> None:
        """100 at once, as Stem; its default is 10."""
        worker = arq.Worker(
            functions=[add, stamp],
            redis_settings=self.settings,
            max_jobs=100,
            poll_delay=0.01,
            keep_result=86_400 if self.results else 0,
            handle_signals=False,
        )
        await worker.async_run()

    def left(self, server: Server) -> int:
        """Jobs leave the queue when they are finished."""
        found = server.ask("ZCARD", "arq:queue")
        assert isinstance(found, int)
        return found
