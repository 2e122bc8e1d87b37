"""From bytes to a function call and back: what a strategy is given to run."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from stem_core.contracts import Call
from stem_core.errors import BadArguments
from stem_core.tasks import TaskContext, TaskRegistry
from stem_core.tasks.task import AnyTask

#: How many forks lie between the first process and this one. Asking for the process's id instead is a system call.
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class Unbindable(Exception):
    """The payload does not fit the function that this worker has; no retry can help."""


class Unencodable(Exception):
    """The function returned what JSON cannot carry; running it again would return it again."""


class TaskInvoker:
    """Runs calls of the registered tasks. The call's ``context`` is the :class:`TaskContext`."""

    def __init__(self, tasks: TaskRegistry) -> None:
        self._tasks = tasks
        self._forks = _forks

    async def call(self, call: Call) -> bytes:
        """Run a coroutine function, or a plain one that is content to block, on the current loop."""
        # The look-up of the dict first: it is ten times as fast as the one that explains what is missing.
        task = self._tasks.get(call.task) or self._tasks[call.task]
        args, kwargs = self._arguments(task, call.payload, call.context)
        try:
            returned = task.function(*args, **kwargs)
            if task.is_coroutine:
                returned = await returned
        finally:
            if _forks != self._forks:
                _end_child()
        return self._encode(task, returned)

    def call_sync(self, call: Call) -> bytes:
        """Run a plain function in the current thread."""
        return self.run_sync(self._tasks[call.task], call.payload, call.context)

    def run_sync(self, task: AnyTask, payload: bytes, context: object) -> bytes:
        """The same for those who have no :class:`Call`: a child process, which saves a microsecond with it."""
        args, kwargs = self._arguments(task, payload, context)
        try:
            returned = task.function(*args, **kwargs)
        finally:
            if _forks != self._forks:
                _end_child()
        return self._encode(task, returned)

    def _arguments(
        self, task: AnyTask, payload: bytes, context: object
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        try:
            args, kwargs = task.signature.decode_arguments(payload)
        except BadArguments as error:
            raise Unbindable(error.message) from error
        if task.signature.takes_context:
            assert isinstance(context, TaskContext)
            return (context, *args), kwargs
        return tuple(args), kwargs

    def _encode(self, task: AnyTask, returned: object) -> bytes:
        try:
            return task.signature.encode_result(returned)
        except (TypeError, ValueError, RecursionError) as error:
            raise Unencodable(f"{task.name} returned what JSON cannot carry: {error}") from error


def _end_child() -> NoReturn:
    """The function forked, and this is the child on its way back into the code of the worker. It has neither the
    threads nor the loop of the worker, and would wait for them for ever: it ends as its last exception says."""
    error = sys.exc_info()[1]
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or none at all
            stream.flush()
    os._exit(code)
