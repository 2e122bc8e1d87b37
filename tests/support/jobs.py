"""The app that real worker processes run in the tests: ``-A support.jobs:app``. Every task writes into the ledger."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from stem_core import RetryPolicy, Stem, TaskContext
from stem_core.model import Delivery
from support.ledger import note

app = Stem("jobs")
logger = logging.getLogger("support.jobs")


def _note(event: str, ctx: TaskContext) -> None:
    facts = {"id": ctx.id, "run": ctx.run, "attempt": ctx.attempt, "worker": ctx.worker}
    note(os.environ["STEM_TEST_LEDGER"], event, **facts)


@app.task(name="work")
async def work(ctx: TaskContext, seconds: float) -> int:
    """Take a while, on the loop."""
    _note("start", ctx)
    await asyncio.sleep(seconds)
    _note("end", ctx)
    return os.getpid()


@app.task(name="chatter")
async def chatter(ctx: TaskContext) -> None:
    """Log much, then say so."""
    logger.info("x" * 4000)
    _note("chattered", ctx)


@app.task(name="mark")
async def mark(ctx: TaskContext) -> None:
    """Leave a mark."""
    _note("mark", ctx)


@app.task(name="hold")
async def hold(ctx: TaskContext, folder: str) -> int:
    """Run until somebody makes the file ``go-PID``; give this process's id."""
    _note("start", ctx)
    door = Path(folder) / f"go-{os.getpid()}"
    while not door.exists():  # noqa: ASYNC110 - it is opened by another process
        await asyncio.sleep(0.01)
    _note("end", ctx)
    return os.getpid()


@app.task(name="hold_thread")
def hold_thread(ctx: TaskContext, folder: str) -> int:
    """As ``hold``, in a thread that listens to nobody."""
    _note("start", ctx)
    door = Path(folder) / f"go-{os.getpid()}"
    while not door.exists():
        time.sleep(0.01)
    _note("end", ctx)
    return os.getpid()


@app.task(name="checkpoints")
def checkpoints(ctx: TaskContext) -> None:
    """Run for ever, with checkpoints."""
    _note("start", ctx)
    while True:
        ctx.check()
        time.sleep(0.01)


@app.task(name="stubborn")
async def stubborn(ctx: TaskContext) -> None:
    """Run for ever, whoever cancels it."""
    _note("start", ctx)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            _note("cancelled", ctx)


@app.task(name="poison")
async def poison(ctx: TaskContext, company: int) -> None:
    """Kill the process that runs it; at first only when so many innocents run beside it."""
    _note("start", ctx)
    while ctx.run == 1 and len(_innocents) < company:  # noqa: ASYNC110 - tasks of their own bring it about
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="innocent")
async def innocent(ctx: TaskContext) -> None:
    """Take too long at first, and a while after that."""
    _note("start", ctx)
    _innocents.add(ctx.id)
    await asyncio.sleep(3600 if ctx.run == 1 else 0.1)
    _note("end", ctx)


_innocents: set[str] = set()


@app.task(name="block")
async def block(ctx: TaskContext, seconds: float) -> int:
    """Block the loop, as coroutines should not."""
    _note("start", ctx)
    time.sleep(seconds)
    _note("end", ctx)
    return os.getpid()


@app.task(name="lends_to_a_thread")
async def lends_to_a_thread(ctx: TaskContext) -> None:
    """Have a thread of asyncio's own do what never ends."""
    _note("start", ctx)
    await asyncio.to_thread(time.sleep, 3600)


@app.task(name="leaves_a_thread")
async def leaves_a_thread(ctx: TaskContext) -> None:
    """Start a thread for which the interpreter waits at its end."""
    threading.Thread(target=time.sleep, args=(3600,), name="left-behind").start()
    _note("end", ctx)


@app.task(name="talk")
async def talk(ctx: TaskContext) -> None:
    """Log a line."""
    logger.info("hello from inside", extra={"answer": 42})


@app.task(name="talk_in_a_thread")
def talk_in_a_thread(ctx: TaskContext) -> None:
    """Log a line in a thread."""
    logger.info("hello from a thread")
    threading.Thread(target=logger.info, args=("hello from nowhere",)).start()


@app.task(name="fail", retry=RetryPolicy.fixed(0), max_retries=1)
async def fail(ctx: TaskContext) -> None:
    """Fail in both attempts."""
    _note("start", ctx)
    raise ValueError("as it was told")


@app.task(name="sabotage")
async def sabotage(ctx: TaskContext) -> None:
    """Break the broker of this worker in a way that no worker can live with."""
    broker = app.session.broker

    async def broken(*args: object, **options: object) -> list[Delivery]:
        raise AssertionError("a bug of the broker")

    broker.receive = broken  # type: ignore[method-assign]


@asynccontextmanager
async def _hangs_at_the_start(app: Stem) -> AsyncIterator[None]:
    note(os.environ["STEM_TEST_LEDGER"], "entering")
    await asyncio.Event().wait()
    yield


@asynccontextmanager
async def _hangs_at_the_end(app: Stem) -> AsyncIterator[None]:
    yield
    note(os.environ["STEM_TEST_LEDGER"], "leaving")
    await asyncio.Event().wait()


@asynccontextmanager
async def _breaks_at_the_start(app: Stem) -> AsyncIterator[None]:
    note(os.environ["STEM_TEST_LEDGER"], "entering")
    if app.name == "breaks-at-the-start":
        raise ValueError("no such table")
    yield


#: Apps whose resources are never there, and never given back.
hangs_at_the_start = Stem("hangs-at-the-start", lifespan=_hangs_at_the_start)
hangs_at_the_end = Stem("hangs-at-the-end", lifespan=_hangs_at_the_end)
breaks_at_the_start = Stem("breaks-at-the-start", lifespan=_breaks_at_the_start)
