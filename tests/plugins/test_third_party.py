import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from stem_core.errors import BrokenPlugin, InvalidSetting, UnknownScheme
from stem_core.plugins import discovery
from stem_core.plugins.runtime import survey
from support.distributions import Site, broker

RINGING = {"broker_url": "ring://tower/1"}
STATES = """
@asynccontextmanager
async def open_store(context):
    yield context

@hookimpl
def stem_register_state_stores():
    return [StateProvider(schemes=("ring",), open=open_store)]
"""


def states(runtime):
    return {plugin.name: plugin.state for plugin in runtime.plugins}


async def test_a_third_party_broker_is_found_by_its_entry_point(site, start):
    site.add("bells", broker("ring") + STATES, version="2.1")
    runtime = start(code=RINGING)
    assert states(runtime) == {"builtin": "loaded", "bells": "loaded"}
    assert str(runtime.brokers.claim("ring").plugin) == "bells (stem-bells 2.1)"
    runtime.require_usable()
    async with runtime.open_broker() as opened:
        assert opened.url.raw == "ring://tower/1"
    assert runtime.capabilities.durable


def test_it_is_selected_with_p(site, start):
    site.add("bells", broker("ring") + STATES)
    site.add("gongs", broker("gong"))
    runtime = start("bells", code=RINGING)
    assert states(runtime) == {"builtin": "loaded", "bells": "loaded", "gongs": "skipped"}
    assert "ring" in runtime.brokers
    assert "gong" not in runtime.brokers
    assert runtime.plugins_line == "plugins: bells (not selected: gongs)"


def test_it_is_deselected_with_no(site, start):
    module = site.add("bells", broker("ring"))
    other = site.add("gongs", broker("gong"))
    runtime = start("no:bells")
    assert states(runtime) == {"builtin": "loaded", "bells": "skipped", "gongs": "loaded"}
    assert module not in sys.modules
    assert other in sys.modules


@pytest.mark.parametrize(
    ("selection", "environ"), [(("gongs",), {}), ((), {"STEM_PLUGINS": "gongs"}), ((), {"STEM_PLUGINS": "no:bells"})]
)
def test_a_skipped_plugin_is_never_imported(site, start, tmp_path, selection, environ):
    trace = tmp_path / "imported"
    module = site.add("bells", f"open({str(trace)!r}, 'w').close()\n" + broker("ring"))
    site.add("gongs", broker("gong"))
    runtime = start(*selection, environ=environ)
    assert states(runtime)["bells"] == "skipped"
    assert module not in sys.modules
    assert not trace.exists()
    start()
    assert trace.exists()


def test_the_nearest_selection_replaces_the_others(site, start, project):
    for name in ("bells", "gongs", "horns", "drums"):
        site.add(name, broker(name))
    (project / "stem.toml").write_text('[plugins]\nselect = ["bells"]\n')

    def loaded(*selection, **options):
        return [plugin.name for plugin in start(*selection, **options).plugins if plugin.loaded]

    environ = {"STEM_PLUGINS": "horns"}
    assert loaded() == ["builtin", "bells"]
    assert loaded(code={"plugins": ["gongs"]}) == ["builtin", "gongs"]
    assert loaded(environ=environ, code={"plugins": ["gongs"]}) == ["builtin", "horns"]
    assert loaded("drums", environ=environ) == ["builtin", "drums"]
    assert loaded("drums", "bells", environ=environ) == ["builtin", "bells", "drums"]
    assert loaded("drums,bells", environ=environ) == ["builtin", "bells", "drums"]
    assert loaded("no:drums", environ=environ) == ["builtin", "bells", "gongs", "horns"]


@pytest.mark.parametrize(("selection", "environ"), [((), {"STEM_PLUGINS": ""}), (("",), {})])
def test_set_but_empty_means_the_builtins_only(site, start, selection, environ):
    site.add("bells", broker("ring"))
    runtime = start(*selection, environ=environ)
    assert states(runtime) == {"builtin": "loaded", "bells": "skipped"}
    assert runtime.plugins_line == "plugins: built-ins only (not selected: bells)"


def test_the_builtins_may_be_named_and_are_always_there(site, start):
    site.add("bells", broker("ring"))
    assert states(start("builtin")) == {"builtin": "loaded", "bells": "skipped"}
    with pytest.raises(InvalidSetting) as caught:
        start("no:builtin")
    assert str(caught.value) == (
        "command line --plugin: plugins = 'no:builtin': the built-ins are always loaded\n  hint: remove no:builtin"
    )


def test_the_builtins_come_in_by_the_same_door(start):
    runtime = start()
    builtin = runtime.brokers.claim("memory").plugin
    assert str(builtin) == "builtin (stem-core 0.1.0)"
    assert runtime.strategies.claim("threads").plugin is builtin
    assert runtime.strategies.keys == ("event_loop", "processes", "threads")


