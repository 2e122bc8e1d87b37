"""An app whose tasks exist once for each place where a task can run: ``coroutine``, ``thread``, ``process`` and
``process-coroutine``. Child processes make one of their own with :func:`make_app`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from stem_core import RetryPolicy, Stem, TaskContext, TaskInterrupted
from stem_core.clock import SYSTEM_CLOCK, Clock
from support.bench import flaky_app

#: Where a task can run, with the options that say so.
PLACES: dict[str, dict[str, Any]] = {
    "coroutine": {},
    "thread": {"strategy": "threads"},
    "process": {"strategy": "processes"},
    "process-coroutine": {"strategy": "processes"},
}
#: Those with an end of their own.
PROCESSES = ("process", "process-coroutine")


class Unbuildable(Exception):
    """Cannot be built from its own arguments."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


class Mute(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Transient(Exception):
    """Goes away by itself."""


def make_app(clock: Clock = SYSTEM_CLOCK) -> Stem:
    """The app, on stores of its own."""
    app = flaky_app(clock=clock)
    app.path = "support.strategy_jobs:make_app"
    for place, options in PLACES.items():
        _define(app, place, options)
    return app


def _define(app: Stem, place: str, options: dict[str, Any]) -> None:
    def task(name: str, function: Callable[..., Any], **more: Any) -> None:
        made = _coroutine(function) if place.endswith("coroutine") else function
        app.task(name=f"{name}.{place}", **{"retry": RetryPolicy.fixed(60), **options, **more})(made)

    task("fail", fail)
    task("by-rule", fail, retry=_rule)
    task("by-list", fail, retry=RetryPolicy.after([10, 20]))
    task("chosen", fail, retry_on=(Transient, TaskInterrupted), give_up_on=(PermissionError, ExceptionGroup))
    task("only", fail, retry_on=Transient)
    task("ask", ask, max_retries=1)

    def talk(ctx: TaskContext, what: str) -> str:
        ctx.check()
        ctx.heartbeat()
        ctx.progress(40, {"stage": what})
        ctx.extend(5)
        return ctx.enqueue(app.tasks["fail.thread"], "value").id

    task("talk", talk)
    app.task(name=f"run.{place}", retry=RetryPolicy.fixed(0), **options)(
        await_for_ever if place.endswith("coroutine") else check_for_ever
    )
    app.task(name=f"long.{place}", max_retries=0, **options)(
        extend_and_wait if place.endswith("coroutine") else extend_and_check
    )


def _coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    async def coroutine(ctx: TaskContext, what: str) -> Any:
        return function(ctx, what)

    return coroutine


def _rule(failures: int, error: BaseException) -> timedelta | None:
    return timedelta(minutes=failures) if isinstance(error, Transient) else None


def fail(ctx: TaskContext, what: str) -> None:
    """Raise what was asked for, if anything."""
    if what == "nothing":
        return
    if what == "exit":
        os._exit(7)
    if what == "unbuildable":
        raise Unbuildable(code=7)
    if what == "mute":
        raise Mute
    if what == "odd":
        odd = SyntaxError("odd")
        odd.text = 5  # type: ignore[assignment]  # nothing that can be printed
        raise odd
    if what == "notes":
        error = ValueError("noted")
        error.add_note("while the moon was full")
        raise error
    if what == "chain":
        try:
            raise KeyError("the first")
        except KeyError as first:
            raise ValueError("the second") from first
    if what == "group":
        raise ExceptionGroup("several", [ValueError("one"), Transient("two")])
    errors = {"transient": Transient, "value": ValueError, "permission": PermissionError}
    raise errors[what](what)


def ask(ctx: TaskContext, what: str) -> None:
    """Ask to be run again, as long as one lets it."""
    raise ctx.retry(after=timedelta(seconds=77) if what == "timedelta" else 77)


async def await_for_ever(ctx: TaskContext, what: str) -> str:
    """Wait until somebody stops it, and tell how it was told."""
    ctx.progress(1)
    if what == "fails-first" and ctx.attempt == 1:
        raise Transient
    if what == "fails-first":
        await asyncio.sleep(0.3)
        return f"attempt {ctx.attempt}"
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        ctx.progress(2, {"raised": type(error).__name__, "said": error.args, "reason": ctx.interrupt})
        raise
    return "was never stopped"


def check_for_ever(ctx: TaskContext, what: str) -> str:
    """Look again and again whether it has to stop, and tell how it was told."""
    ctx.progress(1)
    if what == "fails-first" and ctx.attempt == 1:
        raise Transient
    end = time.monotonic() + (0.3 if what == "fails-first" else 60)
    try:
        while time.monotonic() < end:
            ctx.check()
            time.sleep(0.002)
    except TaskInterrupted as error:
        ctx.progress(2, {"raised": type(error).__name__, "said": error.args, "reason": ctx.interrupt})
        raise
    return f"attempt {ctx.attempt}"


async def extend_and_wait(ctx: TaskContext, what: str) -> str:
    """Take longer than the limit, and say so in good time."""
    for _ in range(3):
        ctx.extend(0.2)
        await asyncio.sleep(0.15)
    if what == "for-ever":
        await asyncio.sleep(60)
    return "done"


def extend_and_check(ctx: TaskContext, what: str) -> str:
    """Take longer than the limit, and say so in good time."""
    for _ in range(3):
        ctx.extend(0.2)
        time.sleep(0.15)
    while what == "for-ever":
        ctx.heartbeat()
        time.sleep(0.002)
    return "done"
