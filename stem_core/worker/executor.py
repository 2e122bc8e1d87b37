"""Run one delivery that the gate let through, and say what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from stem_core.clock import Clock
from stem_core.contracts import Call, ConcurrencyStrategy, Middleware
from stem_core.errors import ProcessLost, RemoteError, TaskInterrupted
from stem_core.model import (
    Cancelled,
    ErrorInfo,
    Failed,
    HandedBack,
    Outcome,
    Retried,
    Succeeded,
    constructor,
)
from stem_core.tasks import TaskContext
from stem_core.tasks.context import current
from stem_core.worker.cancellation import Deadlines
from stem_core.worker.describing import describe, encodable, traceback_of
from stem_core.worker.inflight import Entry
from stem_core.worker.invoker import Unbindable, Unencodable

_call, _succeeded = constructor(Call), constructor(Succeeded)


class Executor:
    """Context, middleware, time limits, strategy. Values in, an outcome out; it never raises."""

    def __init__(
        self,
        strategies: Mapping[str, ConcurrencyStrategy],
        middleware: Sequence[Middleware],
        deadlines: Deadlines,
        clock: Clock,
        *,
        isolated: frozenset[str],
        lease: float,
        worker: str,
        state: object,
        default_max_retries: int,
        on_life: Callable[[TaskContext], None],
        on_started: Callable[[Entry], None] | None,
    ) -> None:
        #: By the task's name.
        self._strategies = strategies
        #: Tasks whose clocks start when a process is free for them.
        self._isolated = isolated
        #: With less than this left of its lease, in seconds, its renewals have failed for a while: it may be lost.
        self._doubtful = lease / 2
        self._middleware = tuple(middleware)
        self._deadlines = deadlines
        self._clock = clock
        self._worker = worker
        self._state = state
        self._default_max_retries = default_max_retries
        self._on_life = on_life
        self._on_started = on_started

    def prepare(self, entry: Entry) -> bool:
        """Make the context of the run and start its clocks. False, and nothing is done: it must be asked first whether
        the message is still this worker's."""
        header, task = entry.header, entry.task
        assert header is not None
        assert task is not None
        now = self._clock.monotonic()
        if entry.lease_deadline - now < self._doubtful:
            return False
        entry.started_at = now
        # Two steps instead of one call, which would collect the keywords in a dict: 0.2 us.
        entry.ctx = ctx = TaskContext.__new__(TaskContext)
        TaskContext.__init__(
            ctx,
            header,
            attempt=entry.delivery.attempt,
            run=entry.delivery.receipt.run,
            worker=self._worker,
            state=self._state,
            on_life=self._on_life,
        )
        current.set(ctx)
        if self._on_started is not None:
            self._on_started(entry)
        if task.name not in self._isolated:
            self.start_clocks(entry)
        return True

    def start_clocks(self, entry: Entry) -> None:
        """The function is called now: its time limits count from here."""
        header, task, ctx = entry.header, entry.task, entry.ctx
        assert header is not None
        assert task is not None
        assert ctx is not None
        soft_limit = header.soft_time_limit if header.soft_time_limit is not None else task.defaults.soft_time_limit
        hard_limit = header.time_limit if header.time_limit is not None else task.defaults.time_limit
        if task.name in self._isolated:
            entry.started_at = self._clock.monotonic()
        if soft_limit is not None:
            ctx.limited_at = entry.started_at + soft_limit
            self._deadlines.add(entry, soft_limit)
        if hard_limit is not None:
            self._deadlines.add(entry, hard_limit, hard=True)

    async def execute(self, entry: Entry) -> Outcome:
        """Run the function under its strategy, inside the middleware."""
        header, task, ctx = entry.header, entry.task, entry.ctx
        assert header is not None
        assert task is not None
        assert ctx is not None
        call = _call(
            id=header.id,
            attempt=entry.delivery.attempt,
            task=task.name,
            payload=entry.delivery.message.payload,
            context=ctx,
        )
        entry.call = call
        entry.strategy = strategy = self._strategies[task.name]
        try:
            if self._middleware:
                result = await self._through_middleware(ctx, strategy, call)
            else:
                result = await strategy.run(call)
            return _succeeded(result=result)
        except ProcessLost as error:
            return HandedBack(
                reason="crashed",
                detail=error.message,
                charge=True,
                exit_status=error.exit_status,
                signal=error.signal,
                peak_rss=error.peak_rss,
            )
        except Exception as error:
            return self._failed(entry, error)
        except BaseException as error:
            # TaskInterrupted and CancelledError; SystemExit and KeyboardInterrupt raised by a task end the task only.
            return self._interrupted(entry, error)
        finally:
            entry.runtime = self._clock.monotonic() - entry.started_at

    async def _through_middleware(self, ctx: TaskContext, strategy: ConcurrencyStrategy, call: Call) -> bytes:
        encoded: bytes | None = None

        async def innermost() -> bytes:
            nonlocal encoded
            encoded = await strategy.run(call)
            return encoded

        proceed: Callable[[], Awaitable[bytes]] = innermost
        for middleware in reversed(self._middleware):
            proceed = _step(middleware, ctx, proceed)
        result = await proceed()
        if result is not encoded:
            _check_changed(result)
        return result

    def overrun(self, entry: Entry) -> Outcome:
        """What becomes of an entry that does not end at its time limit, nor after."""
        entry.runtime = self._clock.monotonic() - entry.started_at
        return self._interrupted(entry, TaskInterrupted("time-limit"))

    def _failed(self, entry: Entry, error: Exception) -> Outcome:
        if isinstance(error, Unbindable):
            return Failed(reason="bad-arguments", error=describe(error.__cause__ or error))
        if isinstance(error, Unencodable):
            return Failed(reason="bad-result", error=ErrorInfo(type="TypeError", message=encodable(str(error))))
        if entry.interrupt is not None and entry.interrupt != "time-limit":
            # Cleaning up after a cancellation may raise something of its own: the attempt was cut short all the same.
            return self._interrupted(entry, error)
        return self._retry_or_give_up(entry, "failed", error, describe(error))

    def _interrupted(self, entry: Entry, error: BaseException) -> Outcome:
        reason = entry.interrupt
        if reason == "revoked":
            return Cancelled(reason="revoked", detail=entry.interrupted_detail)
        if reason == "time-limit":
            # What was killed, or is left behind, raised nothing: there is no traceback but that of the worker.
            raised = not (entry.overran and isinstance(error, TaskInterrupted))
            info = ErrorInfo(
                type="stem_core.errors.TaskInterrupted",
                message=_overdue(entry),
                traceback=traceback_of(error) if raised else "",
            )
            # Whatever it looked like where it ran: a cancellation, a killed process, or this.
            return self._retry_or_give_up(entry, "time-limit", TaskInterrupted("time-limit"), info)
        if reason is not None:
            return HandedBack(reason=reason)
        # Nobody here interrupted it: the task raised CancelledError, SystemExit or the like by itself.
        return self._retry_or_give_up(entry, "failed", error, describe(error))

    def _retry_or_give_up(self, entry: Entry, reason: str, error: BaseException, info: ErrorInfo) -> Outcome:
        header, task, attempt = entry.header, entry.task, entry.delivery.attempt
        assert header is not None
        assert task is not None
        allowed = header.max_retries if header.max_retries is not None else task.defaults.max_retries
        if allowed is None:
            allowed = self._default_max_retries
        delay: float | None = None
        if attempt <= allowed:
            # An error that was raised in another process was judged there, where it was more than a text.
            if isinstance(error, RemoteError):
                delay = error.retry_delay
            else:
                delay = task.retry_delay(error, attempt, header.retry)
        if delay is None:
            return Failed(reason=reason, error=info)
        return Retried(reason=reason, error=info, delay=delay)


def _overdue(entry: Entry) -> str:
    header, task, ctx = entry.header, entry.task, entry.ctx
    assert header is not None
    assert task is not None
    extended = f", extended by {ctx.extended:g} s" if ctx is not None and ctx.extended else ""
    if entry.overran:
        limit = header.time_limit if header.time_limit is not None else task.defaults.time_limit
        return f"ended at its time limit of {limit:g} s{extended}"
    limit = header.soft_time_limit if header.soft_time_limit is not None else task.defaults.soft_time_limit
    return f"stopped at its soft time limit of {limit:g} s{extended}"


def _step(
    middleware: Middleware, ctx: TaskContext, proceed: Callable[[], Awaitable[bytes]]
) -> Callable[[], Awaitable[bytes]]:
    return lambda: middleware.run(ctx, proceed)


def _check_changed(result: object) -> None:
    """What middleware puts in place of a result goes into stores, and to readers, as it is."""
    try:
        if not isinstance(result, bytes):
            raise TypeError(f"{type(result).__name__} instead of bytes")
        msgspec.json.decode(result)
    except (TypeError, ValueError) as error:
        raise Unencodable(f"middleware returned what is no JSON text: {error}") from error
