"""Stem's process pool and its replicas. With ``memory://`` the worker is this process, else ``stem worker``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from benchmarks import pools
from benchmarks.drivers.stem import in_process
from benchmarks.gauges import running, until
from benchmarks.model import Request
from benchmarks.pool_jobs import app, coroutine, nothing, watch_parent, work
from benchmarks.pools import TURNS, Told
from stem_core import TaskHandle
from stem_core.worker import Worker

WORKER = ("-m", "stem_core", "worker", "-A", "benchmarks.pool_jobs:app", "--log-level", "warning", "--burst")


def calls(request: Request) -> dict[str, float]:
    """Two children, tasks that do nothing."""
    ends, parent = _run(request, [nothing.call() for _ in range(request.sizes.drain)], processes=2)
    return pools.calls(ends, parent)


def work_on_two(request: Request) -> dict[str, float]:
    """One child and two, tasks of about 10 ms."""
    tasks = [work.call(TURNS) for _ in range(request.sizes.work)]
    one, _ = _run(request, tasks, processes=1)
    two, _ = _run(request, tasks, processes=2)
    return pools.gain("work", one, two)


def replicas(request: Request) -> dict[str, float]:
    """One worker and two, coroutines that hold the event loop for about 2 ms each."""
    tasks = [coroutine.call(TURNS // 5) for _ in range(10 * request.sizes.work)]
    ends: list[list[Told]] = []
    for workers in (1, 2):
        handles = asyncio.run(_fill(tasks))
        _work("--replicas", str(workers))
        ends.append(asyncio.run(_collect(handles)))
    return pools.gain("replicas", *ends)


def _run(request: Request, tasks: list[Any], *, processes: int) -> tuple[list[Told], float]:
    """What the tasks told, and the parent's processor time."""
    handles = asyncio.run(_fill(tasks))
    if in_process(request):
        parent = watch_parent()
        Worker(app, log_level="warning", concurrency=processes, processes=processes).run_blocking(burst=True)
    else:
        report = Path(request.folder, f"parent-{processes}.json")
        options = ("--concurrency", str(processes), "--processes", str(processes))
        _work(*options, BENCH_REPORT=str(report))
        parent = json.loads(report.read_text())
    return asyncio.run(_collect(handles)), parent[0]


def _work(*options: str, **environment: str) -> None:
    """A worker in a process of its own, until nothing is left."""
    with running(*WORKER, *options, **environment) as worker:
        until(lambda: worker.poll() is not None)


async def _fill(tasks: list[Any]) -> list[TaskHandle[Told]]:
    async with app.open():
        handles: list[TaskHandle[Told]] = await app.enqueue_many(tasks)
        return handles


async def _collect(handles: list[TaskHandle[Told]]) -> list[Told]:
    """A run that lost a result was no run."""
    async with app.open() as session:
        assert session.backend is not None
        kept = await session.backend.get([handle.id for handle in handles])
    found = [json.loads(status.result) for status in kept.values() if status.result is not None]
    if len(found) != len(handles):
        raise AssertionError(f"{len(found)} results of {len(handles)} tasks were kept")
    return found
