"""What Redis has to give: read a batch, run a coroutine for each, SET + XACK + XDEL in one write a turn. No framework.

Over hiredis on asyncio's own loop, as the worker. At least once: results come first, and what is not acknowledged
stays pending. Nobody claims what a dead loop left, though.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import hiredis
import msgspec

from benchmarks.drivers.raw_memory import BATCH, add, job
from benchmarks.gauges import Stopwatch, memory, named, percentiles, running
from benchmarks.model import Request
from benchmarks.redis_gauge import ServerWatch

WORKER = ("-m", "benchmarks.drivers.raw_redis")
_DAY = 86_400
#: Commands in one write when many jobs are enqueued.
_PIPELINE = 1_000

_pack: Any = cast("Any", hiredis.pack_command)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, tuple[Any, ...]]).decode


class Wire(asyncio.Protocol):
    """Commands out, replies in order."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._waiting: deque[tuple[int, asyncio.Future[Any] | None]] = deque()
        self._transport: asyncio.Transport | None = None
        self._due = 0

    @classmethod
    async def to(cls, address: str) -> Wire:
        """Connect."""
        host, _, port = address.partition(":")
        _, wire = await asyncio.get_running_loop().create_connection(cls, host, int(port))
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, *commands: Sequence[Any]) -> asyncio.Future[Any]:
        """All in one write; the reply to the last."""
        assert self._transport is not None
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((len(commands), future))
        self._transport.write(b"".join([_pack(command) for command in commands]))
        return future

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not Ellipsis:
            if isinstance(reply, Exception):
                raise reply
            self._due = self._due or self._waiting[0][0]
            self._due -= 1
            if not self._due:
                _, future = self._waiting.popleft()
                if future is not None and not future.done():
                    future.set_result(reply)


def _xadd(name: str, number: int) -> tuple[Any, ...]:
    id, body = job(number) if name == "add" else (job(0)[0], _encode((name, ())))
    return "XADD", "jobs", "*", "i", id, "b", body


def enqueue(request: Request) -> dict[str, float]:
    """An awaited XADD each, 100 in a write, 1,000 in a write."""
    return asyncio.run(_enqueue(request))


async def _enqueue(request: Request) -> dict[str, float]:
    wire, sizes = await Wire.to(request.url), request.sizes
    for number in range(20):
        await wire.send(_xadd("add", number))
    watch = Stopwatch()
    for number in range(sizes.enqueue_one):
        await wire.send(_xadd("add", number))
    found = {"enqueue_one": watch.rate(sizes.enqueue_one)}
    watch = Stopwatch()
    for _ in range(sizes.gather_rounds):
        await wire.send(*(_xadd("add", number) for number in range(100)))
    found["enqueue_gather"] = watch.rate(100 * sizes.gather_rounds)
    watch = Stopwatch()
    await _fill(wire, sizes.bulk)
    found["enqueue_bulk"] = watch.rate(sizes.bulk)
    return found


async def _fill(wire: Wire, jobs: int) -> None:
    for start in range(0, jobs, _PIPELINE):
        await wire.send(*(_xadd("add", number) for number in range(start, min(start + _PIPELINE, jobs))))


class Loop:
    """The worker."""

    def __init__(self, wire: Wire, *, results: bool) -> None:
        self._wire = wire
        self._results = results
        self._loop = asyncio.get_running_loop()
        self._done: list[tuple[bytes, bytes, bytes]] = []
        self._running: set[asyncio.Task[None]] = set()
        self.left = 0
        self._flushed = asyncio.Event()

    async def open(self) -> None:
        """Make the group."""
        await self._wire.send(("XGROUP", "CREATE", "jobs", "group", "0", "MKSTREAM"))

    async def _run(self, entry: bytes, id: bytes, body: bytes) -> None:
        name, arguments = _decode(body)
        result: object = await add(*arguments) if name == "add" else time.perf_counter()
        if not self._done:
            self._loop.call_soon(self._flush)
        self._done.append((entry, id, _encode(result)))

    def _flush(self) -> None:
        done, self._done = self._done, []
        entries = [entry for entry, _, _ in done]
        stored = [("SET", b"result:" + id, result, "EX", _DAY) for _, id, result in done] if self._results else []
        last = self._wire.send(*stored, ("XACK", "jobs", "group", *entries), ("XDEL", "jobs", *entries))
        last.add_done_callback(lambda _: self._settled(len(entries)))

    def _settled(self, count: int) -> None:
        self.left -= count
        self._flushed.set()

    async def work(self, jobs: int | None) -> None:
        """Until ``jobs`` are settled, holding ``BATCH`` at most; None for ever, blocking while there is nothing."""
        block = () if jobs is not None else ("BLOCK", 0)
        while jobs is None or jobs > 0 or self.left:
            room = BATCH - self.left
            if room < BATCH // 2 or jobs == 0:
                self._flushed.clear()
                await self._flushed.wait()
                continue
            found = await self._wire.send(
                ("XREADGROUP", "GROUP", "group", "one", "COUNT", room, *block, "STREAMS", "jobs", ">")
            )
            entries = found[0][1] if found else []
            self.left += len(entries)
            for entry, fields in entries:
                task = self._loop.create_task(self._run(entry, fields[1], fields[3]))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if jobs is not None:
                jobs -= len(entries)
            elif self.left:
                # A blocking read would hold up what this turn has to say.
                self._flushed.clear()
                await self._flushed.wait()


def drain(request: Request) -> dict[str, float]:
    """Results kept."""
    return named("drain", asyncio.run(_drain(request, results=True)))


def drain_bare(request: Request) -> dict[str, float]:
    """No results."""
    return named("drain_bare", asyncio.run(_drain(request, results=False)))


async def _drain(request: Request, *, results: bool) -> dict[str, float]:
    wire, jobs = await Wire.to(request.url), request.sizes.drain
    loop = Loop(wire, results=results)
    await loop.open()
    await _fill(wire, jobs)
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    seen, watch = ServerWatch(), Stopwatch()
    await loop.work(jobs)
    found = {"rate": watch.rate(jobs), "cpu": watch.cpu(jobs), **memory("rss", "VmHWM"), **seen.found(jobs)}
    if await wire.send(("XLEN", "jobs")) or await wire.send(("DBSIZE",)) != results * jobs + 1:
        raise AssertionError("the loop lost a job")
    return found


def latency(request: Request) -> dict[str, float]:
    """The producer asks for the result each millisecond."""
    return asyncio.run(_latency(request))


async def _latency(request: Request) -> dict[str, float]:
    starts: list[float] = []
    results: list[float] = []
    wire = await Wire.to(request.url)
    async with AsyncExitStack() as stack:
        stack.enter_context(running(*WORKER, BENCH_RAW=request.url))
        for number in range(3 + request.sizes.latency):
            await asyncio.sleep(0.005)
            called = time.perf_counter()
            command = _xadd("stamp", 0)
            await wire.send(command)
            while (answer := await wire.send(("GET", f"result:{command[4]}"))) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            if number >= 3:
                results.append(time.perf_counter() - called)
                starts.append(msgspec.json.decode(answer, type=float) - called)
    return {**percentiles("start", starts), **percentiles("result", results)}


async def _work(address: str) -> None:
    loop = Loop(await Wire.to(address), results=True)
    await loop.open()
    await loop.work(None)


if __name__ == "__main__":
    import os

    asyncio.run(_work(os.environ["BENCH_RAW"]))
