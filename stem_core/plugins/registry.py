"""Who provides what: each key with its providers and their owners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Generic, TypeVar

import attrs

from stem_core.errors import PluginConflict, UnknownScheme
from stem_core.plugins.known import first_party_for, install_hint
from stem_core.plugins.plugin import Plugin
from stem_core.plugins.selection import Selection

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Claim(Generic[T]):
    """A plugin says that it provides a key."""

    key: str
    provider: T
    plugin: Plugin


class Registry(Generic[T]):
    """What plugins provide of one kind, by URL scheme or by name.

    Args:
        kind: What it holds, for messages: ``broker``.
        claims: Several of one key are allowed, and refused when the key is used.
        plugins: All that are known, loaded or not: they explain a key that nobody provides.
        selection: What was selected.
        schemes: Whether keys are URL schemes rather than names.
    """

    def __init__(
        self,
        kind: str,
        claims: Iterable[Claim[T]],
        plugins: Sequence[Plugin],
        selection: Selection,
        *,
        schemes: bool = True,
    ) -> None:
        self.kind = kind
        self._claims = tuple(claims)
        self._plugins = plugins
        self._selection = selection
        self._schemes = schemes

    @property
    def claims(self) -> tuple[Claim[T], ...]:
        """All claims of loaded plugins, in the order of plugins."""
        return tuple(claim for claim in self._claims if claim.plugin.loaded)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are provided, sorted."""
        return tuple(sorted({claim.key for claim in self.claims}))

    def __contains__(self, key: object) -> bool:
        return any(claim.key == key for claim in self.claims)

    def get(self, key: str) -> T:
        """The provider of a scheme or name.

        Raises:
            UnknownScheme: nobody provides it: the plugin is not installed, not selected, or broken; says which.
            PluginConflict: several plugins do; names them, and how to choose.
        """
        return self.claim(key).provider

    def claim(self, key: str) -> Claim[T]:
        """As :meth:`get`, with the plugin that provides it."""
        found = [claim for claim in self.claims if claim.key == key]
        if not found:
            raise self._unknown(key)
        if len(found) > 1:
            raise self._conflict(key, [claim.plugin for claim in found])
        return found[0]

    def _show(self, key: str) -> str:
        return f"{key}://" if self._schemes else repr(key)

    def _conflict(self, key: str, plugins: list[Plugin]) -> PluginConflict:
        return conflict(f"provide a {self.kind} for {self._show(key)}", key, plugins, self._selection)

    def _unknown(self, key: str) -> UnknownScheme:
        what = f"no {self.kind} for {self._show(key)}"
        first_party = first_party_for(key) if self._schemes else ""
        plugin = self._suspect(key, first_party)
        if plugin is None and first_party:
            message, hint = f"{what}: the plugin {first_party!r} is not installed", install_hint(first_party)
        elif plugin is None:
            message, hint = f"{what}: no installed plugin provides it", self._known(key)
        elif plugin.state == "skipped":
            message = f"{what}: the plugin {plugin} is installed, but not selected by {self._selection}"
            hint = self._selection.with_(plugin.name)
        elif plugin.unusable:
            message = f"{what}: the plugin {plugin} is installed, but {plugin.state}: {plugin.why}"
            hint = (
                f"repair it, or use another {self.kind} and go on without it: {self._selection.without([plugin.name])}"
            )
        else:
            message, hint = f"{what}: the plugin {plugin} provides none", self._known(key)
        return UnknownScheme(message, key=key, hint=hint)

    def _suspect(self, key: str, first_party: str) -> Plugin | None:
        """The plugin that most likely would provide the key. A skipped one is not imported, so its name has to do."""
        claimed = {id(claim.plugin) for claim in self._claims if claim.key == key}
        named = [
            plugin for plugin in self._plugins if id(plugin) in claimed or plugin.name in {key, first_party or key}
        ]
        # One that would only have to be selected or repaired tells more than one that is loaded and has nothing.
        return next((plugin for plugin in named if not plugin.loaded), named[0] if named else None)

    def _known(self, key: str) -> str:
        known = self.keys
        close = get_close_matches(key, known, n=1)
        hint = f"did you mean {self._show(close[0])}?" if close else f"install the plugin for {self._show(key)}"
        if known:
            hint += f"{'' if close else ';'} there is a {self.kind} for {', '.join(map(self._show, known))}"
        for state, label in (("skipped", "not selected"), ("broken", "broken")):
            if names := [plugin.name for plugin in self._plugins if plugin.state == state]:
                hint += f"; {label}: {', '.join(names)}"
        return hint


def conflict(
    what: str, key: str, plugins: Sequence[Plugin], selection: Selection, *, else_: str = ""
) -> PluginConflict:
    """Several plugins do what only one may. The hint has a way for each to be the one that goes, and then ``else_``."""
    names = [str(plugin) for plugin in plugins]
    ways = " or ".join(selection.without([plugin.name]) for plugin in plugins if not plugin.builtin)
    two = len(plugins) == 2
    return PluginConflict(
        f"{'two' if two else len(plugins)} plugins {what}: {', '.join(names[:-1])} and {names[-1]}",
        key=key,
        plugins=tuple(plugin.name for plugin in plugins),
        hint=f"go on {'without one of them' if two else 'with only one of them; to leave one out'}: {ways}{else_}",
    )
