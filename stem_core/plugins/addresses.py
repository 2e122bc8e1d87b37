"""Where an app stores things: configured, proposed by a plugin, or following from the broker."""

from __future__ import annotations

from stem_core.contracts import DefaultUrls
from stem_core.errors import ConfigurationError, InvalidOption
from stem_core.model import StoreUrl
from stem_core.model._value import value
from stem_core.plugins.gathering import Gathered
from stem_core.plugins.known import install_hint
from stem_core.plugins.plugin import Plugin
from stem_core.plugins.registry import conflict
from stem_core.plugins.usable import require_usable
from stem_core.settings import Settings


@value
class Urls:
    """Where things are stored."""

    broker: StoreUrl
    #: None: results are not stored.
    backend: StoreUrl | None
    state: StoreUrl
    #: Whether nobody configured a broker, so that ``broker`` is what a plugin proposed.
    default_used: bool


def resolve_urls(gathered: Gathered, settings: Settings) -> Urls:
    """The addresses in use; see :meth:`~stem_core.plugins.runtime.Runtime.urls`."""
    app = settings.app
    proposed = DefaultUrls() if app.broker_url is not None else _defaults(gathered, settings)
    broker = StoreUrl.parse(app.broker_url or proposed.broker or "")
    gathered.brokers.claim(broker.scheme)
    backend = _backend(gathered, broker, app.result_backend_url or proposed.backend)
    state = _state(gathered, broker, backend, app.state_url or proposed.state)
    return Urls(broker=broker, backend=backend, state=state, default_used=app.broker_url is None)


def _defaults(gathered: Gathered, settings: Settings) -> DefaultUrls:
    found: list[tuple[Plugin, DefaultUrls]] = []
    for plugin, proposed in gathered.hooks.call("stem_default_urls", settings=settings):
        if proposed is None:
            continue
        if problem := _problem(proposed):
            plugin.fail(f"stem_default_urls() returned {problem}")
        else:
            found.append((plugin, proposed))
    require_usable(gathered.plugins, gathered.selection)
    if not found:
        raise ConfigurationError(
            "no broker is configured, and no loaded plugin has a default",
            hint="set STEM_BROKER_URL, give --broker, write broker_url into stem.toml,"
            f" or install the embedded one: {install_hint('sqlite')}",
        )
    if len(found) > 1:
        owners = [plugin for plugin, _ in found]
        raise conflict(
            "have a default URL", "stem_default_urls", owners, gathered.selection, else_=", or set STEM_BROKER_URL"
        )
    return found[0][1]


def _problem(proposed: object) -> str:
    if not isinstance(proposed, DefaultUrls):
        return f"a {type(proposed).__name__}, not a DefaultUrls"
    if proposed.broker is None:
        return "a DefaultUrls without a broker"
    try:
        for url in (proposed.broker, proposed.backend, proposed.state):
            if url is not None and url != "none":
                StoreUrl.parse(url)
    except InvalidOption as error:
        return f"an address that is none: {error.message}"
    return ""


def _backend(gathered: Gathered, broker: StoreUrl, given: str | None) -> StoreUrl | None:
    if given == "none":
        return None
    if given is None:
        return broker if broker.scheme in gathered.backends else None
    backend = StoreUrl.parse(given)
    gathered.backends.claim(backend.scheme)
    return backend


def _state(gathered: Gathered, broker: StoreUrl, backend: StoreUrl | None, given: str | None) -> StoreUrl:
    if given is not None:
        state = StoreUrl.parse(given)
        gathered.states.claim(state.scheme)
        return state
    urls = [url for url in (backend, broker) if url is not None]
    for url in urls:
        if url.scheme in gathered.states:
            return url
    tried = " or ".join(dict.fromkeys(f"{url.scheme}://" for url in urls))
    raise ConfigurationError(
        f"no state store is configured, and no plugin has one for {tried}",
        hint="set STEM_STATE_URL, or write state_url into stem.toml; there is a state store for "
        + ", ".join(f"{scheme}://" for scheme in gathered.states.keys),
    )
