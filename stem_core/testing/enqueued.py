"""Asking what was enqueued."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from stem_core.client.app import Stem
from stem_core.errors import BadArguments
from stem_core.model import Envelope
from stem_core.signals import AfterTaskPublishEvent
from stem_core.tasks import BoundTask, Task
from stem_core.testing.recorder import SignalRecorder


class Enqueued:
    """What an app enqueued, as a recorder of its signals heard it. Called, it asserts; see :meth:`__call__`."""

    def __init__(self, app: Stem, recorder: SignalRecorder) -> None:
        self._app = app
        self._recorder = recorder

    @property
    def envelopes(self) -> list[Envelope]:
        """Every request, in order."""
        return [event.envelope for event in self._recorder.of(AfterTaskPublishEvent)]

    def __call__(self, task: Any, /, *args: Any, times: int | None = None, **kwargs: Any) -> list[Envelope]:
        """Assert that the task was enqueued, and return the requests.

        ``assert_enqueued(send_welcome, 42, locale="fr")``: with these arguments, however they were passed; what is
        left out has its default. ``assert_enqueued(send_welcome)``: with any arguments.

        ``task`` is a task of the app or the name of one; ``times`` is how often, None at least once, 0 never.

        Raises:
            AssertionError: it was not; says what was.
            BadArguments: the task does not take such arguments.
        """
        name = task if isinstance(task, str) else (task.task if isinstance(task, BoundTask) else task).name
        of_task = [envelope for envelope in self.envelopes if envelope.header.task == name]
        wanted = self._wanted(name, args, kwargs) if args or kwargs else None
        found = [one for one in of_task if wanted is None or self._arguments(one.header.task, one.payload) == wanted]
        if (not found) if times is None else (len(found) != times):
            call = name if wanted is None else f"{name}({_text(args, kwargs)})"
            often = "at least once" if times is None else f"{times} times"
            raise AssertionError(f"{call} was to be enqueued {often}, and was {len(found)} times; {self._all()}")
        return found

    def _wanted(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        call = self._app.call(name, args, kwargs)
        return self._arguments(name, call.payload)

    def _arguments(self, name: str, payload: bytes) -> Mapping[str, Any]:
        """The arguments by the names of their parameters, defaults included."""
        found = self._app.tasks.get(name)
        if not isinstance(found, Task):
            args, kwargs = msgspec.json.decode(payload)
            return {"args": args, "kwargs": kwargs}
        given, named = found.signature.decode_arguments(payload)
        signature = inspect.signature(found.function)
        if found.takes_context:
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        return dict(bound.arguments)

    def _all(self) -> str:
        lines = []
        for envelope in self.envelopes:
            try:
                args, kwargs = msgspec.json.decode(envelope.payload)
            except (msgspec.DecodeError, BadArguments, ValueError):
                args, kwargs = [...], {}
            lines.append(f"\n  {envelope.header.task}({_text(args, kwargs)}) to {envelope.header.queue}")
        return "enqueued were:" + "".join(lines) if lines else "nothing was enqueued"


def _text(args: Any, kwargs: Any) -> str:
    return ", ".join([*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())])
