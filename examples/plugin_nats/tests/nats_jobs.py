"""The app that worker processes run in the tests: ``-A nats_jobs:app``."""

from __future__ import annotations

import asyncio
import os

from stem_core import Stem, TaskContext

app = Stem("nats-jobs")


@app.task(name="note")
async def note(ctx: TaskContext, number: int, seconds: float) -> int:
    """Take a while, and write down that it was done."""
    await asyncio.sleep(seconds)
    # One write of a short line is whole, whoever else appends.
    descriptor = os.open(os.environ["STEM_TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{number} {ctx.id} {os.getpid()}\n".encode())
    os.close(descriptor)
    return number
