"""The app of the stop matrix, ``-A support.stop_jobs:app``: each job as a coroutine for the event loop, and as a plain
function for threads or processes, as the worker's ``--strategy`` says."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path

from stem_core import Stem, TaskContext
from support.ledger import note

app = Stem("stop-jobs")


def _note(event: str, ctx: TaskContext) -> None:
    note(os.environ["STEM_TEST_LEDGER"], event, id=ctx.id, run=ctx.run)


@app.task(name="finishing_coroutine")
async def finishing_coroutine(ctx: TaskContext, door: str) -> None:
    """End when the door opens."""
    _note("start", ctx)
    while not Path(door).exists():  # noqa: ASYNC110 - it is opened by another process
        await asyncio.sleep(0.01)
    _note("end", ctx)


@app.task(name="finishing")
def finishing(ctx: TaskContext, door: str) -> None:
    """End when the door opens."""
    _note("start", ctx)
    while not Path(door).exists():
        time.sleep(0.01)
    _note("end", ctx)


@app.task(name="busy_coroutine")
async def busy_coroutine(ctx: TaskContext, door: str) -> None:
    """Run for ever, and end when told to."""
    _note("start", ctx)
    await asyncio.Event().wait()


@app.task(name="busy")
def busy(ctx: TaskContext, door: str) -> None:
    """Run for ever, and end when told to."""
    _note("start", ctx)
    while True:
        ctx.check()
        time.sleep(0.01)


@app.task(name="blocked_coroutine")
async def blocked_coroutine(ctx: TaskContext, door: str) -> None:
    """Sleep in C with the interpreter's lock released: the loop stands still, other threads do not."""
    _note("start", ctx)
    time.sleep(3600)


@app.task(name="locked_coroutine")
async def locked_coroutine(ctx: TaskContext, door: str) -> None:
    """Wait in C in a call that no signal interrupts, with the interpreter's lock released."""
    _note("start", ctx)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)


@app.task(name="blocked")
def blocked(ctx: TaskContext, door: str) -> None:
    """Sleep in C with the interpreter's lock released."""
    _note("start", ctx)
    time.sleep(3600)


@app.task(name="printing_coroutine")
async def printing_coroutine(ctx: TaskContext, door: str) -> None:
    """Print more than a pipe holds."""
    _note("start", ctx)
    print("x" * 2**20, flush=True)
    _note("end", ctx)


@app.task(name="printing")
def printing(ctx: TaskContext, door: str) -> None:
    """Print more than a pipe holds."""
    _note("start", ctx)
    print("x" * 2**20, flush=True)
    _note("end", ctx)
