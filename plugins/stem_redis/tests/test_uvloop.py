"""Programs that run on uvloop, as most that serve HTTP do."""

import asyncio
from contextlib import suppress

import pytest
import uvloop

from stem_core import Stem
from stem_core.errors import StoreUnavailable
from stem_core.worker import Worker


@pytest.mark.parametrize("way", ["socket", "tcp"])
def test_a_producer_and_a_worker_in_one_program_on_uvloop(server, way):
    app = Stem("shop", broker_url=server.url if way == "socket" else f"redis://127.0.0.1:{server.port}")

    @app.task
    async def double(number: int) -> int:
        return number * 2

    async def live() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        async with app.open(), Worker(app):
            assert await (await double.enqueue(4)).result(timeout=10) == 8
            # All connections are gone, those that listen too, and come back.
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            with suppress(StoreUnavailable):
                # A producer is told of the loss.
                await double.enqueue(5)
            handles = await app.enqueue_many([double.call(number) for number in range(50)])
            assert [await handle.result(timeout=10) for handle in handles] == [number * 2 for number in range(50)]

    uvloop.run(live())
