"""The app that workers of the benchmark run. Its store is that of the environment (``STEM_BROKER_URL``)."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.gauges import Stopwatch, memory
from benchmarks.redis_gauge import ServerWatch
from stem_core import Stem, Task
from stem_core.signals import WorkerReadyEvent, WorkerShutdownEvent, WorkerStoppingEvent
from stem_core.worker import Worker

app = Stem("benchmark")


def _add(a: int, b: int) -> int:
    return a + b


async def _add_here(a: int, b: int) -> int:
    return a + b


#: Coroutines run on the event loop, a hundred at once; plain functions in threads, a few at once.
_plain = os.environ.get("BENCH_TASKS") == "plain"
#: Next to nothing, so that what is measured is the rest.
add: Task[[int, int], int, Any] = app.task(name="add")(_add) if _plain else app.task(name="add")(_add_here)
#: The same, and nobody wants to know.
add_bare: Task[[int, int], int, Any] = (
    app.task(name="add_bare", store_result=False)(_add)
    if _plain
    else app.task(name="add_bare", store_result=False)(_add_here)
)


@app.task
async def stamp() -> float:
    """When it ran, by the clock that all processes of the machine share."""
    now = time.perf_counter()
    path = os.environ.get("BENCH_STAMP")
    if path:
        Path(path).write_text(f"{now!r}\n")
    return now


def gauge(jobs: int) -> dict[str, float]:
    """Measure the worker of this process from its first claim until it finds nothing more; filled while it runs."""
    found: dict[str, float] = {}
    watches: list[tuple[ServerWatch, Stopwatch]] = []

    @app.signals.worker_ready.connect
    def begin(_event: WorkerReadyEvent) -> None:
        watches.append((ServerWatch(), Stopwatch()))

    @app.signals.worker_stopping.connect
    def end(_event: WorkerStoppingEvent) -> None:
        if not found:
            seen, watch = watches[0]
            found.update(rate=watch.rate(jobs), cpu=watch.cpu(jobs), **memory("rss", "VmHWM"), **seen.found(jobs))

    return found


def _report(path: str, jobs: int) -> None:
    found = gauge(jobs)

    @app.signals.worker_shutdown.connect
    def write(_event: WorkerShutdownEvent) -> None:
        Path(path).write_text(json.dumps(found))


if "BENCH_REPORT" in os.environ:
    _report(os.environ["BENCH_REPORT"], int(os.environ["BENCH_JOBS"]))


async def _one() -> None:
    async with app.open():
        await stamp.enqueue()


def main() -> None:
    """A whole process on a store that no other process can reach: enqueue one job, then work."""
    asyncio.run(_one())
    Worker(app).run_blocking()


if __name__ == "__main__":
    main()
