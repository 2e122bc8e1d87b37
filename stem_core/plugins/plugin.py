"""What is known of one plugin."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from stem_core.plugins.discovery import Candidate
from stem_core.plugins.known import BUILTIN, BUILTIN_MODULE
from stem_core.settings import SettingsSection

#: ``loaded``: in use. ``skipped``: installed, not selected, not imported. ``broken``: cannot be used.
#: ``duplicate``: several distributions have a plugin of this name, so none is used.
PluginState = Literal["loaded", "skipped", "broken", "duplicate"]


@attrs.define(eq=False, kw_only=True)
class Plugin:
    """One installed or selected plugin, and what became of it. ``str()`` names it with its distribution."""

    name: str
    #: ``package.module``, or ``package.module:object``.
    target: str
    #: None for a module that belongs to no installed plugin.
    distribution: str | None
    version: str | None
    state: PluginState = "loaded"
    #: Why it is in this state; empty for a loaded one.
    why: str = ""
    #: The module or object with the hook implementations; None unless it was imported.
    implementation: Any = attrs.field(default=None, repr=False)
    #: The hooks it implements, sorted.
    hooks: tuple[str, ...] = ()
    #: The settings sections it registered; the first is what its openers are given.
    sections: tuple[SettingsSection, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def of(cls, candidate: Candidate) -> Plugin:
        """A plugin as it was discovered."""
        plugin = cls(
            name=candidate.name,
            target=candidate.target,
            distribution=candidate.distribution,
            version=candidate.version,
        )
        if candidate.problem:
            plugin.fail(candidate.problem)
        return plugin

    @property
    def builtin(self) -> bool:
        """Whether it is the built-in plugin, which is always loaded."""
        return self.name == BUILTIN and self.target == BUILTIN_MODULE

    @property
    def loaded(self) -> bool:
        """Whether it is in use."""
        return self.state == "loaded"

    @property
    def unusable(self) -> bool:
        """Whether it was wanted and cannot be had."""
        return self.state in {"broken", "duplicate"}

    def fail(self, why: str) -> None:
        """It is broken, and this is the reason; the first one stays."""
        if self.state != "broken":
            self.state, self.why = "broken", why

    def __str__(self) -> str:
        if self.distribution is None:
            return self.name if self.builtin else f"{self.name} (module)"
        return f"{self.name} ({self.distribution} {self.version})"
