"""What a task takes and returns, found out from its function when it is first needed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from stem_core.errors import BadArguments, ResultError
from stem_core.tasks.annotations import Unresolved, parameters, return_decoder, unresolvable, untyped_parameters
from stem_core.tasks.binding import CODEC_ERRORS, Arguments, Binding, explain
from stem_core.tasks.fidelity import unfit

_encode = msgspec.json.Encoder().encode


class _Bare(str):
    """An annotation that was written as text, shown as it was written."""

    __slots__ = ()
    __repr__ = str.__str__


class Signature:
    """Arguments and results of one task as bytes.

    The function is looked at here and now, so that a type which JSON cannot carry is an error where the task is
    defined. Where an annotation is a text that names something defined later, that waits until the first use.
    """

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        """Raises:
        ConfigurationError: a parameter of a type that JSON cannot carry, or a context in the wrong place.
        """
        self._task = task
        self._function = function
        try:
            self._known: tuple[bool, Binding] | None = self._look()
        except Unresolved:
            self._known = None

    def _look(self) -> tuple[bool, Binding]:
        takes_context, found = parameters(self._task, self._function)
        return takes_context, Binding(self._task, found)

    def _now(self) -> tuple[bool, Binding]:
        if self._known is None:
            try:
                self._known = self._look()
            except Unresolved as error:
                raise unresolvable(error) from error
        return self._known

    @property
    def takes_context(self) -> bool:
        """Whether the first parameter is a :class:`TaskContext`.

        Raises:
            ConfigurationError: as at definition, or an annotation that still cannot be evaluated.
        """
        return (self._known or self._now())[0]

    @property
    def definition(self) -> str:
        """The task as a call would write it: ``shop.send_welcome(user_id: int, *, locale: str = 'en')``."""
        found = inspect.signature(self._function)
        taken = [
            parameter.replace(annotation=_Bare(parameter.annotation))
            if isinstance(parameter.annotation, str)
            else parameter
            for parameter in list(found.parameters.values())[1 if self.takes_context else 0 :]
        ]
        return f"{self._task}{inspect.Signature(taken)}"

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The arguments after ``ctx`` as JSON text ``[args, kwargs]``. What was left out is not sent, so its default is
        that of the worker's code.

        Raises:
            BadArguments: they do not fit the parameters, or JSON cannot carry them; names the parameter.
            ConfigurationError: as :attr:`takes_context`.
        """
        try:
            return (self._known or self._now())[1].encode(args, kwargs)
        except BadArguments as error:
            # Whoever enqueues by name, or from a shell, does not have the definition before his eyes.
            error.hint = error.hint or f"it is defined as {self.definition}"
            raise

    def decode_arguments(self, payload: bytes) -> Arguments:
        """The arguments after ``ctx``, converted as the annotations say.

        Raises:
            BadArguments: they do not fit the function that is here; no retry can help.
            ConfigurationError: as :attr:`takes_context`.
        """
        return (self._known or self._now())[1].decode(payload)

    def encode_result(self, returned: Any) -> bytes:
        """What the function returned, as JSON text. 0.3 us for a small value.

        Raises:
            ValueError: JSON cannot carry it; the text says why. A second run would return the same.
        """
        if returned is None:
            return b"null"
        try:
            text = _encode(returned)
            problem = unfit(returned) if b"null" in text else ""
        except CODEC_ERRORS as error:
            raise ValueError(explain(error)) from error
        if problem:
            raise ValueError(problem)
        return text

    def decode_result(self, result: bytes) -> Any:
        """A result, converted as the return annotation says.

        Raises:
            ResultError: the result does not fit the annotation of the code that is here.
            ConfigurationError: the return annotation is a text that cannot be evaluated.
        """
        try:
            return self._return(result)
        except CODEC_ERRORS as error:
            raise ResultError(
                f"the result of {self._task}() does not fit its annotation: {explain(error)}",
                hint="let the worker and this program run the same version of the task",
            ) from error

    @cached_property
    def _return(self) -> Callable[[bytes], Any]:
        return return_decoder(self._task, self._function)


def encode_any_arguments(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Arguments for a task whose code is not here: any JSON values.

    Raises:
        BadArguments: JSON cannot carry one of them, or not unharmed.
    """
    return Binding(task, untyped_parameters()).encode(tuple(args), dict(kwargs))
