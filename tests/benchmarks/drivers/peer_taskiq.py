"""taskiq on taskiq-redis: a stream, acknowledged after the result is saved; or a list, which forgets what it gave."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.drivers.peers import Peer, added, stamped
from benchmarks.redis_gauge import Server

# By name: it is not there when types are checked.
taskiq_redis: Any = importlib.import_module("taskiq_redis")
receiver: Any = importlib.import_module("taskiq.api")

_STREAM = os.environ.get("BENCH_VARIANT") == "stream"


async def _add(a: int, b: int) -> int:
    return added(a, b)


async def _stamp() -> float:
    return stamped()


class Library(Peer):
    """Results under a key each, for a day."""

    def __init__(self, url: str, *, results: bool) -> None:
        super().__init__(url, results=results)
        broker = taskiq_redis.RedisStreamBroker if _STREAM else taskiq_redis.ListQueueBroker
        self.broker = broker(url)
        if results:
            backend = taskiq_redis.RedisAsyncResultBackend(url, result_ex_time=86_400, prefix_str="result")
            self.broker = self.broker.with_result_backend(backend)
        self.add_task = self.broker.task(task_name="add")(_add)
        self.stamp_task = self.broker.task(task_name="stamp")(_stamp)

    results_pattern = "result:*"

    async def open(self, stack: AsyncExitStack) -> None:
        """Makes the consumer group, too."""
        await self.broker.startup()
        stack.push_async_callback(self.broker.shutdown)

    async def add(self, number: int) -> object:
        """It has no bulk call."""
        return await self.add_task.kiq(number, 1)

    async def stamp(self) -> Callable[[], Any]:
        """``wait_result`` polls; every ms instead of every 200."""
        task = await self.stamp_task.kiq()

        async def answer() -> float:
            result = await task.wait_result(check_interval=0.001, timeout=60)
            return float(result.return_value)

        return answer

    async def work(self) -> None:
        """100 at once, its default."""
        await receiver.run_receiver_task(self.broker)

    def left(self, server: Server) -> int:
        """Entries that were delivered and not acknowledged; results that are not there yet."""
        if _STREAM:
            pending = server.ask("XPENDING", "taskiq", "taskiq")
            assert isinstance(pending, list)
            assert isinstance(pending[0], int)
            return pending[0]
        keys = server.ask("DBSIZE")
        assert isinstance(keys, int)
        return int(os.environ["BENCH_JOBS"]) - keys if self.results else 0
