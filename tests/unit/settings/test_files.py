from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stem_core.errors import InvalidSetting
from stem_core.settings import resolve


def failure(tmp_path, **given) -> str:
    with pytest.raises(InvalidSetting) as caught:
        resolve(directory=tmp_path, environ=given.pop("environ", {}), **given)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_nearest_file_upwards_is_read_and_anchors_the_directory(tmp_path):
    (tmp_path / "stem.toml").write_text('namespace = "shop"\n')
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    settings = resolve(directory=deep, environ={})
    assert settings.app.namespace == "shop"
    assert settings.directory == tmp_path
    assert settings.file == tmp_path / "stem.toml"
    assert str(settings.origin("namespace")) == f"file {tmp_path / 'stem.toml'}"
    assert str(resolve(directory=tmp_path, environ={}).origin("namespace")) == "file stem.toml"


def test_pyproject_has_them_under_tool_stem(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.stem]\nnamespace = "shop"\n[tool.stem.worker]\nlease = "1m"\n')
    settings = resolve(directory=tmp_path, environ={})
    assert (settings.app.namespace, settings.worker.lease) == ("shop", 60.0)
    assert str(settings.origin("namespace")) == "file pyproject.toml [tool.stem]"
    assert str(settings.origin("worker.lease")) == "file pyproject.toml [tool.stem.worker]"


@pytest.mark.parametrize(
    "content", ["", '[project]\nname = "x"\n', '[project]\nname = "my-stem"\n[tool]\n', "broken ="]
)
def test_a_pyproject_of_somebody_else_anchors_only(tmp_path, content):
    (tmp_path / "stem.toml").write_text('namespace = "outer"\n')
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text(content)
    settings = resolve(directory=inner, environ={})
    assert settings.app.namespace == "stem"
    assert settings.file is None
    assert settings.directory == inner


def test_a_stem_toml_beside_a_pyproject_without_settings(tmp_path):
    (tmp_path / "stem.toml").write_text('namespace = "shop"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["stem-core"]\n')
    assert resolve(directory=tmp_path, environ={}).app.namespace == "shop"


def test_two_files_with_settings_in_one_folder_are_refused(tmp_path):
    (tmp_path / "stem.toml").write_text("")
    (tmp_path / "pyproject.toml").write_text("[tool.stem]\n")
    assert failure(tmp_path) == (
        "file stem.toml: pyproject.toml has settings too, in [tool.stem]\n"
        "  hint: keep all settings in one of the two files"
    )


def test_without_any_file_the_start_is_the_anchor(tmp_path):
    settings = resolve(directory=tmp_path, environ={})
    assert settings.directory == tmp_path
    assert settings.file is None


def test_a_file_can_be_named(tmp_path):
    file = tmp_path / "other.toml"
    file.write_text('namespace = "named"\n')
    (tmp_path / "stem.toml").write_text('namespace = "found"\n')
    settings = resolve(directory=tmp_path, environ={}, file=file)
    assert settings.app.namespace == "named"
    assert str(settings.origin("namespace")) == "file other.toml"


def test_broken_toml_names_file_line_and_column(tmp_path):
    (tmp_path / "stem.toml").write_text('namespace = "shop"\n[worker]\nlease 5\n')
    assert failure(tmp_path) == (
        "file stem.toml: line 3, column 7: not valid TOML: Expected '=' after a key in a key/value pair\n"
        "  hint: correct that line"
    )


def test_toml_broken_at_its_end_names_the_last_line(tmp_path):
    (tmp_path / "stem.toml").write_text('namespace = "shop"\nplugins = [\n')
    assert "file stem.toml: line 2: not valid TOML: " in failure(tmp_path)


def test_a_file_that_is_not_utf8(tmp_path):
    (tmp_path / "stem.toml").write_bytes(b'# fine\nnamespace = "caf\xe9"\n')
    assert failure(tmp_path) == "file stem.toml: line 2: not encoded as UTF-8\n  hint: save it as UTF-8"


def test_a_named_file_that_is_not_there(tmp_path):
    assert failure(tmp_path, file=tmp_path / "gone.toml") == (
        "file gone.toml: cannot be read: no such file or directory\n  hint: make it readable, or remove it"
    )


