"""Calls that run in child processes: what is sent there, and what comes back. The worker's side of both ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, get_args

import msgspec

from stem_core.clock import Clock
from stem_core.contracts import Call, ChildPlan
from stem_core.errors import InterruptReason, RemoteError, TaskInterrupted
from stem_core.model import Envelope, Header, Progress
from stem_core.tasks import TaskContext, TaskRegistry
from stem_core.wire import decode_header
from stem_core.worker.invoker import TaskInvoker, Unbindable, Unencodable
from stem_core.worker.outfit import make_outfit, pack

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.settings import Settings
    from stem_core.worker.plan import Plan

#: Imported by children; see :func:`stem_core.worker.outpost.open_outpost`.
HOST = "stem_core.worker.outpost:open_outpost"

_REASONS = frozenset(get_args(InterruptReason))


class Request(msgspec.Struct, array_like=True):
    """One call on its way to a child."""

    #: Registered name of the task; the header may hold an alias.
    task: str
    #: As it is and not as JSON: the gate has judged it, and that saves a call 3 us.
    header: Header
    payload: bytes
    attempt: int
    run: int
    #: Seconds until the soft time limit.
    remaining: float | None


class Report(msgspec.Struct, array_like=True, omit_defaults=True):
    """What came of it."""

    #: ``ok``, ``error``, ``interrupted``, ``bad-arguments`` or ``bad-result``.
    kind: str
    result: bytes = b""
    error_type: str = ""
    message: str = ""
    traceback: str = ""
    retry_delay: float | None = None
    #: Headers and payloads that ``ctx.enqueue`` made.
    outbox: list[tuple[bytes, bytes]] = []
    percent: float | None = None
    data: bytes | None = None


class Said(msgspec.Struct, array_like=True):
    """What a call says while it runs: that it is alive, and how far it is."""

    #: None: it has not said how far it is.
    percent: float | None
    data: bytes | None
    #: Seconds by which it has moved its time limits so far.
    extended: float


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_report = msgspec.msgpack.Decoder(Report).decode
_decode_said = msgspec.msgpack.Decoder(Said).decode


class WorkerInvoker(TaskInvoker):
    """The :class:`~stem_core.contracts.RemoteInvoker` of a worker. The ``context`` of a call is a TaskContext."""

    def __init__(
        self,
        tasks: TaskRegistry,
        clock: Clock,
        *,
        on_life: Callable[[TaskContext], None],
        plan: Callable[[], ChildPlan],
    ) -> None:
        super().__init__(tasks)
        self._clock = clock
        self._on_life = on_life
        self._plan = plan
        #: Called when a process is free for the run: its clocks start.
        self.on_begin: Callable[[TaskContext], None] = _nothing

    @property
    def children(self) -> ChildPlan:
        """How to make child processes. Raises ConfigurationError: one could not find the app."""
        return self._plan()

    def begin(self, call: Call) -> bytes:
        """The request for the child.

        Raises:
            TaskInterrupted: the run has to stop already.
        """
        ctx = _context(call)
        # Before this moment there was no process to tell.
        ctx.check()
        self.on_begin(ctx)
        deadline = ctx.deadline
        return encode(
            Request(
                task=call.task,
                header=ctx.header,
                payload=call.payload,
                attempt=ctx.attempt,
                run=ctx.run,
                # The child's clock may have begun at another time.
                remaining=None if deadline is None else deadline - self._clock.monotonic(),
            )
        )

    def news(self, call: Call, message: bytes) -> None:
        """The task said that it is alive, how far it is, or that it needs more time."""
        said, ctx = _decode_said(message), _context(call)
        ctx.extended = max(ctx.extended, said.extended)
        _take_progress(ctx, said.percent, said.data)
        self._on_life(ctx)

    def finish(self, call: Call, report: bytes) -> bytes:
        """Take over what the task left in its context there, and raise what it raised."""
        found = _decode_report(report)
        ctx = _context(call)
        _take_progress(ctx, found.percent, found.data)
        if found.kind == "ok":
            if found.outbox:
                ctx.outbox.extend(
                    Envelope(header=decode_header(header), payload=payload) for header, payload in found.outbox
                )
            return found.result
        if found.kind == "interrupted":
            reason = found.message if found.message in _REASONS else "shutdown"
            raise TaskInterrupted(reason, remote_traceback=found.traceback)  # type: ignore[arg-type]  # just checked
        if found.kind == "bad-result":
            raise Unencodable(found.message)
        error = RemoteError(found.error_type, found.message, found.traceback, retry_delay=found.retry_delay)
        if found.kind == "bad-arguments":
            raise Unbindable(found.message) from error
        raise error


def child_plan(app: Stem, settings: Settings, plan: Plan, *, owns_process: bool) -> ChildPlan:
    """How this worker makes children.

    Raises:
        ConfigurationError: a child could not find the app.
    """
    options = settings.worker
    outfit = make_outfit(app, settings, plan.isolated, worker=plan.worker, owns_process=owns_process)
    return ChildPlan(
        host=HOST,
        setup=pack(outfit),
        processes=plan.processes,
        max_tasks=options.max_tasks_per_child,
        max_memory=options.max_memory_per_child,
        max_age=options.max_age_per_child,
    )


def _take_progress(ctx: TaskContext, percent: float | None, data: bytes | None) -> None:
    """Replaced only by news: every new object is told of."""
    if percent is None:
        return
    progress = Progress(percent=percent, data=data)
    if progress != ctx.latest:
        ctx.latest = progress


def _context(call: Call) -> TaskContext:
    ctx = call.context
    assert isinstance(ctx, TaskContext)
    return ctx


def _nothing(ctx: TaskContext) -> None:
    """Until an executor wants to know."""
