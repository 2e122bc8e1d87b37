"""The app of the pool rows; children of a worker import it as well."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from benchmarks.pools import Told, grind, told
from stem_core import Stem
from stem_core.signals import WorkerReadyEvent, WorkerStoppingEvent

app = Stem("pools")


@app.task(strategy="processes")
def nothing() -> Told:
    """Next to nothing, so that what is measured is the way there and back."""
    return told()


@app.task(strategy="processes")
def work(turns: int) -> Told:
    """Keeps a processor busy in a child process."""
    return grind(turns)


@app.task
async def coroutine(turns: int) -> Told:
    """Keeps a processor busy on the worker's event loop."""
    await asyncio.sleep(0)
    return grind(turns)


def watch_parent() -> list[float]:
    """The processor time of a worker in this process, from its first claim until it stops; filled while it runs."""
    found: list[float] = []
    begun: list[float] = []

    @app.signals.worker_ready.connect
    def begin(_event: WorkerReadyEvent) -> None:
        begun.append(time.process_time())

    @app.signals.worker_stopping.connect
    def end(_event: WorkerStoppingEvent) -> None:
        if not found:
            found.append(time.process_time() - begun[0])
            if "BENCH_REPORT" in os.environ:
                Path(os.environ["BENCH_REPORT"]).write_text(json.dumps(found))

    return found


if "BENCH_REPORT" in os.environ:
    watch_parent()
