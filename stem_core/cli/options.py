"""The options that commands share, and how a command comes by them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_type_hints

import typer

from stem_core.model._value import value

if TYPE_CHECKING:
    from stem_core.bootstrap import CommandLine, Composition

_APP = typer.Option(
    "--app",
    "-A",
    metavar="MODULE:ATTRIBUTE",
    help="The app: a Stem, or a function without arguments that returns one. [env: STEM_APP]",
    show_default=False,
)
_BROKER = typer.Option("--broker", metavar="URL", help="Address of the broker. [env: STEM_BROKER_URL]")
_BACKEND = typer.Option(
    "--backend",
    metavar="URL",
    help="Address of the result backend; none stores no results. [env: STEM_RESULT_BACKEND_URL]",
)
_NAMESPACE = typer.Option(
    "--namespace", metavar="NAME", help="Prefix of everything that is stored. [env: STEM_NAMESPACE]"
)
_PLUGIN = typer.Option(
    "--plugin",
    "-p",
    metavar="NAME",
    help="Load only the plugins named, or all but those named no:NAME; may be repeated. [env: STEM_PLUGINS]",
)

Json = Annotated[bool, typer.Option("--json", help="Write one JSON array of objects.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class Group:
    """A value whose fields are options: to a :func:`command`, a parameter of such a type stands for all of them."""

    __slots__ = ()

    #: Those that ``--help`` shows behind all others, whatever the parameter's place.
    last: ClassVar[frozenset[str]] = frozenset()


@value
class Target(Group):
    """What every command works on: an app, and where its things are stored."""

    last: ClassVar[frozenset[str]] = frozenset({"broker", "backend", "namespace", "plugins"})

    app: Annotated[str | None, _APP] = None
    broker: Annotated[str | None, _BROKER] = None
    backend: Annotated[str | None, _BACKEND] = None
    namespace: Annotated[str | None, _NAMESPACE] = None
    plugins: Annotated[list[str] | None, _PLUGIN] = None

    @property
    def stores(self) -> dict[str, str | None]:
        """The settings among them, by dotted key; None where one was not given."""
        return {"broker_url": self.broker, "result_backend_url": self.backend, "namespace": self.namespace}

    def line(self, settings: Mapping[str, Any] | None = None) -> CommandLine:
        """All that was said on the command line, with more ``settings`` by dotted key."""
        from stem_core.bootstrap import CommandLine

        plugins = None if self.plugins is None else tuple(self.plugins)
        return CommandLine(app=self.app, settings={**self.stores, **(settings or {})}, plugins=plugins)

    def compose(self, *, app_needed: bool = False) -> Composition:
        """The app; warnings are told as messages."""
        from stem_core.bootstrap import compose
        from stem_core.cli.common import show_warnings

        show_warnings()
        return compose(self.line(), app_needed=app_needed)

    def shared(self, who: str = "a command") -> Composition:
        """As :meth:`compose`, for commands that look into the stores that workers and producers share.

        Raises:
            ConfigurationError: a store is private to one process, which is told as being of no use to ``who``.
        """
        from stem_core.bootstrap import require_shared

        composed = self.compose()
        require_shared(composed.app.runtime, who)
        return composed


def command(function: Callable[..., None], parameters: Iterable[Parameter] | None = None) -> Callable[..., None]:
    """The function as typer reads and calls it: a parameter that is a :class:`Group` becomes the fields of it.

    ``parameters`` are for a function that takes any by name, and so does not tell them in its signature.
    """
    if parameters is None:
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    own = list(parameters)
    groups: dict[str, type[Group]] = {one.name: one.annotation for one in own if _is_group(one.annotation)}
    fields = {name: _fields(group) for name, group in groups.items()}
    # By name, so that one without a default may follow one with it.
    shown = [field.replace(kind=Parameter.KEYWORD_ONLY) for one in own for field in fields.get(one.name, [one])]
    last = {name for group in groups.values() for name in group.last}
    shown.sort(key=lambda field: field.name in last)

    @functools.wraps(function)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields[name]})
        function(**given)

    called.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # typer asks inspect.signature
    called.__annotations__ = {one.name: one.annotation for one in shown}
    return called


def _is_group(annotation: object) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, Group)


def _fields(group: type[Group]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [one.replace(annotation=hints[one.name]) for one in inspect.signature(group).parameters.values()]
