from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from stem_core.settings import APP, WORKER, SettingsSection, parsers, peek, read_sources, resolve, setting


@attrs.frozen(kw_only=True)
class BoxSettings:
    depth: int = setting(7, parse=parsers.integer(0), help="How deep.")
    password: str | None = setting(None, parse=parsers.text(), secret=True, help="The key to it.")


BOX = SettingsSection(name="box", schema=BoxSettings)

#: From the weakest to the strongest: how to give it, and what its origin is called.
LADDER = [
    ("file", "file stem.toml [worker]"),
    ("code", "code tasks.py:5"),
    ("environ", "environment STEM_WORKER_CONCURRENCY"),
    ("command_line", "command line --concurrency"),
]


@pytest.mark.parametrize("height", range(len(LADDER) + 1))
def test_the_strongest_source_wins_and_is_named(tmp_path, height):
    given = dict(LADDER[:height])
    if "file" in given:
        (tmp_path / "stem.toml").write_text("[worker]\nconcurrency = 1\n")
    settings = resolve(
        directory=tmp_path,
        code={"worker.concurrency": 2} if "code" in given else {},
        code_origin="tasks.py:5",
        environ={"STEM_WORKER_CONCURRENCY": "3"} if "environ" in given else {},
        command_line={"worker.concurrency": 4} if "command_line" in given else {},
    )
    assert settings.worker.concurrency == (height or None)
    assert str(settings.origin("worker.concurrency")) == (LADDER[height - 1][1] if height else "default")


def test_none_is_not_a_value(tmp_path):
    settings = resolve(
        directory=tmp_path,
        environ={"STEM_WORKER_LEASE": "9s"},
        code={"namespace": None},
        command_line={"worker.lease": None},
    )
    assert settings.worker.lease == 9.0
    assert settings.origin("namespace").kind == "default"


def test_overlay_resolves_anew_with_more_code_and_more_options(tmp_path):
    base = resolve(
        directory=tmp_path,
        environ={"STEM_WORKER_CONCURRENCY": "9"},
        code={"namespace": "shop", "worker.lease": 20},
        code_origin="tasks.py:5",
    )
    worker = base.overlay(code={"worker.concurrency": 5, "worker.lease": 40}, code_origin="run.py:2")
    assert worker.worker.concurrency == 9
    assert str(worker.origin("worker.concurrency")) == "environment STEM_WORKER_CONCURRENCY"
    assert worker.worker.lease == 40.0
    assert str(worker.origin("worker.lease")) == "code run.py:2"
    assert str(worker.origin("namespace")) == "code tasks.py:5"
    told = worker.overlay(command_line={"worker.concurrency": 3})
    assert told.worker.concurrency == 3
    assert str(told.origin("worker.concurrency")) == "command line --concurrency"
    assert base.worker.concurrency == 9
    assert base.worker.lease == 20.0


def test_overlay_reads_neither_file_nor_environment_again(tmp_path, monkeypatch):
    file = tmp_path / "stem.toml"
    file.write_text('namespace = "before"\n')
    monkeypatch.setenv("STEM_WORKER_LEASE", "20s")
    base = resolve(directory=tmp_path)
    file.write_text('namespace = "after"\n')
    monkeypatch.setenv("STEM_WORKER_LEASE", "40s")
    again = base.overlay()
    assert (again.app.namespace, again.worker.lease) == ("before", 20.0)


def test_the_first_variable_of_a_setting_wins(tmp_path):
    environ = {"STEM_PREFETCH_MULTIPLIER": "2"}
    settings = resolve(directory=tmp_path, environ=environ)
    assert settings.worker.prefetch_multiplier == 2.0
    assert str(settings.origin("worker.prefetch_multiplier")) == "environment STEM_PREFETCH_MULTIPLIER"
    settings = resolve(directory=tmp_path, environ={**environ, "STEM_WORKER_PREFETCH_MULTIPLIER": "0.5"})
    assert settings.worker.prefetch_multiplier == 0.5
    assert resolve(directory=tmp_path, environ={"STEM_REVOKE_STORE_URL": "memory://r"}).app.state_url == "memory://r"


def test_a_plugin_section_is_set_from_everywhere(tmp_path):
    (tmp_path / "stem.toml").write_text("[box]\ndepth = 1\n")
    assert resolve([BOX], directory=tmp_path, environ={}).section("box") == BoxSettings(depth=1)
    environ = {"STEM_BOX_DEPTH": "2"}
    settings = resolve([BOX], directory=tmp_path, environ=environ)
    assert settings.section("box").depth == settings.get("box.depth") == 2
    assert settings.overlay(command_line={"box.depth": 3}).section("box").depth == 3


