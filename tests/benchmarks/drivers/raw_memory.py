"""What Python has to give: jobs as bytes in a deque; lease, decode, call, record the result, settle. No framework."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import deque
from collections.abc import Sequence

import msgspec

from benchmarks.gauges import Stopwatch, memory, named
from benchmarks.model import Request

#: What a Stem worker holds by default: 100 slots and as much prefetched.
BATCH = 200

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, tuple[int, int]]).decode


async def add(a: int, b: int) -> int:
    """The task."""
    return a + b


def job(number: int) -> tuple[str, bytes]:
    """A new id, and the job as JSON."""
    return os.urandom(16).hex(), _encode(("add", (number, 1)))


def enqueue(request: Request) -> dict[str, float]:
    """One by one, and in bulk."""
    queue: deque[tuple[str, bytes]] = deque()
    found: dict[str, float] = {}
    for key, jobs in (("enqueue_one", request.sizes.enqueue_one), ("enqueue_bulk", request.sizes.bulk)):
        watch = Stopwatch()
        for number in range(jobs):
            queue.append(job(number))
        found[key] = watch.rate(jobs)
    return found


def drain(request: Request) -> dict[str, float]:
    """Results kept."""
    return named("drain", asyncio.run(_drain(request.sizes.drain, results=True)))


def drain_bare(request: Request) -> dict[str, float]:
    """No results."""
    return named("drain_bare", asyncio.run(_drain(request.sizes.drain, results=False)))


async def _drain(jobs: int, *, results: bool) -> dict[str, float]:
    queue = deque(job(number) for number in range(jobs))
    leases: dict[str, tuple[float, bytes]] = {}
    kept: dict[str, bytes] = {}
    loop = asyncio.get_running_loop()

    async def run(id: str, body: bytes, done: list[tuple[str, bytes]]) -> None:
        _, (a, b) = _decode(body)
        done.append((id, _encode(await add(a, b))))

    # As a Stem worker does for its process.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    watch = Stopwatch()
    while queue:
        until = loop.time() + 30
        claimed: Sequence[tuple[str, bytes]] = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
        leases.update((id, (until, body)) for id, body in claimed)
        done: list[tuple[str, bytes]] = []
        await asyncio.gather(*[loop.create_task(run(id, body, done)) for id, body in claimed])
        good = [one for one in done if leases.pop(one[0], None) is not None]
        if results:
            kept.update(good)
    found = {"rate": watch.rate(jobs), "cpu": watch.cpu(jobs), **memory("rss", "VmHWM")}
    if leases or len(kept) != results * jobs:
        raise AssertionError("the loop lost a job")
    return found
