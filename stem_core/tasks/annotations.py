"""The parameters of a function and their types, as the codec can use them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import msgspec

from stem_core.errors import ConfigurationError
from stem_core.tasks.context import TaskContext

_SUPPORTED = (
    "use JSON values, bytes, datetime, date, time, timedelta, UUID, Decimal, enums, Literal, dataclasses, attrs "
    "classes, NamedTuple, TypedDict or msgspec.Struct; of anything else pass a text or an id and look it up in the task"
)

Kind = inspect._ParameterKind  # noqa: SLF001 - the public way to the same class is through an instance


class Unresolved(Exception):
    """A text annotation names something that is not defined yet, or never is."""


@attrs.define(slots=True, eq=False)
class Parameter:
    """One parameter of a task, without ``ctx``."""

    name: str
    kind: Kind
    required: bool
    #: Of each item for ``*args`` and ``**kwargs``.
    type: Any
    decode: Callable[[bytes | msgspec.Raw], Any]
    #: Whether values of the type are made of those of Python itself, whose ``==`` looks at everything.
    comparable: bool = True

    @property
    def by_position(self) -> bool:
        """Whether it can be given by position."""
        return self.kind in (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)

    @property
    def by_name(self) -> bool:
        """Whether it can be given by name."""
        return self.kind in (Kind.KEYWORD_ONLY, Kind.POSITIONAL_OR_KEYWORD)


def parameters(task: str, function: Callable[..., Any]) -> tuple[bool, list[Parameter]]:
    """Whether the function takes a context first, and its other parameters in order.

    Raises:
        Unresolved: a text annotation cannot be evaluated now.
        ConfigurationError: a type that the codec cannot carry, or a context in the wrong place.
    """
    namespace = _namespace(function)
    takes_context = False
    found: list[Parameter] = []
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        hint = _resolve(parameter.annotation, namespace, f"parameter {parameter.name} of task {task}")
        if hint is TaskContext and index == 0 and parameter.kind in (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD):
            takes_context = True
            continue
        found.append(
            Parameter(
                name=parameter.name,
                kind=parameter.kind,
                required=parameter.default is parameter.empty
                and parameter.kind not in (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD),
                type=hint,
                decode=_decoder(task, parameter.name, hint),
                comparable=_comparable(hint),
            )
        )
    return takes_context, found


def untyped_parameters() -> list[Parameter]:
    """Those of a function that takes anything: what is known of a task whose code is elsewhere."""
    decode = msgspec.json.Decoder().decode
    return [
        Parameter("args", Kind.VAR_POSITIONAL, False, Any, decode),
        Parameter("kwargs", Kind.VAR_KEYWORD, False, Any, decode),
    ]


def return_decoder(task: str, function: Callable[..., Any]) -> Callable[[bytes], Any]:
    """Decodes what the function returns; untyped where its annotation is missing or no type of the codec.

    Raises:
        ConfigurationError: a text annotation that cannot be evaluated.
    """
    place = f"the return annotation of task {task}"
    try:
        hint = _resolve(inspect.signature(function).return_annotation, _namespace(function), place)
        usable = _foreign_type(hint) is None
    except Unresolved as error:
        raise unresolvable(error) from error
    except TypeError:
        usable = False
    return msgspec.json.Decoder(hint).decode if usable else msgspec.json.Decoder().decode


def unresolvable(error: Unresolved) -> ConfigurationError:
    """What is said when an annotation is needed and still cannot be evaluated."""
    return ConfigurationError(
        str(error),
        hint="import what it names at the top of the module, not inside a function or under 'if TYPE_CHECKING'",
    )


def _namespace(function: Callable[..., Any]) -> dict[str, Any]:
    innermost = inspect.unwrap(function)
    innermost = getattr(innermost, "func", innermost)  # of a functools.partial
    # Linters move the import of TaskContext under "if TYPE_CHECKING"; it is recognised all the same.
    return {"TaskContext": TaskContext, **getattr(innermost, "__globals__", {})}


def _resolve(annotation: Any, namespace: dict[str, Any], place: str) -> Any:
    if annotation is inspect.Parameter.empty or annotation is object:
        return Any
    if isinstance(annotation, str) and annotation.rpartition(".")[2].strip() == "TaskContext":
        return TaskContext
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, globalns=namespace, localns={}, include_extras=True)["it"]
    except NameError as error:
        raise Unresolved(f"{place} is annotated {annotation!r}, and {error}") from error
    except Exception as error:  # evaluating the text of a user can raise anything
        raise ConfigurationError(
            f"{place} has an annotation that cannot be evaluated: {annotation!r}: {error}"
        ) from error


def _decoder(task: str, name: str, hint: Any) -> Callable[[bytes | msgspec.Raw], Any]:
    try:
        foreign = _foreign_type(hint)
        problem = "" if foreign is None else f"{_shown(foreign)} is no type that JSON can carry"
        decode = msgspec.json.Decoder(hint).decode
    except NameError as error:
        raise Unresolved(f"parameter {name} of task {task} is annotated {_shown(hint)}, and {error}") from error
    except (TypeError, ValueError) as error:
        problem, foreign = str(error), None
    if foreign is TaskContext:
        raise ConfigurationError(
            f"parameter {name} of task {task} is a TaskContext in the wrong place",
            hint="make it the first parameter, annotated TaskContext and nothing else: def task(ctx: TaskContext, ...)",
        )
    if problem:
        raise ConfigurationError(
            f"parameter {name} of task {task} is annotated {_shown(hint)}: {problem}", hint=_SUPPORTED
        )
    return decode


def _foreign_type(hint: Any) -> Any:
    """The first type inside ``hint`` that msgspec knows nothing of; None when it knows all.

    Raises:
        TypeError: a combination of types that msgspec cannot tell apart.
    """
    # Imported on the first definition of a task: `import stem_core` has a budget.
    from msgspec import inspect as msgspec_inspect

    for node in _nodes(msgspec_inspect.type_info(hint), set()):
        if isinstance(node, msgspec_inspect.CustomType) and node.cls is not object:
            return node.cls
    return None


def _comparable(hint: Any) -> bool:
    from msgspec import inspect as msgspec_inspect

    own = (msgspec_inspect.DataclassType, msgspec_inspect.StructType, msgspec_inspect.CustomType)
    return not any(isinstance(node, own) for node in _nodes(msgspec_inspect.type_info(hint), set()))


def _nodes(node: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(node, tuple):
        for part in node:
            yield from _nodes(part, seen)
    elif hasattr(node, "__struct_fields__") and id(node) not in seen:
        seen.add(id(node))
        yield node
        for field in node.__struct_fields__:
            yield from _nodes(getattr(node, field), seen)


def _shown(hint: Any) -> str:
    return (
        hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
    )
