"""Handles: what a producer holds of a job that it enqueued."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from stem_core.client import lookup, sync
from stem_core.contracts import ResultBackend
from stem_core.errors import ResultError, ResultTimeout, TaskCancelled, TaskFailed
from stem_core.model import Header, TaskState, TaskStatus
from stem_core.tasks.context import current

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.client.session import Session

R = TypeVar("R")

#: The longest single wait on the backend, in seconds; a longer one is made of several.
LONGEST_WAIT = 30.0
#: Between two looks at what is on its way, in seconds: the first after a change, and the longest when nothing changes.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class TaskHandle(msgspec.Struct, Generic[R], eq=False, gc=False):
    """One job. Made by ``enqueue`` and by ``app.handle(id)``; needs the app open on the running loop, the ``_sync``
    methods need no loop."""

    # ``gc=False``: as ``TaskCall``.

    #: The id of the job.
    id: str
    #: The name of the task; empty where only the id is known.
    task: str
    _app: Stem
    #: The header as it was sent, or that of a call which differed in id and time alone; None when the job was enqueued
    #: elsewhere.
    _header: Header | None = None
    _enqueued_at: float | None = None

    async def result(self, timeout: float | None = None, *, allow_in_task: bool = False) -> R:
        """Wait until the job is finished and return what it returned, converted to the task's return annotation.

        Args:
            timeout: Seconds to wait; None waits for ever.
            allow_in_task: Inside a task this raises unless set: a task that waits for another holds a slot that
                the other may need.

        Raises:
            TaskFailed: the job was given up.
            TaskCancelled: it was revoked or had expired.
            ResultTimeout: not finished in time; it goes on.
            ResultError: there will be no result, or waiting is not allowed here.
            AppNotOpen, StoreError
        """
        if not allow_in_task and current.get() is not None:
            raise ResultError(
                f"result() of {self._label()} was asked for inside a task",
                hint="a waiting task holds a slot that the other may need: enqueue the follow-up work from the other "
                "task, or pass allow_in_task=True",
            )
        session = self._app.session
        status = await self._finished(session, self._results(session), timeout)
        return self._value(status)

    async def status(self) -> TaskStatus:
        """What is known of the job now. A job of this handle's own that nobody knows counts as ``queued``;
        by ``app.handle(id)`` it is ``unknown``.

        Raises:
            AppNotOpen, StoreError
        """
        found = (await lookup.statuses(self._app.session, [self.id])).get(self.id)
        return found if found is not None else self._unseen()

    async def watch(self) -> AsyncIterator[TaskStatus]:
        """Yield the status now and after every change that is seen, the terminal one last.

        States that pass quickly may be skipped; the terminal one never is.

        Raises:
            ResultError: no outcome will be stored, so there is no end to wait for.
            AppNotOpen, StoreError
        """
        session = self._app.session
        backend = self._results(session)
        status, pause = await self.status(), FIRST_PAUSE
        yield status
        while not status.state.terminal:
            newer = await self._wait(session, backend, pause)
            if newer is None:
                newer = await self.status()
            if newer == status:
                pause = min(pause * 1.5, LONGEST_PAUSE)
                continue
            status, pause = newer, FIRST_PAUSE
            yield status

    async def cancel(self, reason: str = "") -> bool:
        """Revoke the job, durably: it will not start any more, and stops at its next checkpoint where it runs.

        Returns whether it was still waiting, and is out of its queue now. Otherwise a worker has it and is told, or it
        was finished already, which changes nothing.

        Raises:
            AppNotOpen, StoreError
        """
        return await lookup.revoke(self._app.session, self.id, reason)

    def result_sync(self, timeout: float | None = None, *, allow_in_task: bool = False) -> R:
        """As :meth:`result`, for code without an event loop; blocks."""
        return sync.run(self._app, lambda: self.result(timeout, allow_in_task=allow_in_task))

    def status_sync(self) -> TaskStatus:
        """As :meth:`status`, for code without an event loop; blocks."""
        return sync.run(self._app, self.status)

    def cancel_sync(self, reason: str = "") -> bool:
        """As :meth:`cancel`, for code without an event loop; blocks."""
        return sync.run(self._app, lambda: self.cancel(reason))

    def __repr__(self) -> str:
        return f"<TaskHandle {self._label()}>"

    def _label(self) -> str:
        return f"{self.task} [{self.id}]" if self.task else f"[{self.id}]"

    def _unseen(self) -> TaskStatus:
        header = self._header
        if header is None:
            return TaskStatus(id=self.id, task=self.task, queue="", state=TaskState.UNKNOWN)
        # Nobody keeps a record of a broadcast.
        state = TaskState.QUEUED if header.channel is None else TaskState.UNKNOWN
        return TaskStatus(id=self.id, task=self.task, queue=header.queue, state=state, enqueued_at=self._enqueued_at)

    def _results(self, session: Session) -> ResultBackend:
        if self._header is not None and self._header.channel is not None:
            raise ResultError(
                f"{self._label()} is a broadcast on the channel {self._header.channel!r}: every worker that listens "
                "runs a copy of it, and none of them has a result",
                hint="name a queue to have it run once: options(queue=...)",
            )
        if self._header is not None and not self._header.store_result:
            raise ResultError(
                f"{self._label()} was enqueued with store_result=False: its outcome is stored nowhere",
                hint="enqueue it with options(store_result=True)",
            )
        if session.backend is None:
            raise ResultError(
                "no results are kept: the result backend is 'none'",
                hint="set result_backend_url (STEM_RESULT_BACKEND_URL)",
            )
        return session.backend

    async def _wait(self, session: Session, backend: ResultBackend, seconds: float) -> TaskStatus | None:
        waiting = backend.wait(self.id, seconds)
        return await session.deadline("result backend: wait", waiting, seconds=seconds + session.call_timeout)

    async def _finished(self, session: Session, backend: ResultBackend, timeout: float | None) -> TaskStatus:
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while True:
            left = LONGEST_WAIT if deadline is None else max(0.0, min(LONGEST_WAIT, deadline - loop.time()))
            status = await self._wait(session, backend, left)
            if status is not None and status.state.terminal:
                return status
            if deadline is not None and timeout is not None and loop.time() >= deadline:
                raise ResultTimeout(self.id, timeout, (await self.status()).state)

    def _value(self, status: TaskStatus) -> R:
        task = status.task or self.task
        if status.state is TaskState.CANCELLED:
            raise TaskCancelled(task, self.id, status.reason or "revoked")
        if status.state is TaskState.FAILED:
            error = status.error
            raise TaskFailed(
                task,
                self.id,
                reason=status.reason or "failed",
                error_type="" if error is None else error.type,
                error="" if error is None else error.message,
                traceback="" if error is None else error.traceback,
            )
        encoded = status.result if status.result is not None else b"null"
        registered = self._app.tasks.get(task)
        value: Any = msgspec.json.decode(encoded) if registered is None else registered.decode_result(encoded)
        return cast("R", value)
