"""The tasks of an app, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from stem_core.errors import DuplicateTask, UnknownTask
from stem_core.model.names import check_name
from stem_core.tasks.call import TaskCall
from stem_core.tasks.host import TaskHost
from stem_core.tasks.options import NO_OPTIONS, CallOptions
from stem_core.tasks.signature import encode_any_arguments
from stem_core.tasks.task import AnyTask


class TaskRegistry:
    """All tasks of one app. Iterates over them in order of definition, each once."""

    def __init__(self) -> None:
        #: Names and aliases. ``get`` is the dict's own: the gate asks for every delivery.
        self._by_name: dict[str, AnyTask] = {}
        self.get = self._by_name.get

    def add(self, task: AnyTask) -> None:
        """Register a task under its name and aliases.

        Raises:
            DuplicateTask: one of them is taken; names both functions.
        """
        names = dict.fromkeys((task.name, *task.aliases))
        for name in names:
            other = self._by_name.get(name)
            if other is not None:
                raise DuplicateTask(
                    f"two tasks are named {name!r}: {_where(other)} and {_where(task)}",
                    hint="give one of them another name: @app.task(name=...)",
                )
        for name in names:
            self._by_name[name] = task

    def call(
        self,
        host: TaskHost,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions = NO_OPTIONS,
    ) -> TaskCall[Any]:
        """A call by name. The arguments are checked against a registered task; of another, only that JSON carries them.

        Raises:
            BadArguments: arguments that do not fit, or that JSON cannot carry.
            InvalidName: a name that no task may have.
            InvalidOption: options that do not go with a registered task.
        """
        task = self._by_name.get(name)
        if task is None:
            payload = encode_any_arguments(check_name("task", name), args, kwargs)
        else:
            options = task.checked(options)
            payload = task.signature.encode_arguments(tuple(args), dict(kwargs))
        return TaskCall(name, payload, host, options, task)

    def names(self) -> list[str]:
        """All names and aliases, sorted."""
        return sorted(self._by_name)

    def close_matches(self, name: str) -> list[str]:
        """Up to three registered names that look like ``name``, the best first."""
        return get_close_matches(name, self._by_name, n=3)

    def __getitem__(self, name: str) -> AnyTask:
        task = self._by_name.get(name)
        if task is None:
            close = self.close_matches(name)
            raise UnknownTask(
                f"no task is named {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""),
                task=name,
                hint="import the module that defines it, or list it in Stem(include=[...])",
            )
        return task

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[AnyTask]:
        return iter(dict.fromkeys(self._by_name.values()))

    def __len__(self) -> int:
        return len(set(self._by_name.values()))


def _where(task: AnyTask) -> str:
    code = getattr(task.function, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"{task.function.__module__}.{getattr(task.function, '__qualname__', task.name)}{place}"