def test_peek_before_the_sections_are_known(tmp_path):
    (tmp_path / "stem.toml").write_text('[plugins]\nselect = ["redis", "no:signing"]\n[box]\ndepth = 1\n')
    plugins, origin = peek(read_sources(directory=tmp_path, environ={}), "plugins")
    assert plugins == ("redis", "no:signing")
    assert str(origin) == "file stem.toml [plugins]"
    plugins, origin = peek(read_sources(directory=tmp_path, environ={"STEM_PLUGINS": ""}), "plugins")
    assert plugins == ()
    assert str(origin) == "environment STEM_PLUGINS"
    plugins, origin = peek(read_sources(directory=tmp_path / "..", environ={}), "plugins")
    assert (plugins, origin.kind) == (None, "default")
    with pytest.raises(KeyError):
        peek(read_sources(directory=tmp_path, environ={}), "box.depth")


def test_defaults_are_the_documented_ones(tmp_path):
    settings = resolve(directory=tmp_path, environ={})
    app, worker = settings.app, settings.worker
    assert (app.namespace, app.default_queue, app.default_max_retries) == ("stem", "default", 3)
    assert (app.max_message_size, app.result_ttl, app.dedupe_window) == (2**20, 86400.0, 600.0)
    assert (app.broker_url, app.result_backend_url, app.state_url, app.plugins) == (None, None, None, None)
    assert (worker.shutdown_timeout, worker.soft_margin, worker.hard_margin) == (25.0, 5.0, 2.0)
    assert (worker.lease, worker.heartbeat_interval, worker.stall_limit, worker.wedge_timeout) == (
        30.0,
        5.0,
        10.0,
        300.0,
    )
    assert (worker.max_crashes, worker.unknown_task_grace, worker.strategy) == (3, 600.0, "auto")
    assert (worker.concurrency, worker.prefetch, worker.prefetch_multiplier) == (None, None, 1.0)


def test_every_default_is_one_its_parser_would_accept():
    for key in (*APP.keys, *WORKER.keys):
        if key.default is not None:
            assert key.parse(key.parse.show(key.default)) == key.default, key.dotted


def test_rows_show_value_origin_and_variable(tmp_path):
    settings = resolve(
        [BOX],
        directory=tmp_path,
        environ={"STEM_BOX_PASSWORD": "hunter2", "STEM_BROKER_URL": "redis://u:hunter2@h/0"},
        code={"worker.lease": 90},
        code_origin="tasks.py:5",
    )
    rows = {row.key: row for row in settings.rows()}
    assert next(iter(rows)) == "app"
    assert list(rows)[-1] == "box.password"
    assert (rows["worker.lease"].value, rows["worker.lease"].origin) == ("90s", "code tasks.py:5")
    assert (rows["box.password"].value, rows["box.password"].origin) == ("***", "environment STEM_BOX_PASSWORD")
    assert rows["broker_url"].value == "redis://u:***@h/0"
    assert rows["worker.concurrency"].value == "(derived from the tasks)"
    assert rows["signals_disabled"].value == "(empty)"
    assert rows["worker.lease"].variable == "STEM_WORKER_LEASE"
    assert rows["worker.lease"].accepts.endswith("at least 1s")
    assert all(row.help.endswith(".") for row in rows.values())


def test_nothing_that_is_printed_holds_a_secret(tmp_path):
    settings = resolve(
        [BOX],
        directory=tmp_path,
        environ={"STEM_BOX_PASSWORD": "hunter2", "STEM_BROKER_URL": "redis://u:hunter2@h/0"},
        code={"state_url": "redis://u:hunter2@h/1"},
    )
    printed = [settings, settings.app, settings.section("box"), settings.rows(), settings._sources]
    assert "hunter2" not in repr(printed)
    assert "redis://u:***@h/0" in repr(settings.app)
    assert settings.section("box").password == "hunter2"


def test_a_section_nobody_registered_is_a_key_error(tmp_path):
    with pytest.raises(KeyError):
        resolve(directory=tmp_path, environ={}).section("box")
    assert set(resolve([BOX], directory=tmp_path, environ={}).sections) == {"", "worker", "box"}


def test_the_current_folder_and_the_real_environment_are_the_default(tmp_path, monkeypatch):
    (tmp_path / "stem.toml").write_text('namespace = "here"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEM_DEFAULT_QUEUE", "mail")
    settings = resolve()
    assert (settings.app.namespace, settings.app.default_queue) == ("here", "mail")
    assert settings.directory == Path.cwd()
