import pytest

from stem_core.contracts import Broker, ResultBackend, StateStore
from stem_core.errors import BrokenPlugin, ConfigurationError, InvalidSetting, PluginConflict, UnknownScheme
from stem_core.signals import Signals
from support.distributions import broker

DEFAULT = "@hookimpl\ndef stem_default_urls(settings):\n    return {}\n"
STORES = """
@asynccontextmanager
async def opened(context):
    yield context

@hookimpl
def stem_register_result_backends():
    return [BackendProvider(schemes=("keep",), open=opened)]

@hookimpl
def stem_register_state_stores():
    return [StateProvider(schemes=("keep", "note"), open=opened)]
"""


def places(runtime):
    urls = runtime.urls()
    return urls.broker.raw, urls.backend and urls.backend.raw, urls.state.raw


def test_no_broker_and_no_default(start):
    with pytest.raises(ConfigurationError) as caught:
        start().urls()
    assert str(caught.value) == (
        "no broker is configured, and no loaded plugin has a default\n"
        "  hint: set STEM_BROKER_URL, give --broker, write broker_url into stem.toml,"
        " or install the embedded one: pip install ./plugins/stem_sqlite from a checkout"
    )
    assert caught.value.exit_code == 2


def test_two_plugins_with_a_default_are_an_error_naming_both(site, start):
    site.add("bells", DEFAULT.format("DefaultUrls(broker='memory://a')"))
    site.add("gongs", DEFAULT.format("DefaultUrls(broker='memory://b')"), version="2.0")
    runtime = start()
    runtime.require_usable()
    with pytest.raises(PluginConflict) as caught:
        runtime.urls()
    assert str(caught.value) == (
        "two plugins have a default URL: bells (stem-bells 1.0) and gongs (stem-gongs 2.0)\n"
        "  hint: go on without one of them: -p no:bells or -p no:gongs, or set STEM_BROKER_URL"
    )
    assert places(start("no:bells"))[0] == "memory://b"
    assert places(start(code={"broker_url": "memory://c"}))[0] == "memory://c"


def test_a_default_is_asked_for_only_where_nothing_is_configured(site, start):
    site.add("bells", DEFAULT.format("1 / 0"))
    assert places(start(code={"broker_url": "memory://c"}))[0] == "memory://c"
    with pytest.raises(BrokenPlugin) as caught:
        start().urls()
    assert str(caught.value) == (
        "the plugin bells (stem-bells 1.0) is broken: stem_default_urls() raised ZeroDivisionError: division by zero\n"
        "  hint: repair it, or go on without it: -p no:bells"
    )


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ("'memory://'", "a str, not a DefaultUrls"),
        ("DefaultUrls(state='memory://')", "a DefaultUrls without a broker"),
        (
            "DefaultUrls(broker='memory://', backend='here')",
            "an address that is none: url='here' cannot be used",
        ),
    ],
)
def test_a_default_that_is_none(site, start, returned, why):
    site.add("bells", DEFAULT.format(returned))
    with pytest.raises(BrokenPlugin) as caught:
        start().urls()
    assert caught.value.message == (f"the plugin bells (stem-bells 1.0) is broken: stem_default_urls() returned {why}")


def test_a_default_may_name_all_three(site, start):
    site.add("keep", STORES + DEFAULT.format("DefaultUrls(broker='memory://', backend='none', state='note://n')"))
    runtime = start()
    assert places(runtime) == ("memory://", None, "note://n")
    assert places(start(environ={"STEM_RESULT_BACKEND_URL": "keep://x"})) == ("memory://", "keep://x", "note://n")
    assert runtime.urls() is runtime.urls()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ({}, ("memory://b", "memory://b", "memory://b")),
        ({"result_backend_url": "keep://r"}, ("memory://b", "keep://r", "keep://r")),
        ({"result_backend_url": "none"}, ("memory://b", None, "memory://b")),
        ({"state_url": "note://s"}, ("memory://b", "memory://b", "note://s")),
        ({"broker_url": "ring://b", "result_backend_url": "keep://r"}, ("ring://b", "keep://r", "keep://r")),
        ({"broker_url": "ring://b", "state_url": "note://s"}, ("ring://b", None, "note://s")),
    ],
)
def test_backend_and_state_follow_from_what_there_is(site, start, code, expected):
    site.add("bells", broker("ring"))
    site.add("keep", STORES)
    assert places(start(code={"broker_url": "memory://b", **code})) == expected


def test_nothing_that_keeps_state_is_an_error_and_never_memory(site, start):
    site.add("bells", broker("ring"))
    with pytest.raises(ConfigurationError) as caught:
        start(code={"broker_url": "ring://b"}).urls()
    assert str(caught.value) == (
        "no state store is configured, and no plugin has one for ring://\n"
        "  hint: set STEM_STATE_URL, or write state_url into stem.toml; there is a state store for memory://"
    )


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ({"broker_url": "redis://:pw@h"}, "no broker for redis://"),
        ({"broker_url": "memory://", "result_backend_url": "redis://:pw@h"}, "no result backend for redis://"),
        ({"broker_url": "memory://", "state_url": "redis://:pw@h"}, "no state store for redis://"),
    ],
)
def test_unknown_schemes_are_found_before_anything_is_opened(start, code, what):
    with pytest.raises(UnknownScheme) as caught:
        start(code=code).urls()
    assert caught.value.message == f"{what}: the plugin 'redis' is not installed"


async def test_the_builtin_stores_open(start):
    runtime = start(code={"broker_url": "memory://runtime"})
    async with runtime.open_broker() as opened, runtime.open_backend() as backend, runtime.open_state() as state:
        assert isinstance(opened, Broker)
        assert isinstance(backend, ResultBackend)
        assert isinstance(state, StateStore)
    assert not runtime.capabilities.shared


