"""Settings and plugins put together: everything that is decided before anything is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.contracts import (
    BackendProvider,
    Broker,
    BrokerCapabilities,
    BrokerProvider,
    Middleware,
    ResultBackend,
    StateProvider,
    StateStore,
    StoreContext,
    StrategyProvider,
)
from stem_core.errors import BrokenPlugin, ConfigurationError, InvalidSetting
from stem_core.model import StoreUrl
from stem_core.plugins.addresses import Urls, resolve_urls
from stem_core.plugins.calling import ForEach
from stem_core.plugins.gathering import Gathered, gather
from stem_core.plugins.loading import one_line
from stem_core.plugins.plugin import Plugin
from stem_core.plugins.registry import Claim, Registry
from stem_core.plugins.report import PluginRow, plugin_rows, plugins_line
from stem_core.plugins.selection import Selection
from stem_core.plugins.usable import require_usable
from stem_core.settings import Settings, Sources, read_sources, resolve_sources
from stem_core.signals import Signals

if TYPE_CHECKING:
    from stem_core.client.app import Stem


class Runtime:
    """What an app runs on: its settings, its plugins and what they provide. Made by :func:`assemble`."""

    def __init__(
        self,
        gathered: Gathered,
        settings: Settings,
        signals: Signals,
        middleware: tuple[Middleware, ...],
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.signals = signals
        #: Of the plugins, outermost first.
        self.middleware = middleware
        self.clock = clock
        self.selection: Selection = gathered.selection
        #: Every plugin that is installed or was selected, whatever its state.
        self.plugins: tuple[Plugin, ...] = gathered.plugins
        self.brokers: Registry[BrokerProvider] = gathered.brokers
        self.backends: Registry[BackendProvider] = gathered.backends
        self.states: Registry[StateProvider] = gathered.states
        self.strategies: Registry[StrategyProvider] = gathered.strategies
        self._gathered = gathered
        self._urls: Urls | None = None
        self._confined = False

    def plugin_rows(self) -> list[PluginRow]:
        """The lines of ``stem plugins``."""
        return plugin_rows(self._gathered)

    @property
    def plugins_line(self) -> str:
        """The line of the banner: ``plugins: redis (not selected: signing, sqlite)``."""
        return plugins_line(self.plugins)

    def configured(self, app: Stem) -> None:
        """Show the plugins the app that this runtime belongs to: ``stem_configured``."""
        self._gathered.hooks.notify("stem_configured", app=app)

    def require_usable(self) -> None:
        """To be called before tasks are sent or run.

        Raises:
            BrokenPlugin: a selected plugin cannot be used; names each, why, and how to go on without.
        """
        require_usable(self.plugins, self.selection)

    def confine(self) -> None:
        """This is a child process of a worker: stores that only one process can see are another's, and refused."""
        self._confined = True

    def urls(self) -> Urls:
        """Where things are stored: what was configured, else what the one plugin with a default proposes.

        Backend unset: the broker's own URL where its scheme has a backend; ``none``: no results. State unset: the
        backend's URL, then the broker's, where the scheme has a state store. The first answer is kept.

        Raises:
            ConfigurationError: no broker is configured and no plugin has a default, or nothing keeps state.
            UnknownScheme: nobody provides a scheme.
            PluginConflict: several plugins provide one, or several have a default.
            BrokenPlugin: a plugin fails to say its default.
        """
        if self._urls is None:
            self._urls = resolve_urls(self._gathered, self.settings)
        return self._urls

    @property
    def capabilities(self) -> BrokerCapabilities:
        """The qualities of the broker in use. Raises as :meth:`urls`."""
        return self.brokers.get(self.urls().broker.scheme).capabilities

    def open_broker(self) -> AbstractAsyncContextManager[Broker]:
        """Enter it to have the broker on the running loop. May be called several times.

        Raises, when called or entered:
            ConfigurationError, PluginError: as :meth:`urls`; BrokenPlugin also where a driver is missing.
            StoreError: the store cannot be opened.
        """
        url = self.urls().broker
        claim = self.brokers.claim(url.scheme)
        if self._confined and not claim.provider.capabilities.shared:
            raise ConfigurationError(
                f"the broker {url} belongs to the worker's own process; this is a child of it",
                hint="use ctx.enqueue, which the worker publishes, or a broker that processes share",
            )
        return _entered(claim.provider.open, self._context(url, claim), claim.plugin)

    def open_backend(self) -> AbstractAsyncContextManager[ResultBackend]:
        """As :meth:`open_broker`, for the result backend.

        Raises:
            ConfigurationError: also when results are not stored.
        """
        url = self.urls().backend
        if url is None:
            raise ConfigurationError(
                "results are not stored", hint="set STEM_RESULT_BACKEND_URL, or write result_backend_url into stem.toml"
            )
        claim = self.backends.claim(url.scheme)
        return _entered(claim.provider.open, self._context(url, claim), claim.plugin)

    def open_state(self) -> AbstractAsyncContextManager[StateStore]:
        """As :meth:`open_broker`, for the state store."""
        url = self.urls().state
        claim = self.states.claim(url.scheme)
        return _entered(claim.provider.open, self._context(url, claim), claim.plugin)

    def _context(self, url: StoreUrl, claim: Claim[Any]) -> StoreContext:
        sections = claim.plugin.sections
        return StoreContext(
            url=url,
            namespace=self.settings.app.namespace,
            settings=self.settings.section(sections[0].name) if sections else None,
            dedupe_window=self.settings.app.dedupe_window,
            clock=self.clock,
            directory=str(self.settings.directory),
        )


