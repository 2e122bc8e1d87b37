"""SAQ on Redis: acknowledges after the job, keeps results in the record of the job."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

from benchmarks.drivers.peers import Peer, added, stamped
from benchmarks.redis_gauge import Server

# By name: it is not there when types are checked.
saq: Any = importlib.import_module("saq")
RedisQueue: Any = importlib.import_module("saq.queue.redis").RedisQueue


async def add(_context: object, *, a: int, b: int) -> int:
    """The task."""
    return added(a, b)


async def stamp(_context: object) -> float:
    """When it ran."""
    return stamped()


class Library(Peer):
    """``ttl`` is how long a finished job is kept; -1 is not at all."""

    results_pattern = "saq:job:*"

    async def open(self, stack: AsyncExitStack) -> None:
        """As its documentation says."""
        self.queue = RedisQueue.from_url(self.url)
        await self.queue.connect()
        stack.push_async_callback(self.queue.disconnect)

    async def add(self, number: int) -> object:
        """No bulk call does less than this one many times."""
        return await self.queue.enqueue("add", a=number, b=1, ttl=86_400 if self.results else -1)

    async def stamp(self) -> Callable[[], Any]:
        """``Job.refresh`` looks, then listens: it misses what ends in between, so it is asked again."""
        job = await self.queue.enqueue("stamp")

        async def answer() -> float:
            while job.result is None:
                with suppress(TimeoutError):
                    await job.refresh(until_complete=0.5)
                assert job.result is not None or not job.completed, f"{job.status}: {job.error}"
            return float(job.result)

        return answer

    async def work(self) -> None:
        """100 at once, as Stem; its default is 10."""
        # What is running when a worker starts, it takes for stuck, its own jobs too; this puts its look at them off.
        await self.queue.redis.set("saq:default:sweep", 1, ex=600)
        worker = saq.Worker(self.queue, functions=[add, stamp], concurrency=100)
        worker.SIGNALS = []
        await worker.start()

    def left(self, server: Server) -> int:
        """Jobs leave this set when they are finished."""
        found = server.ask("ZCARD", "saq:default:incomplete")
        assert isinstance(found, int)
        return found
