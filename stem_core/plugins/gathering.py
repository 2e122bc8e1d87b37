"""From what is installed and selected to loaded plugins with their declarations; no setting but ``plugins`` is read."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import attrs

from stem_core.contracts import BackendProvider, BrokerProvider, StateProvider, StrategyProvider
from stem_core.errors import InvalidName, InvalidSetting
from stem_core.model import check_name
from stem_core.plugins.calling import Hooks
from stem_core.plugins.discovery import Candidate, discover
from stem_core.plugins.known import BUILTIN, FIRST_PARTY, install_hint
from stem_core.plugins.loading import load
from stem_core.plugins.plugin import Plugin
from stem_core.plugins.registry import Claim, Registry
from stem_core.plugins.selection import Selection
from stem_core.settings import SettingsSection, Sources, peek

logger = logging.getLogger("stem_core.plugins")

S = TypeVar("S", BrokerProvider, BackendProvider, StateProvider)

#: Tables and variables of the core that no plugin may take.
_RESERVED_SECTIONS = frozenset({"", "plugins", "test", "worker"})
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
#: A strategy of this name would be hidden by the choice that the worker makes itself.
_RESERVED_STRATEGY = "auto"


@attrs.define(eq=False, kw_only=True)
class Gathered:
    """All plugins, and what the loaded ones declared."""

    selection: Selection
    #: The built-ins first, then by name.
    plugins: tuple[Plugin, ...]
    hooks: Hooks
    brokers: Registry[BrokerProvider]
    backends: Registry[BackendProvider]
    states: Registry[StateProvider]
    strategies: Registry[StrategyProvider]

    @property
    def sections(self) -> tuple[SettingsSection, ...]:
        """The settings sections of all loaded plugins."""
        return tuple(section for plugin in self.plugins if plugin.loaded for section in plugin.sections)

    def missing_sections(self) -> dict[str, str]:
        """Sections that nobody registered though a plugin could, with the reason."""
        present = {section.name for section in self.sections}
        reasons = {
            name: f"the plugin {name!r} is not installed ({install_hint(name)})"
            for name in FIRST_PARTY
            if all(plugin.name != name for plugin in self.plugins)
        }
        for plugin in self.plugins:
            if plugin.loaded:
                continue
            # Nothing of it was imported, so its section is taken to have its name.
            for name in (plugin.name.replace("-", "_"), *(section.name for section in plugin.sections)):
                reasons[name] = self._reason(plugin)
        return {name: reason for name, reason in reasons.items() if name not in present}

    def _reason(self, plugin: Plugin) -> str:
        if plugin.state == "skipped":
            return f"the plugin {plugin} is not selected ({self.selection})"
        # What is broken is reported as that, before anything runs; only unsigned messages may never happen.
        return f"the plugin {plugin} is {plugin.state}: {plugin.why}" if plugin.name == "signing" else ""


def gather(sources: Sources) -> Gathered:
    """Discover, select, load and ask for declarations.

    Raises:
        InvalidSetting: the selection cannot be read, or names a plugin that is not installed.
    """
    selection = Selection.parse(*peek(sources, "plugins"))
    plugins = _select(discover(), selection)
    for plugin in plugins:
        if plugin.loaded:
            load(plugin)
    hooks = Hooks(plugins)
    _register_sections(hooks)
    brokers = list(_by_scheme(hooks, "stem_register_brokers", BrokerProvider))
    backends = list(_by_scheme(hooks, "stem_register_result_backends", BackendProvider))
    states = list(_by_scheme(hooks, "stem_register_state_stores", StateProvider))
    strategies = list(_by_name(hooks))
    return Gathered(
        selection=selection,
        plugins=plugins,
        hooks=hooks,
        brokers=Registry("broker", brokers, plugins, selection),
        backends=Registry("result backend", backends, plugins, selection),
        states=Registry("state store", states, plugins, selection),
        strategies=Registry("concurrency strategy", strategies, plugins, selection, schemes=False),
    )


def _select(candidates: Sequence[Candidate], selection: Selection) -> tuple[Plugin, ...]:
    installed = {candidate.name for candidate in candidates}
    modules = [name for name in selection.modules if name not in installed]
    for name in selection.names:
        if name in installed or name in modules:
            continue
        if selection.mode == "only":
            raise _not_installed(name, installed, selection)
        logger.warning("%s: no plugin %r is installed, so there is none to leave out", selection, name)
    plugins = [Plugin.of(candidate) for candidate in candidates]
    for plugin in plugins:
        if not selection.takes(plugin.name):
            plugin.state = "skipped"
            plugin.why = f"not selected ({selection})"
        elif plugin.name == BUILTIN and not plugin.builtin:
            plugin.fail(f"the name {BUILTIN!r} belongs to stem-core")
    _mark_duplicates(plugins)
    plugins += [Plugin(name=name, target=name, distribution=None, version=None) for name in modules]
    return tuple(plugins)


def _mark_duplicates(plugins: Iterable[Plugin]) -> None:
    by_name: dict[str, list[Plugin]] = {}
    for plugin in plugins:
        if plugin.state != "skipped" and plugin.name != BUILTIN:
            by_name.setdefault(plugin.name, []).append(plugin)
    for name, twins in by_name.items():
        if len(twins) == 1:
            continue
        owners = " and ".join(f"{twin.distribution} {twin.version}" for twin in twins)
        for twin in twins:
            twin.state, twin.why = "duplicate", f"{owners} have a plugin named {name!r}"


def _not_installed(name: str, installed: set[str], selection: Selection) -> InvalidSetting:
    close = get_close_matches(name, installed, n=1)
    # `-p stem-redis`, as the distribution is called, means `-p redis`.
    plain = name.removeprefix("stem-").removeprefix("stem_")
    if plain != name and plain in installed:
        close = [plain]
    if name in FIRST_PARTY:
        hint = install_hint(name)
    elif close:
        hint = f"did you mean {close[0]!r}?"
    else:
        hint = f"installed are {', '.join(sorted(installed))}; a module that is not installed needs a dot in its name"
    return InvalidSetting(
        f"{selection.origin}: plugins = {','.join(selection.names)!r}: the plugin {name!r} is not installed",
        key="plugins",
        origin=str(selection.origin),
        hint=hint,
    )


def _register_sections(hooks: Hooks) -> None:
    owners: dict[str, list[Plugin]] = {}
    for plugin, sections in hooks.collect("stem_register_settings", SettingsSection):
        plugin.sections = tuple(sections)
        for name, number in Counter(section.name for section in sections).items():
            owners.setdefault(name, []).append(plugin)
            if name in _RESERVED_SECTIONS:
                plugin.fail(f"stem_register_settings() takes the section [{name}], which is the core's own")
            elif number > 1:
                plugin.fail(f"stem_register_settings() returned the section [{name}] twice")
    for name, plugins in owners.items():
        for plugin in plugins if len(plugins) > 1 else ():
            others = " and ".join(str(other) for other in plugins if other is not plugin)
            plugin.fail(f"its settings section [{name}] is that of {others} too")


def _by_scheme(hooks: Hooks, hook: str, kind: type[S]) -> Iterator[Claim[S]]:
    for plugin, providers in hooks.collect(hook, kind):
        claims = [
            Claim(key=scheme, provider=provider, plugin=plugin)
            for provider in providers
            for scheme in _schemes(plugin, hook, provider.schemes)
        ]
        yield from _checked(plugin, hook, claims)


def _by_name(hooks: Hooks) -> Iterator[Claim[StrategyProvider]]:
    hook = "stem_register_concurrency_strategies"
    for plugin, providers in hooks.collect(hook, StrategyProvider):
        claims = []
        for provider in providers:
            try:
                check_name("strategy", provider.name)
            except InvalidName as error:
                plugin.fail(f"{hook}(): {error.message}")
            if provider.name == _RESERVED_STRATEGY:
                plugin.fail(f"{hook}(): the name {_RESERVED_STRATEGY!r} is the core's own")
            claims.append(Claim(key=provider.name, provider=provider, plugin=plugin))
        yield from _checked(plugin, hook, claims)


def _schemes(plugin: Plugin, hook: str, schemes: Any) -> Sequence[str]:
    # ("redis") without a comma is the usual slip, and would claim r, e, d, i and s.
    if not isinstance(schemes, tuple) or not schemes:
        plugin.fail(f"{hook}(): schemes={schemes!r}; write a tuple of schemes, such as ('redis', 'rediss')")
        return ()
    for scheme in schemes:
        if not isinstance(scheme, str) or not _SCHEME.fullmatch(scheme):
            plugin.fail(f"{hook}(): {scheme!r} is no URL scheme; write it in lower case and without '://'")
    return schemes


def _checked(plugin: Plugin, hook: str, claims: list[Claim[Any]]) -> list[Claim[Any]]:
    for key, number in Counter(claim.key for claim in claims).items():
        if number > 1:
            plugin.fail(f"{hook}() claims {key!r} twice")
    for claim in claims:
        if not callable(claim.provider.open):
            plugin.fail(f"{hook}(): open={claim.provider.open!r} for {claim.key!r} cannot be called")
    return claims
