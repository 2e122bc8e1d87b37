"""The jobs of ``stem demo``, the worker that runs them, and the table of what became of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from stem_core.cli import acting, output
from stem_core.client import Stem
from stem_core.clock import SYSTEM_CLOCK
from stem_core.contracts import KeepsDeadLetters
from stem_core.model import RetryPolicy
from stem_core.tasks import TaskContext
from stem_core.worker import Worker

if TYPE_CHECKING:
    from stem_core.client import Session
    from stem_core.signals import TaskEvent
    from stem_core.tasks import TaskCall

QUEUE = "default"
_COLUMNS = {
    "task": "TASK",
    "does": "WHAT IT DOES",
    "jobs": "JOBS",
    "succeeded": "SUCCEEDED",
    "retries": "RETRIES",
    "dead": "DEAD",
}
_QUICK = RetryPolicy.fixed(0.2)

app = Stem("demo")


@app.task(name="demo.greet")
async def greet(name: str) -> str:
    """A coroutine on the event loop."""
    await asyncio.sleep(0.01)
    return f"Hello, {name}!"


@app.task(name="demo.checksum")
def checksum(text: str) -> str:
    """A plain function in a thread."""
    return hashlib.sha256(text.encode() * 10_000).hexdigest()


@app.task(name="demo.fetch", retry=_QUICK, max_retries=3)
async def fetch(ctx: TaskContext, page: int) -> int:
    """Fails once or twice, then succeeds."""
    await asyncio.sleep(0.01)
    if ctx.attempt <= page % 3:
        raise ConnectionError(f"page {page} did not answer, attempt {ctx.attempt}")
    return page


@app.task(name="demo.parse", retry=_QUICK, max_retries=2)
async def parse(text: str) -> int:
    """Cannot succeed for some of its input."""
    return int(text)


class _Tally:
    """What became of the jobs, counted by the signals of the worker."""

    def __init__(self, finished: Any) -> None:
        self._finished = finished
        self.succeeded: Counter[str] = Counter()
        self.retries: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        app.signals.task_succeeded.connect(self._on_success)
        app.signals.task_retried.connect(self._on_retry)
        app.signals.task_dead_lettered.connect(self._on_death)

    def _on_success(self, event: TaskEvent) -> None:
        self.succeeded[event.task] += 1
        self._finished()

    def _on_retry(self, event: TaskEvent) -> None:
        self.retries[event.task] += 1

    def _on_death(self, event: TaskEvent) -> None:
        self.dead[event.task] += 1
        self._finished()


async def run(jobs: int) -> None:
    """Enqueue the jobs, run them all, show what became of them."""
    # Given as if on the command line, so that no variable and no file of the user leads the tour elsewhere.
    app.configure(
        command_line={
            "broker_url": "memory://demo",
            "result_backend_url": "memory://demo",
            "state_url": "memory://demo",
            "namespace": "demo",
            "default_queue": QUEUE,
            "signals_enabled": True,
            "signals_disabled": (),
        },
        selection=("",),
    )
    # Retries and dead letters are what the table shows; as log lines they would tear the progress bar.
    logging.getLogger("stem_core").addHandler(logging.NullHandler())
    logging.getLogger("stem_core").propagate = False
    calls = _calls(jobs)
    async with app.open(producer=False) as session:
        with acting.bar("running", len(calls), least=1) as advance:
            tally = _Tally(lambda: advance(1))
            begun = SYSTEM_CLOCK.monotonic()
            handles = await app.enqueue_many(calls)
            worker = Worker(app, command_line={"worker.queues": [QUEUE], "worker.concurrency": 50})
            await worker.run_until_idle(wait_for_delayed=True)
            seconds = SYSTEM_CLOCK.monotonic() - begun
        _show(calls, tally)
        output.message(
            f"\n{len(calls)} jobs in {seconds:.1f} s. The first result: {await handles[0].result(timeout=5)!r}"
        )
        await _show_dead(session)
    output.message(
        "\nNext: write a task of your own and run it with `stem worker`; the tutorial begins in docs/tutorial."
    )


def _calls(jobs: int) -> list[TaskCall[Any]]:
    calls: list[TaskCall[Any]] = []
    for number in range(jobs):
        kind = number % 4
        if kind == 0:
            calls.append(greet.call(f"reader {number}"))
        elif kind == 1:
            calls.append(checksum.call(f"text {number}"))
        elif kind == 2:
            calls.append(fetch.call(number))
        else:
            calls.append(parse.call("seven" if number % 40 == 3 else str(number)))
    return calls


def _show(calls: list[TaskCall[Any]], tally: _Tally) -> None:
    enqueued = Counter(call.name for call in calls)
    rows = [
        {
            "task": task.name,
            "does": (task.function.__doc__ or "").rstrip("."),
            "jobs": enqueued[task.name],
            "succeeded": tally.succeeded[task.name],
            "retries": tally.retries[task.name],
            "dead": tally.dead[task.name],
        }
        for task in app.tasks
    ]
    output.show(rows, _COLUMNS, as_json=False)


async def _show_dead(session: Session) -> None:
    if isinstance(session.broker, KeepsDeadLetters):
        dead = await session.broker.dead_letters(QUEUE, limit=1)
        for letter in dead:
            output.message(f"One of the dead letters, kept with its reason: {letter.reason}: {letter.detail}")
