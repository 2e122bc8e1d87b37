from __future__ import annotations

import logging

import attrs
import pytest

from stem_core.errors import ConfigurationError, InvalidSetting
from stem_core.settings import SettingsSection, parsers, resolve, setting

ABSENT = "the plugin 'sqlite' is not installed; pip install ./plugins/stem_sqlite from a checkout"


@attrs.frozen(kw_only=True)
class VaultSettings:
    depth: int = setting(7, parse=parsers.integer(0), help="How deep.")
    pin: str | None = setting(None, parse=parsers.choice("1234"), secret=True, help="Opens it.")


VAULT = SettingsSection(name="vault", schema=VaultSettings)


def failure(tmp_path, sections=(), **given) -> str:
    with pytest.raises(InvalidSetting) as caught:
        resolve(sections, directory=tmp_path, **{"environ": {}, **given})
    assert caught.value.exit_code == 2
    assert caught.value.origin
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"environ": {"STEM_WORKER_CONCURRENCY": "many"}},
            "environment STEM_WORKER_CONCURRENCY: worker.concurrency = 'many': expected a whole number, at least 1",
        ),
        (
            {"environ": {"STEM_WORKER_PREFETCH": "-1"}},
            "environment STEM_WORKER_PREFETCH: worker.prefetch = '-1': expected a whole number, at least 0",
        ),
        (
            {"environ": {"STEM_REQUIRE_CONFIG": ""}},
            "environment STEM_REQUIRE_CONFIG: require_config = '': expected true or false (or yes/no, on/off, 1/0)",
        ),
        (
            {"command_line": {"worker.log_level": "loud"}},
            (
                "command line --log-level: worker.log_level = 'loud':"
                " expected one of debug, info, warning, error, critical"
            ),
        ),
        (
            {"command_line": {"broker_url": "localhost"}},
            (
                "command line --broker: broker_url = 'localhost':"
                " expected an address with a scheme, such as sqlite:///jobs.db"
            ),
        ),
        (
            {"code": {"default_max_retries": "x" * 200}, "code_origin": "tasks.py:5"},
            f"code tasks.py:5: default_max_retries = '{'x' * 76}...: expected a whole number, at least 0",
        ),
        (
            {"code": {"result_backend_url": "u:hunter2@h"}},
            "code: result_backend_url = ***: expected an address with a scheme, such as sqlite:///jobs.db, or none",
        ),
        (
            {"code": {"namespace": ["redis://u:hunter2@h"]}},
            "code: namespace = ***: expected a namespace name: 1 to 128 of the characters A-Z a-z 0-9 _ . -",
        ),
    ],
)
def test_values_that_cannot_be_read(tmp_path, given, message):
    assert failure(tmp_path, **given) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"environ": {"STEM_WORKER_CONCURENCY": "5"}},
            (
                "environment STEM_WORKER_CONCURENCY: worker.concurency = '5': there is no such setting\n"
                "  hint: did you mean STEM_WORKER_CONCURRENCY?"
            ),
        ),
        (
            {"environ": {"STEM_WORKER_LEASES_FILE": "/x"}},
            (
                "environment STEM_WORKER_LEASES_FILE: worker.leases_file = '/x': there is no such setting\n"
                "  hint: did you mean STEM_WORKER_LEASE?"
            ),
        ),
        (
            {"code": {"worker.concurency": 5}, "code_origin": "tasks.py:5"},
            (
                "code tasks.py:5: worker.concurency = 5: there is no such setting\n"
                "  hint: did you mean worker.concurrency?"
            ),
        ),
        (
            {"code": {"broker": 5}, "code_origin": "tasks.py:5"},
            "code tasks.py:5: broker = 5: there is no such setting\n  hint: did you mean broker_url?",
        ),
        (
            {"command_line": {"default_queu": "x"}},
            "command line: default_queu = 'x': there is no such setting\n  hint: did you mean default_queue?",
        ),
    ],
)
def test_keys_that_nobody_knows(tmp_path, given, message):
    assert failure(tmp_path, **given) == message


def test_without_a_likely_one_all_are_named(tmp_path):
    message = failure(tmp_path, [VAULT], environ={"STEM_VAULT_QQQ": "5"})
    assert message == (
        "environment STEM_VAULT_QQQ: vault.qqq = ***: there is no such setting\n"
        "  hint: known settings: STEM_VAULT_DEPTH, STEM_VAULT_PIN"
    )


