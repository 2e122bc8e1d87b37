"""An app whose tasks run in child processes of the worker: ``-A support.process_jobs:app``."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stem_core import RetryPolicy, Stem, TaskContext
from stem_core.signals import TaskCrashedEvent, WorkerChildInitEvent, WorkerChildShutdownEvent
from stem_core.tasks import current
from support.ledger import note


@asynccontextmanager
async def _resources(app: Stem) -> AsyncIterator[dict[str, int]]:
    if "STEM_TEST_BROKEN" in os.environ and ".processes." in str(sys.modules["__main__"].__spec__):
        raise RuntimeError("no database for children")
    _note("entered")
    yield {"pid": os.getpid()}
    _note("left")


app = Stem("process-jobs", lifespan=_resources)


def _note(event: str, ctx: TaskContext | None = None, **facts: Any) -> None:
    if ctx is not None:
        facts |= {"id": ctx.id, "run": ctx.run, "attempt": ctx.attempt}
    note(os.environ["STEM_TEST_LEDGER"], event, **facts)


@app.signals.worker_child_init.connect
async def _child_init(event: WorkerChildInitEvent) -> None:
    await asyncio.sleep(float(os.environ.get("STEM_TEST_CHILD_INIT", "0")))
    _note("child-init", child=event.pid)


@app.signals.worker_child_shutdown.connect
def _child_shutdown(event: WorkerChildShutdownEvent) -> None:
    _note("child-shutdown", child=event.pid, tasks=event.tasks)


@app.signals.task_crashed.connect
def _crashed(event: TaskCrashedEvent) -> None:
    how: dict[str, Any] = {"signal": event.signal, "peak_rss": event.peak_rss, "exit_status": event.exit_status}
    _note("crashed", id=event.id, run=event.run, crashes=event.crashes, detail=event.detail, **how)


@app.task(name="work", strategy="processes")
def work(ctx: TaskContext, seconds: float = 0.0) -> int:
    """Take a while."""
    _note("start", ctx)
    time.sleep(seconds)
    _note("end", ctx)
    return os.getpid()


@app.task(name="spin", time_limit=1.0, max_retries=1, retry=RetryPolicy.fixed(0))
def spin(ctx: TaskContext) -> None:
    """Never end, and never let the interpreter go."""
    _note("start", ctx)
    while True:
        pass


@app.task(name="block", strategy="processes")
def block(ctx: TaskContext) -> None:
    """Sleep in C with the interpreter's lock held, and with a process of its own."""
    helper = subprocess.Popen(["sleep", "600"])
    _note("start", ctx, helper=helper.pid)
    ctypes.PyDLL(None).sleep(600)


@app.task(name="checkpoints", strategy="processes")
def checkpoints(ctx: TaskContext) -> None:
    """Run for ever, with checkpoints."""
    _note("start", ctx)
    try:
        while True:
            ctx.check()
            time.sleep(0.01)
    finally:
        _note("interrupted", ctx, reason=ctx.interrupt)


@app.task(name="waits", strategy="processes")
async def waits(ctx: TaskContext) -> None:
    """Wait for ever, on the loop of the child."""
    _note("start", ctx)
    try:
        await asyncio.sleep(3600)
    finally:
        _note("interrupted", ctx, reason=ctx.interrupt)


@app.task(name="perish", strategy="processes")
def perish(ctx: TaskContext, how: str) -> None:
    """End the process."""
    _note("start", ctx)
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="overeat", strategy="processes")
def overeat(ctx: TaskContext) -> None:
    """Take more and more memory."""
    _note("start", ctx)
    held = []
    for _ in range(1000):
        held.append(b"x" * 2**22)
        time.sleep(0.001)


@app.task(name="tell", strategy="processes")
def tell(ctx: TaskContext) -> dict[str, Any]:
    """What a task sees of itself."""
    ctx.progress(40, {"stage": "pixels"})
    child = ctx.enqueue(work)
    other = work.options(id="by-enqueue-sync").enqueue_sync()
    here = current.get()
    return {
        "current": here is ctx,
        "headers": dict(ctx.headers),
        "attempt": ctx.attempt,
        "worker": ctx.worker,
        "remaining": ctx.deadline is not None,
        "state": ctx.state["pid"] == os.getpid(),
        "child": child.id,
        "other": other.id,
    }


@app.task(name="publish", strategy="processes")
async def publish(ctx: TaskContext) -> str:
    """Enqueue through the session of the child."""
    handle = await work.enqueue()
    return handle.id


@app.task(name="progress", strategy="processes")
def progress(ctx: TaskContext, folder: str) -> None:
    """Say something several times in a row, and wait."""
    for percent in range(5):
        ctx.progress(percent)
    ctx.progress(60, {"stage": "waiting"})
    _note("start", ctx)
    while not (Path(folder) / "go").exists():
        time.sleep(0.01)


@app.task(name="beat", strategy="processes")
def beat(ctx: TaskContext, folder: str) -> None:
    """Say nothing but that it is alive."""
    _note("start", ctx)
    while not (Path(folder) / "go").exists():
        ctx.heartbeat()
        time.sleep(0.01)


@app.task(name="long", time_limit=1, max_retries=0)
def long(ctx: TaskContext) -> str:
    """Take longer than the time limit, and say so; then exceed what it said, without ever letting go."""
    end = time.monotonic() + 1.5
    ctx.extend(1)
    while time.monotonic() < end:
        pass
    _note("outlived", ctx)
    while True:
        pass


def _once(failures: int, error: BaseException) -> float | None:
    return 0.0 if failures < 2 and isinstance(error, KeyError) else None


@app.task(name="fail", strategy="processes", max_retries=3, retry=_once)
def fail(ctx: TaskContext) -> None:
    """Fail in a way that the rule of the task knows."""
    _note("start", ctx)
    raise KeyError("missing")


@app.task(name="give", strategy="processes", max_retries=0)
def give(what: str) -> Any:
    """Return something odd."""
    if what == "huge":
        return "x" * (40 * 2**20)
    if what == "object":
        return object()
    if what == "memory":
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (2**30, most))
        try:
            return len(bytearray(2**31))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
    raise SystemExit(3)


@app.task(name="hoard", strategy="processes")
def hoard(megabytes: int) -> int:
    """Keep memory for ever."""
    _hoard.append(b"x" * megabytes * 2**20)
    return os.getpid()


_hoard: list[bytes] = []
