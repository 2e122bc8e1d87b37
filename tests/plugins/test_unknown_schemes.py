import pytest

from stem_core.errors import UnknownScheme
from support.distributions import broker


def refusal(registry, key):
    with pytest.raises(UnknownScheme) as caught:
        registry.get(key)
    assert caught.value.key == key
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "plugin"),
    [
        ("redis", "redis"),
        ("rediss", "redis"),
        ("postgresql", "postgres"),
        ("postgres", "postgres"),
        ("sqlite", "sqlite"),
    ],
)
def test_not_installed_has_the_install_line(start, scheme, plugin):
    assert refusal(start().brokers, scheme) == (
        f"no broker for {scheme}://: the plugin {plugin!r} is not installed\n"
        f"  hint: pip install ./plugins/stem_{plugin} from a checkout"
    )


@pytest.mark.parametrize(
    ("selection", "environ", "by", "hint"),
    [
        (("gongs",), {}, "-p gongs", "select it: -p gongs -p redis"),
        (("no:redis",), {}, "-p no:redis", "take no:redis out of -p no:redis"),
        ((), {"STEM_PLUGINS": "no:redis"}, "STEM_PLUGINS=no:redis", "take no:redis out of STEM_PLUGINS=no:redis"),
        ((), {"STEM_PLUGINS": "no:redis,no:gongs"}, "STEM_PLUGINS=no:redis,no:gongs", "select it: -p no:gongs"),
        ((), {"STEM_PLUGINS": ""}, "STEM_PLUGINS=", "select it: -p redis"),
        (("",), {}, "-p ''", "select it: -p redis"),
    ],
)
def test_deselected_says_by_what(site, start, selection, environ, by, hint):
    site.add("redis", broker("redis", "rediss"))
    site.add("gongs", broker("gong"))
    runtime = start(*selection, environ=environ)
    assert refusal(runtime.brokers, "rediss") == (
        f"no broker for rediss://: the plugin redis (stem-redis 1.0) is installed, but not selected by {by}\n"
        f"  hint: {hint}"
    )


def test_deselected_in_code(site, start):
    site.add("redis", broker("redis"))
    assert "but not selected by plugins no:redis in code tasks.py:5\n" in refusal(
        start(code={"plugins": ["no:redis"]}).brokers, "redis"
    )


def test_broken_says_why(site, start):
    site.add("redis", "import redislib\n")
    assert refusal(start().brokers, "redis") == (
        "no broker for redis://: the plugin redis (stem-redis 1.0) is installed, but broken:"
        " stem_redis cannot be imported: ModuleNotFoundError: No module named 'redislib'\n"
        "  hint: repair it, or use another broker and go on without it: -p no:redis"
    )


def test_broken_after_it_told_what_it_provides(site, start):
    site.add("bells", broker("ring") + "@hookimpl\ndef stem_register_middleware():\n    1 / 0\n")
    assert refusal(start().brokers, "ring").startswith(
        "no broker for ring://: the plugin bells (stem-bells 1.0) is installed, but broken:"
        " stem_register_middleware() raised ZeroDivisionError"
    )


def test_a_third_party_that_is_not_selected_is_known_by_its_name(site, start):
    site.add("ring", broker("ring"))
    assert refusal(start("").brokers, "ring").startswith(
        "no broker for ring://: the plugin ring (stem-ring 1.0) is installed, but not selected by -p ''"
    )


def test_a_scheme_that_nobody_knows_lists_who_might(site, start):
    site.add("bells", broker("ring"))
    site.add("gongs", "import gonglib\n")
    assert refusal(start("bells", "gongs").brokers, "horn") == (
        "no broker for horn://: no installed plugin provides it\n"
        "  hint: install the plugin for horn://; there is a broker for memory://, ring://; broken: gongs"
    )
    assert refusal(start("").brokers, "horn") == (
        "no broker for horn://: no installed plugin provides it\n"
        "  hint: install the plugin for horn://; there is a broker for memory://; not selected: bells, gongs"
    )


def test_a_misspelt_scheme(start):
    assert refusal(start().brokers, "memmory") == (
        "no broker for memmory://: no installed plugin provides it\n"
        "  hint: did you mean memory://? there is a broker for memory://"
    )


def test_a_loaded_plugin_without_that_kind(site, start):
    site.add("redis", broker("redis"))
    assert refusal(start().states, "redis") == (
        "no state store for redis://: the plugin redis (stem-redis 1.0) provides none\n"
        "  hint: install the plugin for redis://; there is a state store for memory://"
    )


def test_an_unknown_strategy(start):
    assert refusal(start().strategies, "thread") == (
        "no concurrency strategy for 'thread': no installed plugin provides it\n"
        "  hint: did you mean 'threads'? there is a concurrency strategy for 'event_loop', 'processes', 'threads'"
    )