def test_a_module_that_is_not_installed_can_be_selected(site, start, monkeypatch):
    site.module("shop.bells", broker("ring") + STATES)
    site.add("gongs", broker("gong"))
    runtime = start("shop.bells", code=RINGING)
    assert states(runtime) == {"builtin": "loaded", "gongs": "skipped", "shop.bells": "loaded"}
    assert str(runtime.brokers.claim("ring").plugin) == "shop.bells (module)"
    sys.modules.pop("shop", None)


def test_a_selected_module_that_is_not_there_is_broken(start):
    runtime = start("shop.bells")
    with pytest.raises(BrokenPlugin) as caught:
        runtime.require_usable()
    assert str(caught.value) == (
        "the plugin shop.bells (module) is broken: shop.bells cannot be imported: ModuleNotFoundError:"
        " No module named 'shop'\n  hint: repair it, or go on without it: take shop.bells out of -p shop.bells"
    )


def test_mixing_the_two_forms_is_a_usage_error(site, start):
    site.add("bells", broker("ring"))
    with pytest.raises(InvalidSetting) as caught:
        start("bells", "no:gongs")
    assert str(caught.value) == (
        "command line --plugin: plugins = 'bells,no:gongs': names to load and names to leave out cannot be mixed\n"
        "  hint: give only the plugins to load (bells), or only those to leave out (no:gongs)"
    )
    assert caught.value.exit_code == 2
    with pytest.raises(InvalidSetting, match="environment STEM_PLUGINS: plugins = 'no:bells,gongs'"):
        start(environ={"STEM_PLUGINS": "no:bells,gongs"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bell", "did you mean 'bells'?"),
        ("stem-bells", "did you mean 'bells'?"),
        ("redis", "pip install ./plugins/stem_redis from a checkout"),
        ("x", "installed are bells, builtin; a module that is not installed needs a dot in its name"),
    ],
)
def test_naming_a_plugin_that_is_not_installed_is_a_usage_error(site, start, name, hint):
    site.add("bells", broker("ring"))
    with pytest.raises(InvalidSetting) as caught:
        start(name)
    assert str(caught.value) == (
        f"command line --plugin: plugins = {name!r}: the plugin {name!r} is not installed\n  hint: {hint}"
    )


def test_leaving_out_what_is_not_installed_is_a_warning(site, start, caplog):
    site.add("bells", broker("ring"))
    assert states(start("no:bels"))["bells"] == "loaded"
    assert caplog.messages == ["-p no:bels: no plugin 'bels' is installed, so there is none to leave out"]


def test_names_are_missing(start):
    with pytest.raises(InvalidSetting, match=r"plugins = 'no:': a name is missing\n  hint: give NAME, no:NAME or"):
        start("no:")


def test_one_distribution_found_twice_on_the_path_counts_once(site, start, tmp_path, monkeypatch):
    site.add("bells", broker("ring"))
    again = Site(tmp_path / "again")
    again.add("bells", broker("ring"), version="0.9", distribution="Stem_Bells")
    everything = metadata.Distribution.discover
    monkeypatch.setattr(discovery.metadata, "distributions", lambda: everything(path=[str(site.root), str(again.root)]))
    runtime = start()
    assert [str(plugin) for plugin in runtime.plugins if plugin.name == "bells"] == ["bells (stem-bells 1.0)"]


def test_a_core_that_is_not_installed_has_its_builtins(site, start):
    shutil.rmtree(site.root / "stem_core-0.1.0.dist-info")
    runtime = start()
    assert "memory" in runtime.brokers
    assert str(runtime.plugins[0]) == "builtin"


def test_selection_by_a_file_is_named_in_messages(site, start, project):
    site.add("ring", broker("ring"))
    (project / "stem.toml").write_text('[plugins]\nselect = ["no:ring"]\n')
    with pytest.raises(UnknownScheme, match=r"not selected by plugins no:ring in file stem\.toml \[plugins\]"):
        start().brokers.get("ring")


def test_another_process_finds_it_by_pythonpath_alone(tmp_path):
    site = Site(tmp_path / "site")
    site.add("bells", broker("ring"), version="3.0")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    environ["PYTHONPATH"] = os.pathsep.join([str(site.root), str(Path(__file__).parents[2])])
    code = (
        "import json, attrs; from stem_core.plugins.runtime import survey;"
        "print(json.dumps([attrs.asdict(row) for row in survey(selection=['bells'])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["bells"] == {
        "name": "bells",
        "distribution": "stem-bells",
        "version": "3.0",
        "state": "loaded",
        "provides": ["broker ring://"],
        "why": "",
    }


def test_survey_shows_plugins_where_settings_are_such_that_nothing_could_run(site, project):
    site.add("bells", broker("ring"))
    site.add("gongs", "import gonglib\n")
    rows = survey(environ={"STEM_WORKER_LEASE": "soon", "STEM_REDIS_X": "1"}, selection=["gongs"], directory=project)
    assert [(row.name, row.state, row.provides, row.why) for row in rows[1:]] == [
        ("bells", "skipped", (), "not selected (-p gongs)"),
        (
            "gongs",
            "broken",
            (),
            "stem_gongs cannot be imported: ModuleNotFoundError: No module named 'gonglib'",
        ),
    ]
