"""Run one delivery that the gate let through, and say what came of it."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from stem_core.clock import Clock
from stem_core.contracts import Call, ConcurrencyStrategy, Middleware
from stem_core.model import (
    Cancelled,
    ErrorInfo,
    Failed,
    HandedBack,
    Outcome,
    Retried,
    Succeeded,
)
from stem_core.tasks import TaskContext
from stem_core.tasks.context import current
from stem_core.worker.cancellation import Deadlines
from stem_core.worker.inflight import Entry
from stem_core.worker.invoker import Unbindable, Unencodable

#: Longer messages and tracebacks of errors are cut in the middle, in characters. Some hold the body of a request.
MAX_MESSAGE, MAX_TRACEBACK = 4_000, 20_000


class Executor:
    """Context, middleware, soft time limit, strategy. Values in, an outcome out; it never raises."""

    def __init__(
        self,
        strategies: Mapping[str, ConcurrencyStrategy],
        middleware: Sequence[Middleware],
        deadlines: Deadlines,
        clock: Clock,
        *,
        worker: str,
        state: object,
        default_max_retries: int,
        on_progress: Callable[[TaskContext], None],
        on_started: Callable[[Entry], None] | None,
    ) -> None:
        #: By the task's name.
        self._strategies = strategies
        self._middleware = tuple(middleware)
        self._deadlines = deadlines
        self._clock = clock
        self._worker = worker
        self._state = state
        self._default_max_retries = default_max_retries
        self._on_progress = on_progress
        self._on_started = on_started

    def prepare(self, entry: Entry) -> None:
        """Make the context of the run and start its clocks."""
        header, task = entry.header, entry.task
        assert header is not None
        assert task is not None
        soft_limit = header.soft_time_limit if header.soft_time_limit is not None else task.defaults.soft_time_limit
        entry.started_at = started_at = self._clock.monotonic()
        entry.ctx = ctx = TaskContext(
            header,
            attempt=entry.delivery.attempt,
            run=entry.delivery.receipt.run,
            worker=self._worker,
            state=self._state,
            deadline=None if soft_limit is None else started_at + soft_limit,
            on_progress=self._on_progress,
        )
        current.set(ctx)
        if self._on_started is not None:
            self._on_started(entry)
        if soft_limit is not None:
            self._deadlines.add(entry, soft_limit)

    async def execute(self, entry: Entry) -> Outcome:
        """Run the function under its strategy, inside the middleware."""
        header, task, ctx = entry.header, entry.task, entry.ctx
        assert header is not None
        assert task is not None
        assert ctx is not None
        call = Call(
            id=header.id,
            attempt=entry.delivery.attempt,
            task=task.name,
            payload=entry.delivery.message.payload,
            context=ctx,
        )
        strategy = self._strategies[task.name]
        try:
            if self._middleware:
                result = await self._through_middleware(ctx, strategy, call)
            else:
                result = await strategy.run(call)
            return Succeeded(result=result)
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

    def _failed(self, entry: Entry, error: Exception) -> Outcome:
        if isinstance(error, Unbindable):
            return Failed(reason="bad-arguments", error=describe(error.__cause__ or error))
        if isinstance(error, Unencodable):
            return Failed(reason="bad-result", error=ErrorInfo(type="TypeError", message=_encodable(str(error))))
        if entry.interrupt is not None and entry.interrupt != "time-limit":
            # Cleaning up after a cancellation may raise something of its own: the attempt was cut short all the same.
            return self._interrupted(entry, error)
        return self._retry_or_give_up(entry, "failed", error, describe(error))

    def _interrupted(self, entry: Entry, error: BaseException) -> Outcome:
        reason = entry.interrupt
        if reason == "revoked":
            return Cancelled(reason="revoked", detail=entry.interrupted_detail)
        if reason == "time-limit":
            limit = entry.header.soft_time_limit if entry.header is not None else None
            if limit is None and entry.task is not None:
                limit = entry.task.defaults.soft_time_limit
            info = ErrorInfo(
                type="stem_core.errors.TaskInterrupted",
                message=f"stopped at its soft time limit of {limit:g} s",
                traceback=_traceback(error),
            )
            return self._retry_or_give_up(entry, "time-limit", error, info)
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
        delay = task.retry_delay(error, attempt, header.retry) if attempt <= allowed else None
        if delay is None:
            return Failed(reason=reason, error=info)
        return Retried(reason=reason, error=info, delay=delay)


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


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text: its type, message and traceback, without the frames of the worker."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"
    try:
        message = str(error)
    except Exception as broken:
        message = f"<{cls.__qualname__}.__str__ raised {type(broken).__name__}>"
    return ErrorInfo(type=name, message=_shortened(_encodable(message), MAX_MESSAGE), traceback=_traceback(error))


def _encodable(text: str) -> str:
    """Lone surrogates, as in the name of a file that is no UTF-8, would make a record that no store can write."""
    return text.encode("utf-8", "backslashreplace").decode()


def _traceback(error: BaseException) -> str:
    frames: Any = error.__traceback__
    # What stands above the task's own first frame is the same for every error and says nothing to its author.
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("stem_core."):
        frames = frames.tb_next
    own = frames if frames is not None else error.__traceback__
    text = _encodable("".join(traceback.format_exception(type(error), error, own)))
    return _shortened(text, MAX_TRACEBACK)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - most:,} characters left out ...\n{text[-half:]}"
