"""What runs tasks refuses to start with a plugin that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.errors import BrokenPlugin
from stem_core.plugins.known import BUILTIN
from stem_core.plugins.plugin import Plugin
from stem_core.plugins.selection import Selection


def require_usable(plugins: Sequence[Plugin], selection: Selection) -> None:
    """Pass when every selected plugin can be used.

    Raises:
        BrokenPlugin: one cannot; names each of them, says why, and how to go on without.
    """
    # Of duplicates, which tell the same story, one is enough.
    unusable = list({plugin.name: plugin for plugin in plugins if plugin.unusable}.values())
    if not unusable:
        return
    if len(unusable) == 1:
        message = f"the plugin {_blame(unusable[0])}"
    else:
        message = f"{len(unusable)} plugins cannot be used:" + "".join(f"\n  {_blame(plugin)}" for plugin in unusable)
    raise BrokenPlugin(message, plugin=unusable[0].name, hint=_remedy(unusable, selection))


def _blame(plugin: Plugin) -> str:
    if plugin.state == "duplicate":
        return f"{plugin.name} is a duplicate: {plugin.why}"
    return f"{plugin} is broken: {plugin.why}"


def _remedy(unusable: Sequence[Plugin], selection: Selection) -> str:
    for plugin in unusable:
        if plugin.name == BUILTIN:
            return "reinstall stem-core" if plugin.builtin else f"uninstall {plugin.distribution}"
    it = "it" if len(unusable) == 1 else "them"
    repair = "uninstall one of the two" if unusable[0].state == "duplicate" else f"repair {it}"
    return f"{repair}, or go on without {it}: {selection.without(plugin.name for plugin in unusable)}"
