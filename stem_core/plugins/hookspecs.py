"""Every hook of Stem. A plugin's module implements those it needs, marked with ``stem_core.hooks.hookimpl``.

Hooks are plain functions, called once at start-up, cheap, and import no driver: what they return acts later.
Each takes the arguments below by name, or fewer. Implementations of different plugins are called one by one, the
built-ins' first, then by name of the plugin; ``tryfirst`` and ``trylast`` move one, wrappers are refused.
Returning None is the same as an empty list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.contracts import (
        BackendProvider,
        BrokerProvider,
        DefaultUrls,
        Middleware,
        StateProvider,
        StrategyProvider,
    )
    from stem_core.settings import Settings, SettingsSection
    from stem_core.signals import Signals

hookspec = pluggy.HookspecMarker("stem")


# Declaring: first of all, before any setting is known.


@hookspec
def stem_register_settings() -> Iterable[SettingsSection] | None:
    """The sections of settings that the plugin owns. The first is what its openers get as ``context.settings``.
    Two plugins with a section of one name are both broken."""


@hookspec
def stem_register_brokers() -> Iterable[BrokerProvider] | None:
    """Brokers by URL scheme. A scheme that two plugins claim is refused when it is used."""


@hookspec
def stem_register_result_backends() -> Iterable[BackendProvider] | None:
    """Result backends by URL scheme. A scheme that two plugins claim is refused when it is used."""


@hookspec
def stem_register_state_stores() -> Iterable[StateProvider] | None:
    """State stores by URL scheme. A scheme that two plugins claim is refused when it is used."""


@hookspec
def stem_register_concurrency_strategies() -> Iterable[StrategyProvider] | None:
    """Concurrency strategies by name. A name that two plugins claim is refused when it is used."""


# Connecting: the settings are resolved, nothing is open yet. A ``ConfigurationError`` raised here is shown as it is.


@hookspec
def stem_connect_signals(signals: Signals, settings: Settings) -> None:
    """Connect handlers: ``signals.task_failed.connect(handler, task="mail.*")``. They are known to be the plugin's."""


@hookspec
def stem_register_middleware(settings: Settings) -> Iterable[Middleware] | None:
    """Middleware around publishing and running; it goes inside that of the application, in the order of plugins."""


@hookspec
def stem_default_urls(settings: Settings) -> DefaultUrls | None:
    """Where to store things when the user configured no broker. Asked only then; None to propose nothing.
    Two plugins that propose something are an error which names both."""


# Looking: everything is known.


@hookspec
def stem_configured(app: Stem) -> None:
    """The application with its runtime assembled. Look, do not add."""
