"""Waiting for results: what it costs, and that one who waits is no harm to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import attrs
import msgspec
import pytest

from stem_core.contracts import ResultBackend
from stem_core.testing.contracts.base import OpenedStore, status
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]
#: Less than the time after which everybody who waits looks by himself, in seconds.
TOLD = 3.0


@pytest.fixture
async def backend(open_redis: OpenRedis) -> AsyncIterator[ResultBackend]:
    """A backend that listens already."""
    async with open_redis() as opened:
        await opened.backend.wait("nobody", 0.01)
        yield opened.backend


def looks(server: RedisServer) -> int:
    """Scripts so far."""
    lines = server.command("INFO", "commandstats").decode().splitlines()
    calls = [line.partition("calls=")[2].partition(",")[0] for line in lines if line.startswith("cmdstat_evalsha:")]
    return int(calls[0]) if calls else 0


async def begin(backend: ResultBackend, *ids: str) -> list[asyncio.Task[object]]:
    """Waits that began one after the other, and are known to the server."""
    waits: list[asyncio.Task[object]] = []
    for id in ids:
        waits.append(asyncio.ensure_future(backend.wait(id, 60.0)))
        await asyncio.sleep(0.002)
    await backend.now()
    return waits


async def test_a_new_wait_has_no_other_wait_look_again(backend: ResultBackend, server: RedisServer) -> None:
    before = looks(server)
    names = [f"job-{n}" for n in range(50)]
    waits = await begin(backend, *names)
    # Fifty looks, and some spare ones for a machine so slow that somebody looked again.
    assert looks(server) - before <= 60
    await backend.record([status(id) for id in names])
    async with asyncio.timeout(TOLD):
        assert await asyncio.gather(*waits) == [status(id) for id in names]


async def test_a_look_without_waiting_leaves_who_waits_in_its_place(backend: ResultBackend) -> None:
    (waiting,) = await begin(backend, "a")
    assert await backend.wait("a", 0.0) is None
    await backend.record([status("a")])
    async with asyncio.timeout(TOLD):
        assert await waiting == status("a")


async def test_a_wait_that_begins_as_another_of_its_id_ends_is_told(backend: ResultBackend) -> None:
    async def twice() -> object:
        assert await backend.wait("a", 0.02) is None
        return await backend.wait("a", 60.0)

    waiting = asyncio.ensure_future(twice())
    await asyncio.sleep(0.1)
    await backend.record([status("a")])
    async with asyncio.timeout(TOLD):
        assert await waiting == status("a")
    # And one that was left.
    (left,) = await begin(backend, "b")
    left.cancel()
    await asyncio.wait([left])
    (waiting,) = await begin(backend, "b")
    await backend.record([status("b")])
    async with asyncio.timeout(TOLD):
        assert await waiting == status("b")


async def test_one_who_waits_no_more_leaves_another_of_the_same_loop_in_its_place(
    open_redis: OpenRedis, backend: ResultBackend
) -> None:
    async with open_redis() as other:
        (waiting,) = await begin(backend, "a")
        assert await other.backend.wait("a", 0.02) is None
        await other.backend.record([status("a")])
        async with asyncio.timeout(TOLD):
            assert await waiting == status("a")


async def test_large_and_small_results_reach_all_who_wait_and_nobody_stays_listed(
    open_redis: OpenRedis, backend: ResultBackend, server: RedisServer
) -> None:
    # More bytes than characters; less and more than a publication carries.
    sizes = (1, 15_000, 17_000, 40_000)
    results = [
        attrs.evolve(status(f"job-{n}"), result=msgspec.json.encode("é\n" * (size // 4)))
        for n, size in enumerate(sizes)
    ]
    async with open_redis(namespace="test") as other:
        names = [one.id for one in results]
        waits = [*await begin(backend, *names), *await begin(other.backend, *names), *await begin(backend, *names)]
        await other.backend.record(results)
        async with asyncio.timeout(TOLD):
            assert await asyncio.gather(*waits) == results * 3
        await backend.now()
        assert server.command("HLEN", "{test}:waiters") == b":0\r\n"
