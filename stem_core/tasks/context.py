"""What a running task knows of itself, and what it can say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.errors import AppNotOpen, InterruptReason, InvalidOption, RetryTask, TaskInterrupted
from stem_core.model import Envelope, Header, Progress, child_id, new_id
from stem_core.model.spans import Span, in_seconds

if TYPE_CHECKING:
    from stem_core.client.results import TaskHandle
    from stem_core.tasks.call import BoundTask
    from stem_core.tasks.task import Task

P = ParamSpec("P")
R = TypeVar("R")

_encode = msgspec.json.Encoder().encode
# Guards the counting of all contexts: hardly any run needs a lock of its own.
_counting = Lock()

#: The context of the task that runs here; None outside of tasks.
current: ContextVar[TaskContext | None] = ContextVar("stem_task_context", default=None)


class TaskContext:
    """One run of one task, seen from inside. A task gets it as its first parameter, annotated ``TaskContext``.

    Methods are plain calls, the same in coroutines, threads and on the event loop. The worker makes it;
    :meth:`local` makes one for a test.
    """

    # A slotted class by hand: 0.33 us a run, because most fields are read through the header when they are asked for.
    __slots__ = (
        "_children",
        "_direct",
        "_header",
        "_on_life",
        "alive_at",
        "attempt",
        "extended",
        "interrupt",
        "latest",
        "limited_at",
        "outbox",
        "run",
        "state",
        "worker",
    )

    def __init__(
        self,
        header: Header,
        *,
        attempt: int = 1,
        run: int = 1,
        worker: str = "",
        state: Any = None,
        deadline: float | None = None,
        on_life: Callable[[TaskContext], None] | None = None,
    ) -> None:
        self._header = header
        self._on_life = on_life
        self._children = 0
        #: Which try of the code this is, from 1.
        self.attempt = attempt
        #: The broker's count of claims of this id, from 1; rises even where the attempt does not.
        self.run = run
        #: Id of the worker; empty outside of workers.
        self.worker = worker
        #: What the app's ``lifespan`` yielded; None without one.
        self.state = state
        #: Set by the worker: when the soft time limit was to be over at first; see :attr:`deadline`.
        self.limited_at = deadline
        #: By how many seconds :meth:`extend` has moved the time limits, in all.
        self.extended = 0.0
        #: Set by the worker when the task has to stop; see :meth:`check`.
        self.interrupt: InterruptReason | None = None
        #: What the last :meth:`progress` said.
        self.latest: Progress | None = None
        #: Set by the worker: when it last heard of this run, seconds since the epoch; None when it never did.
        self.alive_at: float | None = None
        #: What :meth:`enqueue` collected, to be published with the task's success.
        self.outbox: list[Envelope] = []
        #: Whether the task was called directly, so that nobody looks at the outbox.
        self._direct = False

    @classmethod
    def local(
        cls, *, task: str = "local", headers: Mapping[str, str] | None = None, clock: Clock = SYSTEM_CLOCK, **given: Any
    ) -> TaskContext:
        """A context for a test: ``task.function(TaskContext.local(), ...)``. Nothing is published or stored; look at
        :attr:`outbox` and :attr:`latest`. ``given`` are the keyword arguments of the class."""
        now = clock.now()
        job = new_id(now)
        header = Header(id=job, task=task, queue="local", enqueued_at=now, headers=dict(headers or {}), root_id=job)
        return cls(header, **given)

    @classmethod
    def direct(cls, task: str) -> TaskContext:
        """The context of a task that is called as a function: a local one that cannot enqueue."""
        ctx = cls.local(task=task)
        ctx._direct = True  # noqa: SLF001 - its own class
        return ctx

    @property
    def header(self) -> Header:
        """The header of the request."""
        return self._header

    @property
    def id(self) -> str:
        """The id of the job."""
        return self._header.id

    @property
    def task(self) -> str:
        """The name of the task, as it was enqueued: an alias stays an alias."""
        return self._header.task

    @property
    def queue(self) -> str:
        """The queue that the job came from."""
        return self._header.queue

    @property
    def headers(self) -> Mapping[str, str]:
        """The text pairs that the producer sent along."""
        return self._header.headers

    @property
    def parent_id(self) -> str | None:
        """The job that enqueued this one."""
        return self._header.parent_id

    @property
    def root_id(self) -> str:
        """The first job of the family; the own id when there is no parent."""
        return self._header.root_id or self._header.id

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of the producer."""
        return self._header.traceparent

    @property
    def enqueued_at(self) -> float:
        """When the producer made the request, seconds since the epoch by its clock."""
        return self._header.enqueued_at

    @property
    def deadline(self) -> float | None:
        """When the soft time limit is over, by the monotonic clock; None without a limit."""
        return None if self.limited_at is None else self.limited_at + self.extended

    def progress(self, percent: float, data: Any = None) -> None:
        """Say how far the work is: ``percent`` from 0 to 100, and any JSON value beside it.

        Cheap: the worker writes only the latest, at most twice a second.

        Raises:
            InvalidOption: another percent, or data that JSON cannot carry.
        """
        if isinstance(percent, bool) or not 0 <= percent <= 100:
            raise InvalidOption("percent", percent, "a number from 0 to 100")
        try:
            text = None if data is None else _encode(data)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidOption("data", type(data).__name__, f"a value that JSON can carry ({error})") from error
        self.latest = Progress(percent=float(percent), data=text)
        if self._on_life is not None:
            self._on_life(self)

    def enqueue(self, task: Task[P, R, Any] | BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Enqueue another task together with the success of this one: published with it, dropped with its failure.

        Returns the handle at once. The n-th call of every run of this job makes the same id, so that a repeated run
        enqueues nothing twice. May be called in any thread.

        Raises:
            BadArguments: as ``task.enqueue``.
            AppNotOpen: the task was called directly, so nothing would publish what it enqueues.
        """
        if self._direct:
            raise AppNotOpen(
                f"ctx.enqueue was used in {self.task}, which was called directly: nothing would publish it",
                hint="enqueue the task, or in a test call task.function(TaskContext.local(), ...) and read ctx.outbox",
            )
        call = task.call(*args, **kwargs)
        with _counting:
            number = self._children
            self._children = number + 1
        envelope, handle = call.host.stage(call, self, child_id(self._header.id, number))
        self.outbox.append(envelope)
        return handle

    def check(self) -> None:
        """A checkpoint: return, or stop the task here because it was revoked, is out of time, is being shut down or
        has lost its lease. Call it between the steps of long work. Costs 0.02 us.

        Raises:
            TaskInterrupted: the task has to stop; its ``reason`` says why. Let it through.
        """
        if self.interrupt is not None:
            raise TaskInterrupted(self.interrupt)

    def heartbeat(self) -> None:
        """A checkpoint, as :meth:`check`, that also says: I am alive and getting on. Readers see the moment of the last
        one as ``alive_at`` of the running task's status, so that they can tell long work from work that hangs.

        It keeps no lease: the worker renews those by itself, as long as it lives. :meth:`progress` counts as a sign of
        life too. Cheap: the worker writes at most twice a second.

        Raises:
            TaskInterrupted: the task has to stop; its ``reason`` says why. Let it through.
        """
        self.check()
        if self._on_life is not None:
            self._on_life(self)

    def extend(self, seconds: Span) -> None:
        """Move both time limits of this run, the soft and the hard one, by so many seconds (or a timedelta); a
        checkpoint too. Several calls add up; a limit that the run does not have stays absent; the next attempt begins
        with the limits of the task again. Nothing else is extended: a stop of the worker waits no longer than it says,
        and leases need no help, for the worker renews them.

        Raises:
            TaskInterrupted: too late, the task has to stop; its ``reason`` says why. Let it through.
            InvalidOption: no span of time above 0.
        """
        more = in_seconds("seconds", seconds)
        self.check()
        with _counting:
            self.extended += more
        if self._on_life is not None:
            self._on_life(self)

    def retry(self, after: Span | None = None, message: str = "the task asked to be run again") -> RetryTask:
        """What to raise to be run again after so many seconds (or a timedelta): ``raise ctx.retry(after=30)``.

        Counts as a failed attempt, and ``max_retries`` holds; None waits as the policy says. The arguments stay as
        they are.

        Raises:
            InvalidOption: no span of time.
        """
        return RetryTask(message, delay=None if after is None else in_seconds("after", after, least="0"))

    def __repr__(self) -> str:
        return f"<TaskContext {self.task} [{self.id}] attempt {self.attempt}>"
