"""Which plugins to load: the nearest of ``-p``, ``STEM_PLUGINS``, code and ``[plugins]`` decides alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from stem_core.errors import InvalidSetting
from stem_core.model._value import value
from stem_core.plugins.known import BUILTIN
from stem_core.settings import Origin

_NOT = "no:"


@value
class Selection:
    """What was chosen, by whom. ``str()`` says it the way it was said: ``-p redis`` or ``STEM_PLUGINS=redis``."""

    #: ``all``: every installed plugin. ``only``: those named. ``without``: all but those named.
    mode: Literal["all", "only", "without"]
    #: Plugin names as given, without ``no:``; in ``only`` also modules that are not installed.
    names: tuple[str, ...] = ()
    origin: Origin

    @classmethod
    def parse(cls, items: Sequence[str] | None, origin: Origin) -> Selection:
        """From ``["redis", "shop.plugin"]`` or ``["no:redis"]``; None selects all, an empty list the built-ins only.

        Raises:
            InvalidSetting: both forms mixed, ``no:`` without a name, or the built-ins deselected.
        """
        if items is None:
            return cls(mode="all", origin=origin)
        given = tuple(dict.fromkeys(item.strip() for item in items))
        out = tuple(item.removeprefix(_NOT) for item in given if item.startswith(_NOT))
        chosen = tuple(item for item in given if not item.startswith(_NOT))
        if out and chosen:
            raise _unusable(
                given,
                origin,
                "names to load and names to leave out cannot be mixed",
                f"give only the plugins to load ({', '.join(chosen)}),"
                f" or only those to leave out ({', '.join(_NOT + name for name in out)})",
            )
        if "" in out or "" in chosen:
            raise _unusable(given, origin, "a name is missing", "give NAME, no:NAME or the name of a module")
        if BUILTIN in out:
            raise _unusable(given, origin, "the built-ins are always loaded", f"remove {_NOT}{BUILTIN}")
        if out:
            return cls(mode="without", names=out, origin=origin)
        return cls(mode="only", names=tuple(name for name in chosen if name != BUILTIN), origin=origin)

    def takes(self, name: str) -> bool:
        """Whether an installed plugin of this name is to be loaded."""
        return name == BUILTIN or self.mode == "all" or (name in self.names) is (self.mode == "only")

    @property
    def modules(self) -> tuple[str, ...]:
        """The chosen names that have a dot: modules, unless an installed plugin is called so."""
        return tuple(name for name in self.names if "." in name) if self.mode == "only" else ()

    def with_(self, name: str) -> str:
        """What to say to have this plugin too."""
        if self.mode == "only":
            return f"select it: {_options((*self.names, name))}"
        rest = tuple(other for other in self.names if other != name)
        return f"select it: {_options(rest, _NOT)}" if rest else f"take {_NOT}{name} out of {self}"

    def without(self, names: Iterable[str]) -> str:
        """What to say to have the same without these plugins: options for the command line, as a rule."""
        leave = tuple(dict.fromkeys(names))
        if self.mode == "only":
            rest = tuple(name for name in self.names if name not in leave)
            if rest:
                return _options(rest)
            # A module that is not installed would not be loaded anyway. For a plugin the opposite works wherever it
            # was selected, be it in a file that cannot be edited.
            modules = [name for name in leave if name in self.modules]
            return f"take {', '.join(modules)} out of {self}" if modules else _options(leave, _NOT)
        return _options((*self.names, *(name for name in leave if name not in self.names)), _NOT)

    def __str__(self) -> str:
        items = [(_NOT if self.mode == "without" else "") + name for name in self.names]
        if self.origin.kind == "command-line":
            return " ".join(f"-p {item}" for item in items) or "-p ''"
        if self.origin.kind == "environment":
            return f"{self.origin.detail}={','.join(items)}"
        return f"plugins {','.join(items) or '(none)'} in {self.origin}"


def _options(names: Iterable[str], prefix: str = "") -> str:
    return " ".join(f"-p {prefix}{name}" for name in names)


def _unusable(given: Sequence[str], origin: Origin, what: str, hint: str) -> InvalidSetting:
    return InvalidSetting(
        f"{origin}: plugins = {','.join(given)!r}: {what}", key="plugins", origin=str(origin), hint=hint
    )
