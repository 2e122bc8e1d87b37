"""Each hook of the specification, implemented by a made-up plugin."""

import importlib

import attrs
import pytest

from stem_core.contracts import Middleware
from stem_core.errors import BrokenPlugin, ConfigurationError, InvalidSetting
from stem_core.plugins import hookspecs
from stem_core.plugins.loading import HOOKS
from stem_core.signals import Signals, WorkerInitEvent
from stem_core.testing.clock import FakeClock
from support.distributions import CAPABILITIES

#: A plugin that implements every hook there is.
EVERYTHING = f"""
from stem_core.signals import Signals

@attrs.frozen(kw_only=True)
class BellSettings:
    loudness: int = setting(3, parse=parsers.integer(1, 9), help="How loud.")

@hookimpl
def stem_register_settings():
    return [SettingsSection(name="bells", schema=BellSettings)]

@asynccontextmanager
async def opened(context):
    yield context

@hookimpl
def stem_register_brokers():
    return [BrokerProvider(schemes=("ring",), open=opened, capabilities={CAPABILITIES})]

@hookimpl
def stem_register_result_backends():
    return (BackendProvider(schemes=("ring",), open=opened),)

@hookimpl
def stem_register_state_stores():
    yield StateProvider(schemes=("ring",), open=opened)

@hookimpl
def stem_register_concurrency_strategies():
    return [StrategyProvider(name="belfry", open=print, runs_coroutines=True, runs_functions=False)]

heard = []

@hookimpl
def stem_connect_signals(signals, settings):
    @signals.worker_init.connect(worker="w*")
    def rang(event):
        heard.append((event.worker, settings.section("bells").loudness))

class Loud(Middleware):
    def __init__(self, loudness):
        self.loudness = loudness

@hookimpl
def stem_register_middleware(settings):
    return [Loud(settings.section("bells").loudness)]

@hookimpl
def stem_default_urls(settings):
    return DefaultUrls(broker=f"ring://{{settings.app.namespace}}")

configured = []

@hookimpl
def stem_configured(app):
    configured.append(app)
"""


@pytest.fixture
def bells(site):
    site.add("bells", EVERYTHING)
    return lambda: importlib.import_module("stem_bells")


def test_the_plugin_below_implements_every_hook(bells, start):
    plugin = next(plugin for plugin in start().plugins if plugin.name == "bells")
    assert plugin.hooks == tuple(sorted(HOOKS))
    assert len(HOOKS) == 9


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented(hook):
    assert getattr(hookspecs, hook).__doc__


def test_the_report_names_all_that_it_provides(bells, start):
    assert attrs.asdict(start().plugin_rows()[1]) == {
        "name": "bells",
        "distribution": "stem-bells",
        "version": "1.0",
        "state": "loaded",
        "provides": (
            "broker ring://",
            "result backend ring://",
            "state store ring://",
            "strategy belfry",
            "settings [bells]",
            "signal handlers",
            "middleware",
            "default URLs",
        ),
        "why": "",
    }


def test_register_settings(bells, start, project):
    (project / "stem.toml").write_text("[bells]\nloudness = 7\n")
    runtime = start(environ={"STEM_BELLS_LOUDNESS": "9"})
    assert runtime.settings.section("bells").loudness == 9
    assert str(runtime.settings.origin("bells.loudness")) == "environment STEM_BELLS_LOUDNESS"
    assert start().settings.section("bells").loudness == 7
    with pytest.raises(InvalidSetting, match="STEM_BELLS_LOUDNES"):
        start(environ={"STEM_BELLS_LOUDNES": "9"})


async def test_register_brokers_backends_and_state_stores(bells, start, project):
    clock = FakeClock()
    runtime = start(
        code={"broker_url": "ring://b", "result_backend_url": "ring://r", "state_url": "ring://s", "namespace": "shop"},
        environ={"STEM_DEDUPE_WINDOW": "5m", "STEM_BELLS_LOUDNESS": "4"},
        clock=clock,
    )
    for opener, url in (
        (runtime.open_broker, "ring://b"),
        (runtime.open_backend, "ring://r"),
        (runtime.open_state, "ring://s"),
    ):
        async with opener() as context, opener() as second:
            assert context is not second
            assert context.url.raw == url
            assert context.namespace == "shop"
            assert context.settings.loudness == 4
            assert context.dedupe_window == 300.0
            assert context.clock is clock


def test_register_concurrency_strategies(bells, start):
    runtime = start()
    assert runtime.strategies.get("belfry").open is print
    assert runtime.strategies.keys == ("belfry", "event_loop", "processes", "threads")


async def test_connect_signals_by_a_view_that_knows_its_owner(bells, start):
    signals = Signals()
    runtime = start(signals=signals)
    assert runtime.signals is signals
    assert [listener.owner for listener in signals.worker_init.listeners] == ["plugin bells (stem-bells 1.0)"]
    await signals.worker_init.send(WorkerInitEvent(occurred_at=1.0, worker="w1"))
    await signals.worker_init.send(WorkerInitEvent(occurred_at=1.0, worker="v1"))
    assert bells().heard == [("w1", 3)]


def test_register_middleware(bells, start):
    (layer,) = start(environ={"STEM_BELLS_LOUDNESS": "8"}).middleware
    assert isinstance(layer, Middleware)
    assert layer.loudness == 8


def test_default_urls(bells, start):
    urls = start(environ={"STEM_NAMESPACE": "shop"}).urls()
    assert (urls.broker.raw, urls.default_used) == ("ring://shop", True)


def test_configured(bells, start):
    runtime = start()
    app = object()
    runtime.configured(app)
    assert bells().configured == [app]


def test_configured_that_raises_breaks_its_plugin(site, start):
    site.add("bells", "@hookimpl\ndef stem_configured(app):\n    app.ring()\n")
    runtime = start()
    runtime.configured(object())
    with pytest.raises(BrokenPlugin, match=r"stem_configured\(\) raised AttributeError: 'object' object has no"):
        runtime.require_usable()


def test_plugins_are_asked_in_order_of_their_names_and_may_step_forward(site, start):
    order = """
    class Named(Middleware):
        name = __name__

    @hookimpl{}
    def stem_register_middleware():
        return [Named()]
    """
    for name, options in (("bells", "(trylast=True)"), ("drums", ""), ("gongs", "(tryfirst=True)"), ("horns", "")):
        site.add(name, order.format(options))
    assert [layer.name for layer in start().middleware] == ["stem_gongs", "stem_drums", "stem_horns", "stem_bells"]


def test_an_error_of_settings_is_the_users_and_shown_as_it_is(site, start):
    site.add(
        "bells",
        "from stem_core.errors import ConfigurationError\n"
        "@hookimpl\ndef stem_register_middleware(settings):\n    raise ConfigurationError('too loud', hint='less')\n",
    )
    with pytest.raises(ConfigurationError) as caught:
        start()
    assert str(caught.value) == "too loud\n  hint: less"


def test_a_hook_may_return_none(site, start):
    source = "".join(f"@hookimpl\ndef {hook}({', '.join(arguments)}): ...\n" for hook, arguments in HOOKS.items())
    site.add("bells", source)
    runtime = start(code={"broker_url": "memory://"})
    runtime.configured(object())
    runtime.require_usable()
    assert runtime.urls().broker.raw == "memory://"


def test_specname_gives_a_hook_another_name(site, start):
    site.add(
        "bells",
        "@hookimpl(specname='stem_default_urls')\ndef urls():\n    return DefaultUrls(broker='memory://bells')\n",
    )
    assert start().urls().broker.raw == "memory://bells"
