"""dramatiq on Redis: threads, acknowledges after the job, keeps results in a key of their own."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.drivers.peers import Peer, added, stamped
from benchmarks.redis_gauge import Server

# By name: it is not there when types are checked.
dramatiq: Any = importlib.import_module("dramatiq")
brokers: Any = importlib.import_module("dramatiq.brokers.redis")
results_of: Any = importlib.import_module("dramatiq.results")
backends: Any = importlib.import_module("dramatiq.results.backends.redis")


def _add(a: int, b: int) -> int:
    return added(a, b)


def _stamp() -> float:
    return stamped()


class Library(Peer):
    """One by one: its calls block."""

    gathers = False
    #: A digest of the message's id.
    results_pattern = "?" * 32

    def __init__(self, url: str, *, results: bool) -> None:
        super().__init__(url, results=results)
        self.broker = brokers.RedisBroker(url=url)
        options: dict[str, Any] = {}
        if results:
            backend = backends.RedisBackend(url=url)
            self.broker.add_middleware(results_of.Results(backend=backend, result_ttl=86_400_000))
            options["store_results"] = True
        dramatiq.set_broker(self.broker)
        self.add_actor = dramatiq.actor(_add, actor_name="add", broker=self.broker, **options)
        self.stamp_actor = dramatiq.actor(_stamp, actor_name="stamp", broker=self.broker, **options)

    async def open(self, stack: AsyncExitStack) -> None:
        """It connects when it has to."""

    async def add(self, number: int) -> object:
        """It has no bulk call."""
        return self.add_actor.send(number, 1)

    async def stamp(self) -> Callable[[], Any]:
        """``get_result`` blocks in the server."""
        message = self.stamp_actor.send()

        async def answer() -> float:
            return float(message.get_result(block=True, timeout=60_000))

        return answer

    async def work(self) -> None:
        """8 threads, its default."""
        dramatiq.Worker(self.broker, worker_threads=8).start()
        await asyncio.Event().wait()

    def left(self, server: Server) -> int:
        """Messages leave this hash when they are acknowledged."""
        found = server.ask("HLEN", "dramatiq:default.msgs")
        assert isinstance(found, int)
        return found