def test_a_secret_is_not_shown_in_any_error(tmp_path):
    assert failure(tmp_path, [VAULT], environ={"STEM_VAULT_PIN": "hunter2"}) == (
        "environment STEM_VAULT_PIN: vault.pin = ***: expected one of 1234"
    )
    assert "hunter2" not in failure(tmp_path, [VAULT], environ={"STEM_VAULT_PINN": "hunter2"})
    assert "hunter2" not in failure(tmp_path, environ={"STEM_WORKER_TOKEN": "hunter2"})
    assert "hunter2" not in failure(tmp_path, code={"vault.pin": "hunter2"}, missing_sections={"vault": "it is gone"})
    (tmp_path / "stem.toml").write_text('[vault]\npinn = "hunter2"\n')
    assert "hunter2" not in failure(tmp_path, [VAULT])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"soft_margin": "1m", "shutdown_timeout": 30},
            (
                "code: worker.soft_margin = 1m: expected at most worker.shutdown_timeout, which is 30s (code)\n"
                "  hint: change it, or set worker.shutdown_timeout (STEM_WORKER_SHUTDOWN_TIMEOUT) as well"
            ),
        ),
        (
            {"wedge_timeout": 5, "stall_limit": 8},
            (
                "code: worker.stall_limit = 8s: expected at most worker.wedge_timeout, which is 5s (code)\n"
                "  hint: change it, or set worker.wedge_timeout (STEM_WORKER_WEDGE_TIMEOUT) as well"
            ),
        ),
    ],
)
def test_settings_that_contradict_each_other(tmp_path, given, message):
    assert failure(tmp_path, code={f"worker.{key}": raw for key, raw in given.items()}) == message


@pytest.mark.parametrize("given", [{"shutdown_timeout": 3}, {"hard_margin": 6}, {"wedge_timeout": 5}])
def test_a_default_gives_way_to_what_was_set(tmp_path, given):
    code = {f"worker.{key}": raw for key, raw in given.items()}
    settings = resolve(directory=tmp_path, environ={}, code=code)
    assert {key: getattr(settings.worker, key) for key in given} == given


def test_equal_bounds_are_fine(tmp_path):
    margins = {"worker.shutdown_timeout": 0, "worker.soft_margin": 0, "worker.hard_margin": 0}
    assert resolve(directory=tmp_path, environ={}, code=margins).worker.shutdown_timeout == 0.0


@pytest.mark.parametrize(
    ("given", "content", "place"),
    [
        (
            {"environ": {"STEM_SQLITE_SYNCHRONOUS": "off"}},
            "",
            "environment STEM_SQLITE_SYNCHRONOUS: sqlite.synchronous",
        ),
        ({}, '[sqlite]\nsynchronous = "off"\n', "file stem.toml [sqlite]: sqlite.synchronous"),
        ({}, "[sqlite]\n", "file stem.toml [sqlite]: sqlite"),
        ({"command_line": {"sqlite.synchronous": "off"}}, "", "command line: sqlite.synchronous"),
        ({"code": {"sqlite.synchronous": "off"}, "code_origin": "a.py:1"}, "", "code a.py:1: sqlite.synchronous"),
    ],
)
def test_settings_of_a_plugin_that_is_not_there(tmp_path, given, content, place):
    (tmp_path / "stem.toml").write_text(content)
    assert failure(tmp_path, missing_sections={"sqlite": ABSENT}, **given) == (
        f"{place} is set, but {ABSENT}\n  hint: load the plugin, or remove the setting"
    )


def test_an_empty_reason_lets_a_section_pass(tmp_path, caplog):
    (tmp_path / "stem.toml").write_text("[sqlite]\nx = 1\n")
    environ = {"STEM_SQLITE_X": "1"}
    resolve(directory=tmp_path, environ=environ, code={"sqlite.x": 1}, missing_sections={"sqlite": ""})
    assert caplog.messages == []


def test_a_section_that_is_there_needs_no_reason(tmp_path):
    settings = resolve([VAULT], directory=tmp_path, environ={"STEM_VAULT_DEPTH": "1"}, missing_sections={"vault": "no"})
    assert settings.section("vault").depth == 1


SIGNING = (
    "signing.{key} is set, but no signing plugin is loaded, so nothing would be signed or verified\n"
    "  hint: load the plugin, or remove the setting; to run unsigned on purpose set STEM_SIGNING_POLICY=off"
)