@asynccontextmanager
async def _entered(opener: Any, context: StoreContext, plugin: Plugin) -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:
        try:
            opened = await stack.enter_async_context(opener(context))
        except ImportError as error:
            # Drivers are imported here and not with the plugin, so this is where one is found missing.
            raise BrokenPlugin(
                f"the plugin {plugin} cannot open {context.url}: {one_line(error)}",
                plugin=plugin.name,
                hint=f"install what {plugin.distribution or plugin.target} needs, or use another address",
            ) from error
        yield opened


def assemble(
    code: Mapping[str, Any] | None = None,
    code_origin: str = "",
    *,
    command_line: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    selection: Sequence[str] | None = None,
    directory: Path | None = None,
    signals: Signals | None = None,
    clock: Clock = SYSTEM_CLOCK,
    sources: Sources | None = None,
) -> Runtime:
    """Read the settings, load the selected plugins, and let them connect. Opens nothing.

    A broken plugin does not fail this: see :meth:`Runtime.require_usable`.

    Args:
        code: Settings given in code, by dotted key.
        code_origin: Where they stand, such as ``tasks.py:5``.
        command_line: Settings given there, by dotted key.
        environ: Instead of ``os.environ``.
        selection: What ``-p`` said, each a name, ``no:NAME`` or a module; empty or None when it was not given.
            ``[""]`` selects the built-ins only.
        directory: Where the search for a settings file begins; default the current folder.
        signals: The app's bus, on which it may have connected handlers already.
        clock: What stores are given as the time.
        sources: Instead of environment and file, neither of which is read then.

    Raises:
        ConfigurationError: a setting or the selection cannot be used.
    """
    sources = _sources(
        selection,
        command_line=command_line,
        code=code,
        code_origin=code_origin,
        environ=environ,
        directory=directory,
        given=sources,
    )
    gathered = gather(sources)
    settings = resolve_sources(sources, gathered.sections, missing_sections=gathered.missing_sections())
    signals = Signals() if signals is None else signals
    _configure(signals, settings)
    view = ForEach(make=lambda plugin: signals.owned_by(f"plugin {plugin}"))
    gathered.hooks.notify("stem_connect_signals", signals=view, settings=settings)
    middleware = [
        layer
        for _, layers in gathered.hooks.collect("stem_register_middleware", Middleware, settings=settings)
        for layer in layers
    ]
    return Runtime(gathered, settings, signals, tuple(middleware), clock)


def survey(
    code: Mapping[str, Any] | None = None,
    code_origin: str = "",
    *,
    command_line: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    selection: Sequence[str] | None = None,
    directory: Path | None = None,
) -> list[PluginRow]:
    """The lines of ``stem plugins``, even where settings or plugins are such that nothing could run.

    Arguments as for :func:`assemble`.

    Raises:
        InvalidSetting: the selection itself, or the file that it may stand in, cannot be read.
    """
    sources = _sources(
        selection,
        command_line=command_line,
        code=code,
        code_origin=code_origin,
        environ=environ,
        directory=directory,
    )
    return plugin_rows(gather(sources))


def _sources(
    selection: Sequence[str] | None,
    *,
    command_line: Mapping[str, Any] | None,
    given: Sources | None = None,
    **read: Any,
) -> Sources:
    said = dict(command_line or {})
    if selection:
        # One text, as in the environment: `-p a,b` is `-p a -p b`, and `-p ''` is an empty list.
        said["plugins"] = ",".join(selection)
    if given is not None:
        return given.overlay(said, read["code"] or {}, read["code_origin"])
    return read_sources(command_line=said, **read)


def _configure(signals: Signals, settings: Settings) -> None:
    try:
        signals.configure(settings.app.signals_enabled, settings.app.signals_disabled)
    except InvalidSetting as error:
        origin = str(settings.origin("signals_disabled"))
        raise InvalidSetting(f"{origin}: {error.message}", key=error.key, origin=origin, hint=error.hint) from None
