"""The types of ``@app.task(...)``: what kind of function becomes what kind of task."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from stem_core.tasks import Task, TaskArguments, TaskContext, TaskHost, TaskOptions, TaskRegistry

P = ParamSpec("P")
R = TypeVar("R")


class TaskDecorator(Protocol):
    """What ``@app.task(queue="mail")`` is: makes a task of the function below it.

    The context is no parameter of the task: ``enqueue`` and ``call`` take what comes after it. For type checkers a
    first parameter annotated ``object`` (pyright: also ``Any``) could be the context; give it a narrower type.
    """

    @overload
    def __call__(
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> Task[P, R, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R, R]: ...


class DefinesTasks(TaskHost):
    """The side of an app on which its tasks are defined."""

    def __init__(self) -> None:
        self._tasks = TaskRegistry()

    @property
    def tasks(self) -> TaskRegistry:
        """The tasks, by name and alias."""
        return self._tasks

    @overload
    def task(
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> Task[P, R, Coroutine[Any, Any, R]]: ...

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...

    @overload
    def task(self, function: Callable[Concatenate[TaskContext, P], R], /) -> Task[P, R, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R, R]: ...

    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        **options: Unpack[TaskArguments],
    ) -> TaskDecorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        aliases: Sequence[str] = (),
        **options: Unpack[TaskArguments],
    ) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(queue="mail", max_retries=5)``.

        Args:
            function: The function; None when there are options.
            name: Default: ``module.function``.
            aliases: Former names, under which messages still arrive.
            options: See :class:`~stem_core.tasks.TaskOptions`.

        Raises:
            DuplicateTask: another task has the name or an alias.
            ConfigurationError: a name, option or function that cannot be used.
        """
        defaults = TaskOptions.build(options)

        def make(function: Callable[..., Any]) -> Task[Any, Any, Any]:
            task: Task[Any, Any, Any] = Task(function, host=self, name=name, aliases=aliases, options=defaults)
            self.tasks.add(task)
            return task

        return make if function is None else make(function)
