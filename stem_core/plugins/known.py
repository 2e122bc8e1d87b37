"""What the core knows of plugins that may not be installed: only their names, to say how to get them."""

from __future__ import annotations

#: How a first-party plugin is installed. The only place that changes on the day of publication.
INSTALL_HINT = "pip install ./plugins/stem_{name} from a checkout"

#: The plugin that is always loaded, and its module.
BUILTIN = "builtin"
BUILTIN_MODULE = "stem_core.builtin.plugin"

#: First-party plugins and the URL schemes they answer to. Each owns the settings section of its own name.
FIRST_PARTY: dict[str, tuple[str, ...]] = {
    "postgres": ("postgresql", "postgres"),
    "redis": ("redis", "rediss", "redis+unix"),
    "signing": (),
    "sqlite": ("sqlite",),
}


def install_hint(name: str) -> str:
    """How to install the first-party plugin ``name``; empty for a plugin of somebody else."""
    return INSTALL_HINT.format(name=name) if name in FIRST_PARTY else ""


def first_party_for(scheme: str) -> str:
    """The first-party plugin that answers to a URL scheme; empty when there is none."""
    return next((name for name, schemes in FIRST_PARTY.items() if scheme in schemes), "")
