import sys
import types
from pathlib import Path

import pytest

from stem_core import Stem
from stem_core.errors import ConfigurationError
from stem_core.settings import Sources
from stem_core.worker.outfit import locate, make_outfit, pack, unpack


def made_in(module):
    """An app that was made by code in a module of this name."""
    names = {"__name__": module}
    exec("from stem_core import Stem\napp = Stem('made')", names)
    return names["app"]


def plain():
    pass


class TestLocating:
    def test_as_a_command_loaded_it(self):
        app = made_in("__main__")
        app.path = "shop.tasks:make"
        assert locate(app) == "shop.tasks:make"

    def test_a_global_name_of_the_module_that_made_it(self, monkeypatch):
        module = types.ModuleType("shop_for_test")
        monkeypatch.setitem(sys.modules, "shop_for_test", module)
        module.jobs = app = made_in("shop_for_test")
        assert locate(app, "other:app") == "shop_for_test:jobs"

    def test_else_as_it_is_set(self):
        assert locate(made_in("nowhere"), "shop:app") == "shop:app"

    @pytest.mark.parametrize(
        ("module", "problem", "remedy"),
        [
            ("__main__", "is made in the program itself (__main__)", "tasks.py"),
            ("nowhere", "it is no global name of nowhere", "STEM_APP=MODULE:ATTRIBUTE"),
        ],
    )
    def test_nowhere(self, module, problem, remedy):
        with pytest.raises(ConfigurationError) as refused:
            locate(made_in(module))
        assert problem in refused.value.message
        assert remedy in refused.value.hint


def test_settings_go_as_they_are_resolved_and_defaults_stay_behind(monkeypatch):
    monkeypatch.setenv("STEM_RESULT_TTL", "2h")
    app = Stem("s", broker_url="memory://outfit", plugins=[], default_queue="jobs")
    app.path = "shop:app"
    app.task(name="t", strategy="processes")(plain)
    settings = app.runtime.settings.overlay(code={"worker.lease": "40s"})
    outfit = unpack(pack(make_outfit(app, settings, ["t"], worker="w1", owns_process=False)))
    assert outfit.settings == {
        "broker_url": "memory://outfit",
        "default_queue": "jobs",
        "plugins": [],
        "result_ttl": 7200.0,
        "worker.lease": 40.0,
    }
    assert (outfit.app, outfit.tasks, outfit.modules, outfit.logging) == ("shop:app", ["t"], [__name__], None)


def test_settings_come_out_as_they_went_in_whatever_is_said_there(monkeypatch, tmp_path):
    monkeypatch.setenv("STEM_DEFAULT_QUEUE", "elsewhere")
    app = Stem("child", default_queue="code")
    nothing = Sources(command_line={}, environ={}, code={}, file=None, directory=Path(tmp_path))
    app.configure({"broker_url": "memory://x", "plugins": [], "worker.lease": 40.0}, sources=nothing)
    assert app.runtime.settings.app.default_queue == "code"
    assert app.runtime.settings.worker.lease == 40.0
    app.runtime.confine()
    with pytest.raises(ConfigurationError, match="belongs to the worker's own process") as refused:
        app.runtime.open_broker()
    assert "ctx.enqueue" in refused.value.hint


def test_children_route_as_their_worker_does_without_reading_its_file(monkeypatch, tmp_path):
    config = tmp_path / "routing.toml"
    config.write_text("default_queue = 'jobs'\n[channels.news]\n[[routes]]\ntask = 't'\nchannel = 'news'\n")
    monkeypatch.setenv("STEM_ROUTING_CONFIG", str(config))
    # The variable goes before the file, which matters to the worker and no more to its children.
    monkeypatch.setenv("STEM_DEFAULT_QUEUE", "mine")
    app = Stem("s", broker_url="memory://outfit", plugins=[])
    app.path = "shop:app"
    app.task(name="t", strategy="processes")(plain)
    settings = app.runtime.settings
    outfit = unpack(pack(make_outfit(app, settings, ["t"], worker="w1", owns_process=False)))
    config.unlink()
    child = Stem("child")
    nothing = Sources(command_line={}, environ={}, code={}, file=None, directory=Path(tmp_path))
    child.configure(outfit.settings, sources=nothing)
    assert child.runtime.settings.app.routing_config == settings.app.routing_config
    assert child.runtime.settings.app.default_queue == "mine"