def test_results_that_are_not_stored_have_no_backend_to_open(start):
    runtime = start(code={"broker_url": "memory://", "result_backend_url": "none"})
    with pytest.raises(ConfigurationError) as caught:
        runtime.open_backend()
    assert str(caught.value) == (
        "results are not stored\n  hint: set STEM_RESULT_BACKEND_URL, or write result_backend_url into stem.toml"
    )


async def test_a_missing_driver_is_the_plugins_and_found_when_it_opens(site, start):
    source = """
    @asynccontextmanager
    async def open_broker(context):
        import bellslib
        yield

    @hookimpl
    def stem_register_brokers():
        return [BrokerProvider(schemes=("ring",), open=open_broker, capabilities=None)]
    """
    site.add("bells", source)
    runtime = start(code={"broker_url": "ring://u:secret@h", "state_url": "memory://"})
    runtime.require_usable()
    with pytest.raises(BrokenPlugin) as caught:
        async with runtime.open_broker():
            pytest.fail("opened")
    assert str(caught.value) == (
        "the plugin bells (stem-bells 1.0) cannot open ring://u:***@h: ModuleNotFoundError:"
        " No module named 'bellslib'\n  hint: install what stem-bells needs, or use another address"
    )


async def test_an_import_error_of_who_uses_the_store_is_his_own(start):
    runtime = start(code={"broker_url": "memory://"})
    with pytest.raises(ImportError, match="mine"):
        async with runtime.open_broker():
            raise ImportError("mine")


SIGNING = (
    " is set, but {}\n"
    "  hint: load the plugin, or remove the setting; to run unsigned on purpose set STEM_SIGNING_POLICY=off"
)


def refused(start, *selection, **options):
    with pytest.raises(InvalidSetting) as caught:
        start(*selection, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_signing_settings_without_a_signer(site, start, project):
    missing = "the plugin 'signing' is not installed (pip install ./plugins/stem_signing from a checkout)"
    assert refused(start, environ={"STEM_SIGNING_POLICY": "require"}) == (
        "environment STEM_SIGNING_POLICY: signing.policy" + SIGNING.format(missing)
    )
    assert refused(start, environ={"STEM_SIGNING_KEYS_FILE": "/run/k"}) == (
        "environment STEM_SIGNING_KEYS_FILE: signing.keys_file" + SIGNING.format(missing)
    )
    (project / "stem.toml").write_text('[signing]\npolicy = "require"\n')
    assert refused(start) == "file stem.toml [signing]: signing.policy" + SIGNING.format(missing)
    start(environ={"STEM_SIGNING_POLICY": "off"}).require_usable()


def test_signing_settings_with_a_signer_deselected_or_broken(site, start):
    environ = {"STEM_SIGNING_POLICY": "require"}
    site.add("signing", "import signlib\n")
    assert refused(start, "no:signing", environ=environ) == (
        "environment STEM_SIGNING_POLICY: signing.policy"
        + SIGNING.format("the plugin signing (stem-signing 1.0) is not selected (-p no:signing)")
    )
    assert refused(start, environ=environ) == (
        "environment STEM_SIGNING_POLICY: signing.policy"
        + SIGNING.format(
            "the plugin signing (stem-signing 1.0) is broken: stem_signing cannot be imported: ModuleNotFoundError:"
            " No module named 'signlib'"
        )
    )


def test_settings_of_a_plugin_that_is_absent_or_deselected(site, start, project):
    remedy = "\n  hint: load the plugin, or remove the setting"
    (project / "stem.toml").write_text('[redis]\nurl = "x"\n')
    assert refused(start) == (
        "file stem.toml [redis]: redis.url is set, but the plugin 'redis' is not installed"
        " (pip install ./plugins/stem_redis from a checkout)" + remedy
    )
    (project / "stem.toml").unlink()
    site.add("big-bells", broker("ring"))
    assert refused(start, "no:big-bells", environ={"STEM_BIG_BELLS_LOUDNESS": "3"}) == (
        "environment STEM_BIG_BELLS_LOUDNESS: big_bells.loudness is set, but the plugin big-bells"
        " (stem-big-bells 1.0) is not selected (-p no:big-bells)" + remedy
    )


def test_settings_of_a_broken_plugin_are_not_the_news(site, start):
    site.add("redis", "import redislib\n")
    runtime = start(environ={"STEM_REDIS_RETRIES": "3"})
    with pytest.raises(BrokenPlugin, match="redislib"):
        runtime.require_usable()


def test_signals_are_switched_by_settings(start):
    signals = Signals()
    signals.task_prerun.connect(print)
    signals.task_failed.connect(print)
    start(environ={"STEM_SIGNALS_DISABLED": "worker-heartbeat,task-prerun"}, signals=signals)
    assert not signals.task_prerun
    assert signals.task_failed
    start(environ={"STEM_SIGNALS_ENABLED": "no"}, signals=signals)
    assert not signals.task_failed
    assert refused(start, environ={"STEM_SIGNALS_DISABLED": "task-prerum"}) == (
        "environment STEM_SIGNALS_DISABLED: signals_disabled names 'task-prerum', which is no signal\n"
        "  hint: did you mean 'task-prerun'?"
    )


def test_the_line_of_the_banner(site, start):
    for name in ("redis", "signing", "sqlite"):
        site.add(name, broker(name))
    assert start("redis").plugins_line == "plugins: redis (not selected: signing, sqlite)"
    assert start().plugins_line == "plugins: redis, signing, sqlite"
    site.add("bells", "import bellslib\n")
    assert start("no:redis").plugins_line == "plugins: signing, sqlite (not selected: redis; broken: bells)"
