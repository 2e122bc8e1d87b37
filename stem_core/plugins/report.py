"""What ``stem plugins`` and the worker's banner show."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.model._value import value
from stem_core.plugins.gathering import Gathered
from stem_core.plugins.plugin import Plugin

_OTHER_HOOKS = {
    "stem_connect_signals": "signal handlers",
    "stem_register_middleware": "middleware",
    "stem_default_urls": "default URLs",
}


@value
class PluginRow:
    """One line of ``stem plugins``."""

    name: str
    #: Empty for a module that belongs to no installed plugin.
    distribution: str
    version: str
    #: ``loaded``, ``skipped``, ``broken`` or ``duplicate``.
    state: str
    #: Such as ``broker redis://``, ``settings [redis]``, ``middleware``; empty unless it is loaded.
    provides: tuple[str, ...]
    #: Why it is in this state; empty for a loaded one.
    why: str


def plugin_rows(gathered: Gathered) -> list[PluginRow]:
    """Every plugin that is installed or was selected: the built-ins first, then by name."""
    return [
        PluginRow(
            name=plugin.name,
            distribution=plugin.distribution or "",
            version=plugin.version or "",
            state=plugin.state,
            provides=_provides(gathered, plugin) if plugin.loaded else (),
            why=plugin.why,
        )
        for plugin in gathered.plugins
    ]


def _provides(gathered: Gathered, plugin: Plugin) -> tuple[str, ...]:
    found = [
        f"{registry.kind} {claim.key}://"
        for registry in (gathered.brokers, gathered.backends, gathered.states)
        for claim in registry.claims
        if claim.plugin is plugin
    ]
    found += [f"strategy {claim.key}" for claim in gathered.strategies.claims if claim.plugin is plugin]
    found += [f"settings [{section.name}]" for section in plugin.sections]
    found += [label for hook, label in _OTHER_HOOKS.items() if hook in plugin.hooks]
    return tuple(found)


def plugins_line(plugins: Sequence[Plugin]) -> str:
    """The line of the banner: ``plugins: redis (not selected: signing, sqlite)``. The built-ins go without saying."""
    groups = {
        "not selected": [plugin.name for plugin in plugins if plugin.state == "skipped"],
        "broken": [plugin.name for plugin in plugins if plugin.unusable],
    }
    loaded = ", ".join(plugin.name for plugin in plugins if plugin.loaded and not plugin.builtin)
    notes = "; ".join(f"{label}: {', '.join(dict.fromkeys(names))}" for label, names in groups.items() if names)
    return f"plugins: {loaded or 'built-ins only'}" + (f" ({notes})" if notes else "")
