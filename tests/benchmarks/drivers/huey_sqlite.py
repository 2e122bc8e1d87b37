"""huey on its SQLite storage: one consumer process with one thread, which is its default and its fastest here."""

from __future__ import annotations

import importlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.gauges import PATIENCE, Stopwatch, first_job, memory, named, percentiles, running
from benchmarks.model import Request

CONSUMER = ("-m", "huey.bin.huey_consumer", "benchmarks.drivers.huey_jobs.huey", "--quiet")


def _jobs(request: Request, *, results: bool = True) -> Any:
    os.environ.update(BENCH_HUEY=request.url, BENCH_RESULTS=str(int(results)))
    return importlib.import_module("benchmarks.drivers.huey_jobs")


def enqueue(request: Request) -> dict[str, float]:
    """One by one; it has neither a coroutine to gather nor a bulk call."""
    jobs = _jobs(request)
    for number in range(20):
        jobs.add(number, 1)
    watch = Stopwatch()
    for number in range(request.sizes.enqueue_one):
        jobs.add(number, 1)
    return {"enqueue_one": watch.rate(request.sizes.enqueue_one)}


def drain(request: Request) -> dict[str, float]:
    """One consumer, results kept."""
    return named("drain", _drain(request, _jobs(request)))


def drain_bare(request: Request) -> dict[str, float]:
    """One consumer, no results."""
    return named("drain_bare", _drain(request, _jobs(request, results=False)))


def _drain(request: Request, jobs: Any) -> dict[str, float]:
    left = request.sizes.drain
    for number in range(left):
        jobs.add(number, 1)
    done = threading.Event()

    def count(_task: object, _value: object, _error: object) -> None:
        # Called after the result is stored.
        nonlocal left
        left -= 1
        if not left:
            done.set()

    jobs.huey.post_execute()(count)
    consumer = jobs.huey.create_consumer(workers=1, periodic=False)
    watch = Stopwatch()
    consumer.start()
    if not done.wait(PATIENCE):
        raise TimeoutError(f"{left} jobs are left")
    found = {"rate": watch.rate(request.sizes.drain), "cpu": watch.cpu(request.sizes.drain), **memory("rss", "VmHWM")}
    consumer.stop(graceful=True)
    stored = jobs.huey.result_count()
    if jobs.huey.results and stored != request.sizes.drain:
        raise AssertionError(f"{stored} results of {request.sizes.drain} jobs were kept")
    return found


def latency(request: Request) -> dict[str, float]:
    """The consumer and ``Result.get`` poll, at the intervals that are their defaults."""
    jobs = _jobs(request)
    starts: list[float] = []
    results: list[float] = []
    with running(*CONSUMER):
        jobs.stamp().get(blocking=True, timeout=60)
        for _ in range(request.sizes.latency):
            time.sleep(0.005)  # noqa: TID251 - as the others
            called = time.perf_counter()
            begun = jobs.stamp().get(blocking=True, timeout=60)
            results.append(time.perf_counter() - called)
            starts.append(begun - called)
    return {**percentiles("start", starts), **percentiles("result", results)}


def process(request: Request) -> dict[str, float]:
    """As Stem's."""
    _jobs(request).stamp()
    return first_job(Path(request.folder, "stamp"), *CONSUMER, idle=request.sizes.idle)
