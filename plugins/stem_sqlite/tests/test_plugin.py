"""What Stem sees of the plugin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stem_core.errors import InvalidSetting
from stem_core.plugins.runtime import Runtime, assemble
from stem_sqlite.broker import SqliteBroker
from stem_sqlite.settings import SqliteSettings


def assembled(directory: Path, **environ: str) -> Runtime:
    """The runtime of a project in this folder."""
    (directory / "stem.toml").touch()
    return assemble(environ=environ, directory=directory)


def test_the_plugin_is_found_and_imports_no_driver() -> None:
    program = (
        "import sys; from stem_core.plugins.runtime import assemble; rows = assemble(environ={}).plugin_rows();"
        "print(*[row.state for row in rows if row.name == 'sqlite'], 'sqlite3' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["loaded", "False"]


def test_the_default_lies_in_the_folder_of_the_project(tmp_path: Path) -> None:
    urls = assembled(tmp_path).urls()
    assert urls.default_used
    assert {str(urls.broker), str(urls.backend), str(urls.state)} == {f"sqlite:///{tmp_path}/.stem/stem.db"}


async def test_a_folder_with_odd_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a b%20c?#ü"
    odd.mkdir()
    async with assembled(odd).open_broker():
        assert (odd / ".stem" / "stem.db").is_file()


async def test_a_relative_url_starts_from_the_folder_of_the_project(tmp_path: Path) -> None:
    runtime = assembled(tmp_path, STEM_BROKER_URL="sqlite:///jobs.db", STEM_SQLITE_SYNCHRONOUS="normal")
    async with runtime.open_broker() as broker, runtime.open_backend() as backend, runtime.open_state():
        assert isinstance(broker, SqliteBroker)
        assert broker.shares_store(backend)
        assert (tmp_path / "jobs.db").is_file()
        assert await broker._database.read(lambda tx: tx.row("PRAGMA synchronous")[0]) == 1


def test_qualities(tmp_path: Path) -> None:
    capabilities = assembled(tmp_path).capabilities
    assert (capabilities.durable, capabilities.shared) == (True, True)


def test_settings(tmp_path: Path) -> None:
    runtime = assembled(tmp_path, STEM_SQLITE_BUSY_TIMEOUT="250ms")
    assert runtime.settings.section("sqlite") == SqliteSettings(
        synchronous="full", busy_timeout=0.25, poll_interval=0.025
    )
    with pytest.raises(InvalidSetting, match="STEM_SQLITE_SYNCHRONOUS"):
        assembled(tmp_path, STEM_SQLITE_SYNCHRONOUS="sometimes")
