"""A worker's outpost in a child process: the app imported once, its lifespan entered, calls run one by one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stem_core.contracts import Call, ChildLink
from stem_core.errors import ConfigurationError, InterruptReason, TaskInterrupted
from stem_core.settings import Sources
from stem_core.signals import events
from stem_core.tasks import TaskContext, import_tasks
from stem_core.tasks.context import current
from stem_core.wire import encode_header
from stem_core.worker.describing import describe
from stem_core.worker.invoker import TaskInvoker, Unbindable, Unencodable
from stem_core.worker.outfit import Outfit, unpack
from stem_core.worker.remote import Report, Request, Said, decode_request, encode
from stem_core.worker.sideloop import SideLoop

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.tasks.task import AnyTask

#: The largest result that goes back to the worker, in bytes; what is larger belongs elsewhere.
MAX_RESULT = 32 * 2**20
#: Progress goes to the worker at most so often, in seconds; it writes it at most twice a second.
SAY_EVERY = 0.1


@contextmanager
def open_outpost(setup: bytes) -> Iterator[Outpost]:
    """Import the app and enter its lifespan; the :data:`~stem_core.contracts.ChildOpener` of workers.

    Raises:
        ConfigurationError: the app or a task cannot be found.
        Exception: what importing it or its lifespan raised.
    """
    outfit = unpack(setup)
    if outfit.logging is not None:
        from stem_core.worker.logs import configure_logging

        configure_logging(outfit.logging.level, outfit.logging.format, outfit.worker)  # type: ignore[arg-type]
    app = _load(outfit)
    init, shutdown = app.signals.worker_child_init, app.signals.worker_child_shutdown
    coroutines = any(app.tasks[name].is_coroutine for name in outfit.tasks)
    with SideLoop(app) as side:
        if app.lifespan is not None or coroutines or init or shutdown:
            side.start()
        outpost = Outpost(app, outfit.worker, side)
        common: dict[str, Any] = {"worker": outfit.worker, "pid": os.getpid()}
        if init:
            event = events.WorkerChildInitEvent(occurred_at=app.clock.now(), **common)
            side.run(lambda: init.send(event))
        # As for a worker: what the start has made lives as long as the process, most of what a call makes dies young.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        try:
            yield outpost
        finally:
            if shutdown:
                over = events.WorkerChildShutdownEvent(occurred_at=app.clock.now(), tasks=outpost.tasks, **common)
                side.run(lambda: shutdown.send(over))


class Outpost:
    """The :class:`~stem_core.contracts.ChildHost` of a worker. Plain functions run in the main thread, coroutine
    functions on the loop of the side thread, where the lifespan lives."""

    def __init__(self, app: Stem, worker: str, side: SideLoop) -> None:
        self._tasks = app.tasks
        self._invoker = TaskInvoker(app.tasks)
        self._clock = app.clock
        self._worker = worker
        self._side = side
        #: How many calls have run.
        self.tasks = 0

    def run(self, request: bytes, link: ChildLink) -> bytes:
        """Run one call; never raises what the function raised."""
        asked = decode_request(request)
        said = _News(link)
        ctx = TaskContext(
            asked.header,
            attempt=asked.attempt,
            run=asked.run,
            worker=self._worker,
            state=self._side.state,
            deadline=None if asked.remaining is None else self._clock.monotonic() + asked.remaining,
            on_life=said.say,
        )
        self.tasks += 1
        task = self._tasks[asked.task]
        try:
            # A context of its own keeps what one task set out of the next.
            context = contextvars.copy_context()
            if task.is_coroutine:
                result = self._call(task, asked, ctx, link, context)
            else:
                result = context.run(self._call_sync, task, asked, ctx, link)
            report = _succeeded(asked.task, result, ctx)
        except BaseException as error:  # whatever it is, it belongs to the task and not to this process
            report = _failed(task, asked, ctx, error)
        finally:
            said.close()
        latest = ctx.latest
        if latest is not None:
            report.percent, report.data = latest.percent, latest.data
        return encode(report)

    def _call(
        self, task: AnyTask, asked: Request, ctx: TaskContext, link: ChildLink, context: contextvars.Context
    ) -> bytes:
        call = Call(id=ctx.id, attempt=ctx.attempt, task=asked.task, payload=asked.payload, context=ctx)
        context.run(current.set, ctx)
        return self._side.call(lambda: self._invoker.call(call), context, _interrupter(ctx, link))

    def _call_sync(self, task: AnyTask, asked: Request, ctx: TaskContext, link: ChildLink) -> bytes:
        current.set(ctx)
        link.on_interrupt(lambda reason: _interrupt(ctx, reason))
        return self._invoker.run_sync(task, asked.payload, ctx)


def _interrupt(ctx: TaskContext, reason: str) -> None:
    ctx.interrupt = cast("InterruptReason", reason)


def _interrupter(ctx: TaskContext, link: ChildLink) -> Any:
    """What the side loop is given: how to hear of an interruption of this call."""

    def listen(cancel: Any) -> None:
        def interrupted(reason: str) -> None:
            _interrupt(ctx, reason)
            cancel(reason)

        link.on_interrupt(interrupted)

    return listen


def _succeeded(task: str, result: bytes, ctx: TaskContext) -> Report:
    if len(result) > MAX_RESULT:
        raise Unencodable(
            f"{task} returned {len(result):,} bytes; a process hands over at most {MAX_RESULT:,}: store it elsewhere "
            "and return where"
        )
    outbox = [(encode_header(envelope.header), envelope.payload) for envelope in ctx.outbox]
    return Report(kind="ok", result=result, outbox=outbox)


def _failed(task: AnyTask, asked: Request, ctx: TaskContext, error: BaseException) -> Report:
    if isinstance(error, Unbindable):
        cause = describe(error.__cause__ or error)
        return Report(kind="bad-arguments", error_type=cause.type, message=cause.message, traceback=cause.traceback)
    if isinstance(error, Unencodable):
        return Report(kind="bad-result", message=str(error))
    info = describe(error)
    if isinstance(error, TaskInterrupted):
        return Report(kind="interrupted", message=error.reason, traceback=info.traceback)
    if isinstance(error, asyncio.CancelledError) and ctx.interrupt is not None:
        return Report(kind="interrupted", message=ctx.interrupt, traceback=info.traceback)
    return Report(
        kind="error",
        error_type=info.type,
        message=info.message,
        traceback=info.traceback,
        # A rule of the task looks at the exception itself, so it is asked here.
        retry_delay=task.retry_delay(error, asked.attempt, ctx.header.retry),
    )


class _News:
    """Tells the worker of signs of life: at once, then at most every :data:`SAY_EVERY`, the last word always. That the
    task needs more time never waits."""

    def __init__(self, link: ChildLink) -> None:
        self._link = link
        self._timer: threading.Timer | None = None
        #: Has news that wait for the timer.
        self._waiting: TaskContext | None = None
        self._extended = 0.0
        self._lock = threading.Lock()

    def say(self, ctx: TaskContext) -> None:
        """There is news; in the thread of the task."""
        with self._lock:
            urgent = ctx.extended != self._extended
            self._extended = ctx.extended
            if self._timer is not None and not urgent:
                self._waiting = ctx
                return
            if self._timer is None:
                self._timer = threading.Timer(SAY_EVERY, self._later)
                self._timer.daemon = True
                self._timer.start()
        self._send(ctx)

    def close(self) -> None:
        """The end of the call carries the last word."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()

    def _later(self) -> None:
        with self._lock:
            self._timer = None
            ctx, self._waiting = self._waiting, None
        if ctx is not None:
            self._send(ctx)

    def _send(self, ctx: TaskContext) -> None:
        latest = ctx.latest
        percent, data = (None, None) if latest is None else (latest.percent, latest.data)
        self._link.tell(encode(Said(percent=percent, data=data, extended=ctx.extended)))


def _load(outfit: Outfit) -> Stem:
    from stem_core.client.app import Stem

    name, _, attribute = outfit.app.partition(":")
    found: Any = importlib.import_module(name)
    for step in attribute.split("."):
        found = getattr(found, step)
    app = found if isinstance(found, Stem) else found()
    if not isinstance(app, Stem):
        raise ConfigurationError(f"{outfit.app} is no Stem", hint="name the app itself, or a function that returns it")
    nothing_else = Sources(command_line={}, environ={}, code={}, file=None, directory=Path(outfit.directory))
    app.configure(outfit.settings, sources=nothing_else)
    import_tasks(app.include)
    import_tasks(outfit.modules)
    missing = [task for task in outfit.tasks if task not in app.tasks]
    if missing:
        raise ConfigurationError(
            f"the app {outfit.app} has no task {', '.join(missing)} in a child process, which imports it anew",
            hint="define tasks where their module is imported, not in code that only the worker's own process runs",
        )
    app.runtime.confine()
    return app
