"""How the objects that commands write with ``--json`` are shown in ``docs/reference/json.md``."""

from __future__ import annotations

import inspect
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from stem_core.cli import shapes
from support.markdown import prose, table


def shown() -> str:
    """The page below its title."""
    commands: dict[type, list[str]] = {}
    for command, shape in shapes.WRITTEN.items():
        commands.setdefault(shape, []).append(command)
    parts = [
        """
With `--json` a command writes one array of objects to standard output: one object for each thing that it shows, none
where there is nothing to show. Messages and errors go to standard error as without it, and the exit codes are the same.
The text is ASCII.

The keys are stable: more may come, but none of these is renamed, left out or given another type. Each is always there,
with null where there is no value. Times are texts as ISO 8601 in UTC, such as `2026-03-01T09:30:00.000+00:00`.
""",
    ]
    titles = {shape: ", ".join(f"`stem {name}`" for name in names) for shape, names in commands.items()}
    titles |= {shape: f"The object `{shape.__name__.lower()}`" for shape in (shapes.Error, shapes.Progress)}
    for shape, title in titles.items():
        parts.append(f"\n## {title}\n\n{prose(inspect.getdoc(shape) or '')}\n\n{_keys(shape)}")
    return "".join(parts)


def _keys(shape: type) -> str:
    rows = []
    for key, hint in get_type_hints(shape, include_extras=True).items():
        kind, means = get_args(hint)
        rows.append([f"`{key}`", _json_type(kind), means])
    return table(["key", "type", "means"], rows)


def _json_type(kind: Any) -> str:
    """The type of a value in the words of JSON."""
    if is_typeddict(kind):
        return f"[object](#the-object-{kind.__name__.lower()})"
    if isinstance(kind, UnionType):
        return " or ".join(_json_type(one) for one in get_args(kind))
    if get_origin(kind) is list:
        return f"array of {_json_type(get_args(kind)[0])}s"
    if get_origin(kind) is dict:
        return f"object of {_json_type(get_args(kind)[1])}s"
    names = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null", Any: "any"}
    return names[kind]