def test_signing_that_was_asked_for_and_cannot_be_had(tmp_path):
    message = failure(tmp_path, environ={"STEM_SIGNING_KEY": "hunter2"})
    assert message == "environment STEM_SIGNING_KEY: " + SIGNING.format(key="key")
    assert "not installed" in failure(
        tmp_path, environ={"STEM_SIGNING_POLICY": "strict"}, missing_sections={"signing": "'signing' is not installed"}
    )
    # Not even a broken plugin excuses it.
    assert failure(tmp_path, environ={"STEM_SIGNING_KEY": "k"}, missing_sections={"signing": ""}) == message
    (tmp_path / "stem.toml").write_text('[signing]\npolicy = "strict"\n')
    assert failure(tmp_path) == "file stem.toml [signing]: " + SIGNING.format(key="policy")


def test_signing_that_is_off(tmp_path, caplog):
    environ = {"STEM_SIGNING_POLICY": "off", "STEM_SIGNING_KEY": "k"}
    resolve(directory=tmp_path, environ=environ, missing_sections={"signing": "'signing' is not installed"})
    resolve(directory=tmp_path, environ={"STEM_SIGNING_KEY": "k"}, code={"signing.policy": "off"})
    (tmp_path / "stem.toml").write_text('[signing]\npolicy = "off"\nkey = "k"\n')
    resolve(directory=tmp_path, environ={})
    assert caplog.messages == []
    assert "signing.policy is set" in failure(tmp_path, environ={"STEM_SIGNING_POLICY": "strict"})


def test_other_unknown_variables_are_one_warning(tmp_path, caplog):
    environ = {"STEM_BROKER_ULR": "redis://u:hunter2@h", "STEM_CELLAR": "1", "STEM_TEST_ANY": "1", "OTHER": "1"}
    with caplog.at_level(logging.WARNING, "stem_core.settings"):
        settings = resolve(directory=tmp_path, environ=environ)
        settings.overlay(command_line={"namespace": "x"})
    assert caplog.messages == [
        (
            "environment variables that no setting answers to, ignored:"
            " STEM_BROKER_ULR (did you mean STEM_BROKER_URL?), STEM_CELLAR"
        )
    ]


def test_the_longest_section_owns_a_variable(tmp_path):
    longer = SettingsSection(name="vault_two", schema=VaultSettings)
    settings = resolve([VAULT, longer], directory=tmp_path, environ={"STEM_VAULT_TWO_DEPTH": "3"})
    assert (settings.section("vault").depth, settings.section("vault_two").depth) == (7, 3)
    assert "vault_two.deepth" in failure(tmp_path, [VAULT, longer], environ={"STEM_VAULT_TWO_DEEPTH": "3"})


@pytest.mark.parametrize("name", ["worker", "plugins", "test"])
def test_a_plugin_may_not_take_a_section_of_the_core(tmp_path, name):
    with pytest.raises(ConfigurationError, match=f"section '{name}'.* the core's own"):
        resolve([SettingsSection(name=name, schema=VaultSettings)], directory=tmp_path, environ={})


def test_two_sections_of_one_name(tmp_path):
    with pytest.raises(ConfigurationError, match="'vault' is registered twice"):
        resolve([VAULT, VAULT], directory=tmp_path, environ={})


def test_two_settings_of_one_variable(tmp_path):
    @attrs.frozen(kw_only=True)
    class Greedy:
        lease: float = setting(1.0, parse=parsers.duration(), env=("STEM_WORKER_LEASE",), help="Mine.")

    with pytest.raises(ConfigurationError, match=r"STEM_WORKER_LEASE would set both worker\.lease and greedy\.lease"):
        resolve([SettingsSection(name="greedy", schema=Greedy)], directory=tmp_path, environ={})


def test_a_section_must_be_an_attrs_class_of_settings():
    with pytest.raises(TypeError, match="no attrs class"):
        SettingsSection(name="x", schema=int)
    with pytest.raises(TypeError, match="no name of a settings section"):
        SettingsSection(name="No-Name", schema=VaultSettings)

    @attrs.frozen
    class Plain:
        size: int = 5

    with pytest.raises(TypeError, match=r"Plain\.size is not made by setting"):
        SettingsSection(name="x", schema=Plain)

    @attrs.frozen
    class Shouting:
        SIZE: int = setting(5, parse=parsers.integer(), help="Size.")

    with pytest.raises(TypeError, match="lower case"):
        SettingsSection(name="x", schema=Shouting)