def test_tool_stem_that_is_no_table(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool]\nstem = 5\n")
    assert failure(tmp_path).startswith("file pyproject.toml: tool.stem: expected a table [tool.stem]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "[worker]\nconcurrency = 0\n",
            "file stem.toml [worker]: worker.concurrency = 0: expected a whole number, at least 1",
        ),
        (
            '[worker]\nlease = "soon"\n',
            (
                "file stem.toml [worker]: worker.lease = 'soon': expected a duration such as 250ms, 5s, 2m or 1h,"
                " or a number of seconds, at least 1s"
            ),
        ),
        (
            "[worker]\nconcurency = 5\n",
            (
                "file stem.toml [worker]: worker.concurency = 5: there is no such setting\n"
                "  hint: did you mean worker.concurrency?"
            ),
        ),
        (
            '[plugins]\nselct = ["redis"]\n',
            (
                "file stem.toml [plugins]: plugins.selct = ['redis']: there is no such setting\n"
                "  hint: did you mean plugins.select?"
            ),
        ),
        (
            "[plugins]\nselect = 5\n",
            (
                "file stem.toml [plugins]: plugins.select = 5: expected plugins as NAME, no:NAME or a module,"
                " such as redis,signing"
            ),
        ),
        ('plugins = ["redis"]\n', "file stem.toml: plugins = ['redis']: expected a table [plugins]"),
        ("worker = true\n", "file stem.toml: worker = True: expected a table [worker]"),
        (
            'broker_ulr = "redis://u:hunter2@h"\n',
            (
                "file stem.toml: broker_ulr = 'redis://u:***@h': there is no such setting\n"
                "  hint: did you mean broker_url?"
            ),
        ),
        (
            'broker_ulr = "redis:u:hunter2@h"\n',
            "file stem.toml: broker_ulr = ***: there is no such setting\n  hint: did you mean broker_url?",
        ),
        (
            "[wroker]\nlease = 5\n",
            "file stem.toml: [wroker]: there is no such section\n  hint: did you mean [worker]?",
        ),
        (
            "[kafka]\nlease = 5\n",
            (
                "file stem.toml: [kafka]: there is no such section\n"
                "  hint: known sections: plugins, routing, worker; "
                "that of a plugin needs the plugin installed and selected"
            ),
        ),
        (
            "[namespace]\nname = 1\n",
            (
                "file stem.toml: namespace = a table:"
                " expected a namespace name: 1 to 128 of the characters A-Z a-z 0-9 _ . -"
            ),
        ),
    ],
)
def test_what_a_file_may_not_say(tmp_path, content, message):
    (tmp_path / "stem.toml").write_text(content)
    assert failure(tmp_path) == message


def test_a_folder_above_that_may_not_be_looked_into(tmp_path, monkeypatch):
    def refuse(path: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_file", refuse)
    assert resolve(directory=tmp_path, environ={}).directory == tmp_path


def test_a_secret_is_read_from_the_file_that_a_variable_names(tmp_path):
    secret = tmp_path / "url"
    secret.write_text("redis://u:hunter2@h/0\n")
    settings = resolve(directory=tmp_path, environ={"STEM_BROKER_URL_FILE": str(secret)})
    assert settings.app.broker_url == "redis://u:hunter2@h/0"
    assert str(settings.origin("broker_url")) == "environment STEM_BROKER_URL_FILE"


def test_what_such_a_file_holds_is_never_shown(tmp_path):
    secret = tmp_path / "url"
    secret.write_text("hunter2")
    assert failure(tmp_path, environ={"STEM_BROKER_URL_FILE": str(secret)}) == (
        "environment STEM_BROKER_URL_FILE: broker_url = ***: expected an address with a scheme, such as sqlite:///jobs.db"
    )


def test_such_a_file_that_is_not_there(tmp_path):
    path = str(tmp_path / "gone")
    assert failure(tmp_path, environ={"STEM_BROKER_URL_FILE": path}) == (
        f"environment STEM_BROKER_URL_FILE: broker_url: the file {path!r} cannot be read: no such file or directory\n"
        "  hint: give a readable text file, or set STEM_BROKER_URL itself"
    )


def test_both_the_variable_and_its_file(tmp_path):
    environ = {"STEM_BROKER_URL": "memory://", "STEM_BROKER_URL_FILE": os.devnull}
    assert failure(tmp_path, environ=environ) == (
        "environment STEM_BROKER_URL_FILE: broker_url is set twice, by STEM_BROKER_URL and by STEM_BROKER_URL_FILE\n"
        "  hint: unset one of the two variables"
    )


def test_nothing_heavy_is_imported_before_it_is_needed(tmp_path):
    program = (
        "import sys; from pathlib import Path; from stem_core.settings import resolve;"
        f" resolve(directory=Path({str(tmp_path)!r}), environ={{}});"
        " print([name for name in ('tomllib', 'difflib', 'typer', 'pluggy', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"
