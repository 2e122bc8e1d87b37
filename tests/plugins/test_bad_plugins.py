import pytest

from stem_core.errors import BrokenPlugin, PluginConflict
from support.distributions import broker

HINT = "\n  hint: repair it, or go on without it: -p no:bells"
PROVIDER = "BrokerProvider(schemes={}, open=print, capabilities=None)"

#: Source of the plugin, and why it is broken.
BAD = {
    "import error": (
        "import bellslib\n",
        "stem_bells cannot be imported: ModuleNotFoundError: No module named 'bellslib'",
    ),
    "exits": ("raise SystemExit(3)\n", "stem_bells cannot be imported: SystemExit: 3"),
    "misspelt hook": (
        "@hookimpl\ndef stem_register_broker(): ...\n",
        "stem_register_broker() is no hook; did you mean stem_register_brokers()?",
    ),
    "no hook at all": (
        "@hookimpl\ndef ring(): ...\n",
        (
            "ring() is no hook; hooks are stem_configured, stem_connect_signals, stem_default_urls,"
            " stem_register_brokers, stem_register_concurrency_strategies, stem_register_middleware,"
            " stem_register_result_backends, stem_register_settings, stem_register_state_stores"
        ),
    ),
    "wrong arguments": (
        "@hookimpl\ndef stem_default_urls(config): ...\n",
        "stem_default_urls(config) has wrong arguments; the hook is stem_default_urls(settings)",
    ),
    "too many arguments": (
        "@hookimpl\ndef stem_register_brokers(settings): ...\n",
        "stem_register_brokers(settings) has wrong arguments; the hook is stem_register_brokers()",
    ),
    "an argument that would never be passed": (
        "@hookimpl\ndef stem_default_urls(settings=None): ...\n",
        "stem_default_urls(settings=None) has wrong arguments; the hook is stem_default_urls(settings)",
    ),
    "async hook": (
        "@hookimpl\nasync def stem_register_brokers(): ...\n",
        "stem_register_brokers() is async; hooks are plain functions, only what they return may be asynchronous",
    ),
    "returns a coroutine": (
        "async def later(): ...\n@hookimpl\ndef stem_register_brokers():\n    return later()\n",
        "stem_register_brokers() returned a coroutine; hooks are plain functions",
    ),
    "wrapper": (
        "@hookimpl(wrapper=True)\ndef stem_register_brokers():\n    return (yield)\n",
        "stem_register_brokers() is a hook wrapper; implementations are called one by one and wrap nothing",
    ),
    "no marker": (
        "def stem_register_brokers(): ...\n",
        "stem_register_brokers() is not marked with @hookimpl",
    ),
    "newer interface": (
        "requires_api = '1.7'\n",
        "it requires version 1.7 of the plugin interface; this Stem has 1.0",
    ),
    "other interface": (
        "requires_api = '2.0'\n",
        "it requires version 2.0 of the plugin interface; this Stem has 1.0",
    ),
    "no version": ("requires_api = 1\n", "requires_api is 1; write a version such as '1.0'"),
    "hook raises": (
        "@hookimpl\ndef stem_register_brokers():\n    raise OSError('no\\nbell')\n",
        "stem_register_brokers() raised OSError: no bell",
    ),
    "generator raises": (
        "@hookimpl\ndef stem_register_brokers():\n    yield 1/0\n",
        "stem_register_brokers() raised ZeroDivisionError: division by zero",
    ),
    "returns no list": (
        f"@hookimpl\ndef stem_register_brokers():\n    return {PROVIDER.format(('ring',))}\n",
        "stem_register_brokers() returned a BrokerProvider, not a list of BrokerProvider",
    ),
    "returns a list of something else": (
        "@hookimpl\ndef stem_register_result_backends():\n    return ['ring']\n",
        "stem_register_result_backends() returned a str in its list, not a BackendProvider",
    ),
    "one scheme without a comma": (
        f"@hookimpl\ndef stem_register_brokers():\n    return [{PROVIDER.format(repr('ring'))}]\n",
        "stem_register_brokers(): schemes='ring'; write a tuple of schemes, such as ('redis', 'rediss')",
    ),
    "scheme with slashes": (
        f"@hookimpl\ndef stem_register_brokers():\n    return [{PROVIDER.format(('ring://',))}]\n",
        "stem_register_brokers(): 'ring://' is no URL scheme; write it in lower case and without '://'",
    ),
    "one scheme twice": (
        f"@hookimpl\ndef stem_register_brokers():\n    return [{PROVIDER.format(('ring', 'ring'))}]\n",
        "stem_register_brokers() claims 'ring' twice",
    ),
    "an opener that cannot be called": (
        "@hookimpl\ndef stem_register_state_stores():\n    return [StateProvider(schemes=('ring',), open='ring')]\n",
        "stem_register_state_stores(): open='ring' for 'ring' cannot be called",
    ),
    "bad strategy name": (
        (
            "@hookimpl\ndef stem_register_concurrency_strategies():\n"
            "    return [StrategyProvider(name='a b', open=print, runs_coroutines=True, runs_functions=True)]\n"
        ),
        "stem_register_concurrency_strategies(): 'a b' is no strategy name",
    ),
    "strategy called auto": (
        (
            "@hookimpl\ndef stem_register_concurrency_strategies():\n"
            "    return [StrategyProvider(name='auto', open=print, runs_coroutines=True, runs_functions=True)]\n"
        ),
        "stem_register_concurrency_strategies(): the name 'auto' is the core's own",
    ),
    "no settings section": (
        "@hookimpl\ndef stem_register_settings():\n    return [SettingsSection(name='bells', schema=int)]\n",
        (
            "stem_register_settings() raised TypeError: the schema of the settings section 'bells' is no attrs class:"
            " <class 'int'>"
        ),
    ),
    "a section of the core": (
        (
            "@attrs.frozen\nclass S: ...\n"
            "@hookimpl\ndef stem_register_settings():\n    return [SettingsSection(name='worker', schema=S)]\n"
        ),
        "stem_register_settings() takes the section [worker], which is the core's own",
    ),
    "a section twice": (
        (
            "@attrs.frozen\nclass S: ...\n"
            "@hookimpl\ndef stem_register_settings():\n    return [SettingsSection(name='bells', schema=S)] * 2\n"
        ),
        "stem_register_settings() returned the section [bells] twice",
    ),
    "signal that is none": (
        "@hookimpl\ndef stem_connect_signals(signals):\n    signals.task_rang.connect(print)\n",
        "stem_connect_signals() raised AttributeError: 'Signals' object has no attribute 'task_rang'",
    ),
    "middleware that is none": (
        "@hookimpl\ndef stem_register_middleware():\n    return [print]\n",
        "stem_register_middleware() returned a builtin_function_or_method in its list, not a Middleware",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_plugin_breaks_itself_with_a_name_on_it(site, start, case):
    source, why = BAD[case]
    site.add("bells", source)
    site.add("gongs", broker("gong"))
    runtime = start()
    rows = {row.name: row for row in runtime.plugin_rows()}
    assert (rows["bells"].state, rows["bells"].why, rows["bells"].provides) == ("broken", why, ())
    assert rows["gongs"].state == rows["builtin"].state == "loaded"
    assert "gong" in runtime.brokers
    with pytest.raises(BrokenPlugin) as caught:
        runtime.require_usable()
    assert str(caught.value) == f"the plugin bells (stem-bells 1.0) is broken: {why}{HINT}"
    assert caught.value.exit_code == 3
    start("no:bells").require_usable()


def test_a_scheme_that_two_plugins_claim_is_refused_when_it_is_used(site, start):
    site.add("bells", broker("ring", "bell"))
    site.add("gongs", broker("ring", "gong"), version="2.0")
    runtime = start()
    runtime.require_usable()
    assert runtime.brokers.get("bell") is not None
    with pytest.raises(PluginConflict) as caught:
        runtime.brokers.get("ring")
    assert str(caught.value) == (
        "two plugins provide a broker for ring://: bells (stem-bells 1.0) and gongs (stem-gongs 2.0)\n"
        "  hint: go on without one of them: -p no:bells or -p no:gongs"
    )
    assert caught.value.plugins == ("bells", "gongs")
    assert caught.value.exit_code == 3
    assert start("no:bells").brokers.claim("ring").plugin.name == "gongs"


def test_conflicts_of_three_and_with_the_builtins(site, start):
    for name in ("bells", "gongs", "horns"):
        site.add(name, broker("ring"))
    with pytest.raises(PluginConflict) as caught:
        start().brokers.get("ring")
    assert str(caught.value) == (
        "3 plugins provide a broker for ring://: bells (stem-bells 1.0), gongs (stem-gongs 1.0) and"
        " horns (stem-horns 1.0)\n"
        "  hint: go on with only one of them; to leave one out: -p no:bells or -p no:gongs or -p no:horns"
    )
    site.add("more", broker("memory"))
    with pytest.raises(PluginConflict) as caught:
        start("bells", "more").brokers.get("memory")
    assert str(caught.value) == (
        "two plugins provide a broker for memory://: builtin (stem-core 0.1.0) and more (stem-more 1.0)\n"
        "  hint: go on without one of them: -p bells"
    )


def test_a_strategy_that_two_plugins_claim(site, start):
    site.add(
        "bells",
        "@hookimpl\ndef stem_register_concurrency_strategies():\n"
        "    return [StrategyProvider(name='threads', open=print, runs_coroutines=True, runs_functions=True)]\n",
    )
    with pytest.raises(PluginConflict, match="two plugins provide a concurrency strategy for 'threads': builtin"):
        start().strategies.get("threads")


def test_two_distributions_with_a_plugin_of_one_name(site, start):
    site.add("bells", broker("ring"))
    site.add("bells", broker("ring"), distribution="other-bells", version="2.0")
    runtime = start()
    assert [(str(plugin), plugin.state) for plugin in runtime.plugins[1:]] == [
        ("bells (other-bells 2.0)", "duplicate"),
        ("bells (stem-bells 1.0)", "duplicate"),
    ]
    with pytest.raises(BrokenPlugin) as caught:
        runtime.require_usable()
    assert str(caught.value) == (
        "the plugin bells is a duplicate: other-bells 2.0 and stem-bells 1.0 have a plugin named 'bells'\n"
        "  hint: uninstall one of the two, or go on without it: -p no:bells"
    )
    start("no:bells").require_usable()


def test_two_plugins_with_one_settings_section(site, start):
    source = (
        "@attrs.frozen\nclass S: ...\n"
        "@hookimpl\ndef stem_register_settings():\n    return [SettingsSection(name='ring', schema=S)]\n"
    )
    site.add("bells", source)
    site.add("gongs", source)
    with pytest.raises(BrokenPlugin) as caught:
        start().require_usable()
    assert str(caught.value) == (
        "2 plugins cannot be used:\n"
        "  bells (stem-bells 1.0) is broken: its settings section [ring] is that of gongs (stem-gongs 1.0) too\n"
        "  gongs (stem-gongs 1.0) is broken: its settings section [ring] is that of bells (stem-bells 1.0) too\n"
        "  hint: repair them, or go on without them: -p no:bells -p no:gongs"
    )


@pytest.mark.parametrize(
    ("selection", "way"),
    [
        (("bells",), "-p no:bells"),
        (("bells", "gongs"), "-p gongs"),
        (("no:gongs",), "-p no:gongs -p no:bells"),
    ],
)
def test_the_way_on_without_a_broken_plugin_fits_what_was_selected(site, start, selection, way):
    site.add("bells", "import bellslib\n")
    site.add("gongs", broker("gong"))
    with pytest.raises(BrokenPlugin) as caught:
        start(*selection).require_usable()
    assert caught.value.hint == f"repair it, or go on without it: {way}"
    start(*way.replace("-p ", "").split()).require_usable()


def test_the_name_of_the_builtins_cannot_be_taken(site, start):
    site.add("builtin", broker("ring"))
    runtime = start()
    assert "memory" in runtime.brokers
    assert "ring" not in runtime.brokers
    with pytest.raises(BrokenPlugin) as caught:
        runtime.require_usable()
    assert str(caught.value) == (
        "the plugin builtin (stem-builtin 1.0) is broken: the name 'builtin' belongs to stem-core\n"
        "  hint: uninstall stem-builtin"
    )


def test_an_unreadable_entry_points_file_breaks_its_distribution_only(site, start):
    site.metadata("stem-bells", "1.0", "[stem.plugins]\nbells\n")
    site.add("gongs", broker("gong"))
    runtime = start()
    assert "gong" in runtime.brokers
    bells = next(plugin for plugin in runtime.plugins if plugin.distribution == "stem-bells")
    assert bells.state == "broken"
    assert bells.why.startswith("the entry_points.txt of stem-bells cannot be read: ")


def test_one_module_under_two_names_is_registered_once(site, start):
    site.add("bells", broker("ring"))
    site.metadata("stem-gongs", "1.0", "[stem.plugins]\ngongs = stem_bells\n")
    runtime = start()
    broken = next(plugin for plugin in runtime.plugins if plugin.unusable)
    assert "already registered" in broken.why


def test_an_object_may_stand_for_a_module(site, start):
    source = """
    class Bells:
        @hookimpl
        def stem_register_brokers(self):
            yield BrokerProvider(schemes=("ring",), open=print, capabilities=None)

    bells = Bells()
    """
    site.add("bells", source, target="stem_bells:bells")
    runtime = start()
    runtime.require_usable()
    assert "ring" in runtime.brokers
