"""Stem on any store. With ``memory://`` producer and worker are one process, else the worker is ``stem worker``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.gauges import Stopwatch, first_job, named, percentiles, running, until
from benchmarks.jobs import add, add_bare, app, gauge, stamp
from benchmarks.model import Request
from stem_core import Task, TaskHandle
from stem_core.worker import Worker

WORKER = ("-m", "stem_core", "worker", "-A", "benchmarks.jobs:app", "--log-level", "warning")


def in_process(request: Request) -> bool:
    """Whether no other process reaches the store."""
    return request.url.startswith("memory:")


def enqueue(request: Request) -> dict[str, float]:
    """One by one, 100 at once, in bulk."""
    return asyncio.run(_enqueue(request))


async def _enqueue(request: Request) -> dict[str, float]:
    sizes = request.sizes
    async with app.open():
        for number in range(20):
            await add.enqueue(number, 1)
        watch = Stopwatch()
        for number in range(sizes.enqueue_one):
            await add.enqueue(number, 1)
        found = {"enqueue_one": watch.rate(sizes.enqueue_one)}
        watch = Stopwatch()
        for _ in range(sizes.gather_rounds):
            await asyncio.gather(*(add.enqueue(number, 1) for number in range(100)))
        found["enqueue_gather"] = watch.rate(100 * sizes.gather_rounds)
        watch = Stopwatch()
        await app.enqueue_many([add.call(number, 1) for number in range(sizes.bulk)])
        found["enqueue_bulk"] = watch.rate(sizes.bulk)
    return found


def drain(request: Request) -> dict[str, float]:
    """One worker, results kept."""
    return named("drain", drained(request, add, results=True))


def drain_bare(request: Request) -> dict[str, float]:
    """One worker, no results."""
    return named("drain_bare", drained(request, add_bare, results=False))


def drained(
    request: Request, task: Task[[int, int], int, Any], *, results: bool, worker: Sequence[str] = WORKER
) -> dict[str, float]:
    """One drain; ``worker`` are the arguments of a Python that works on another store than ``memory://``."""
    jobs = request.sizes.drain
    handles = asyncio.run(_fill(task, jobs))
    if in_process(request):
        found = gauge(jobs)
        Worker(app, log_level="warning").run_blocking(burst=True)
    else:
        report = Path(request.folder, "drain.json")
        with running(*worker, "--burst", BENCH_REPORT=str(report), BENCH_JOBS=str(jobs)) as process:
            until(lambda: process.poll() is not None)
        found = json.loads(report.read_text())
        report.unlink()
    asyncio.run(_check(handles, results=results))
    return found


async def _fill(task: Task[[int, int], int, Any], jobs: int) -> list[TaskHandle[int]]:
    async with app.open():
        return await app.enqueue_many([task.call(number, 1) for number in range(jobs)])


async def _check(handles: Sequence[TaskHandle[int]], *, results: bool) -> None:
    """A drain that lost something was no drain."""
    async with app.open() as session:
        depth = (await session.broker.depth(["default"]))["default"]
        if depth.ready or depth.leased or depth.delayed or depth.dead:
            raise AssertionError(f"the drain left {depth}")
        if results:
            assert session.backend is not None
            kept = await session.backend.get([handle.id for handle in handles])
            if len(kept) != len(handles) or not all(status.state == "succeeded" for status in kept.values()):
                raise AssertionError(f"{len(kept)} results of {len(handles)} jobs were kept")


def latency(request: Request) -> dict[str, float]:
    """From the call of ``enqueue`` to the first line of the task, and to its result in the hands of the producer."""
    return asyncio.run(_latency(request))


async def _latency(request: Request) -> dict[str, float]:
    starts: list[float] = []
    results: list[float] = []
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.open())
        if in_process(request):
            await stack.enter_async_context(Worker(app))
        else:
            stack.enter_context(running(*WORKER))
        for _ in range(3):
            await (await stamp.enqueue()).result(timeout=60)
        for _ in range(request.sizes.latency):
            await asyncio.sleep(0.005)
            called = time.perf_counter()
            handle = await stamp.enqueue()
            begun = await handle.result(timeout=60)
            results.append(time.perf_counter() - called)
            starts.append(begun - called)
    return {**percentiles("start", starts), **percentiles("result", results)}


def process(request: Request) -> dict[str, float]:
    """From the start of a worker process to its first job, and what it costs when there is nothing to do."""
    arguments: tuple[str, ...] = WORKER
    if in_process(request):
        arguments = ("-m", "benchmarks.jobs")
    else:
        asyncio.run(_enqueue_stamp())
    return first_job(Path(request.folder, "stamp"), *arguments, idle=request.sizes.idle)


async def _enqueue_stamp() -> None:
    async with app.open():
        await stamp.enqueue()
