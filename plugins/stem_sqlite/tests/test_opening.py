"""From the URL to the file: what is shared, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest

from stem_core.contracts import StoreContext
from stem_core.errors import StoreRefused
from stem_core.model import StoreUrl
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import PATIENCE, OpenedStore, claim, ids, message, status
from stem_sqlite import opening, schema
from stem_sqlite.settings import SqliteSettings

OpenSqlite = Callable[..., AbstractAsyncContextManager[OpenedStore]]


async def refusal(url: str) -> str:
    """The whole text of the error that opening raises."""
    with pytest.raises(StoreRefused) as caught:
        async with opening.open_broker(StoreContext(url=StoreUrl.parse(url), namespace="test")):
            pass
    return str(caught.value)


def threads() -> int:
    """How many databases are open in this process."""
    return sum(thread.name == "stem-sqlite" for thread in threading.enumerate())


async def test_one_connection_for_all_of_one_loop(open_sqlite: OpenSqlite) -> None:
    async with open_sqlite() as one, open_sqlite() as two:
        assert threads() == 1
        assert one.broker.shares_store(two.backend)  # type: ignore[attr-defined]
        async with open_sqlite(namespace="other") as other:
            assert threads() == 1
            assert not one.broker.shares_store(other.backend)  # type: ignore[attr-defined]
        async with open_sqlite(settings=SqliteSettings(synchronous="normal")) as lax:
            assert threads() == 2
            assert not one.broker.shares_store(lax.backend)  # type: ignore[attr-defined]
    assert threads() == 0


async def test_opened_at_once_is_opened_once(open_sqlite: OpenSqlite) -> None:
    async with AsyncExitStack() as stack:
        opened = await asyncio.gather(*(stack.enter_async_context(open_sqlite()) for _ in range(5)))
        assert threads() == 1
        assert all(one.broker.shares_store(opened[0].backend) for one in opened)  # type: ignore[attr-defined]


async def test_a_refused_file_may_be_opened_later(path: Path, open_sqlite: OpenSqlite) -> None:
    path.mkdir()
    assert "is a folder" in await refusal(f"sqlite:///{path}")
    path.rmdir()
    async with open_sqlite() as opened:
        await opened.broker.publish([message("a")])
    assert opening._shared == {}


async def test_an_opening_that_is_cancelled_leaves_nothing_open(open_sqlite: OpenSqlite) -> None:
    opening_it = asyncio.ensure_future(open_sqlite().__aenter__())
    await asyncio.sleep(0)
    assert threads() == 1
    opening_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening_it
    async with asyncio.timeout(PATIENCE):
        while threads():  # noqa: ASYNC110 - a thread that ends tells nobody
            await asyncio.sleep(0.001)
    assert opening._shared == {}


async def test_namespaces_do_not_see_one_another(open_sqlite: OpenSqlite) -> None:
    async with open_sqlite(namespace="one") as one, open_sqlite(namespace="two") as two:
        for store in (one, two):
            await store.broker.publish([message("a", payload=store.broker._namespace.encode())])  # type: ignore[attr-defined]
        (delivery,) = await claim(one.broker)
        assert delivery.message.payload == b"one"
        assert (await two.broker.depth(["default"]))["default"].ready == 1
        assert (await one.broker.extend([delivery.receipt], 60.0))[0].kind == "done"
        assert (await two.broker.extend([delivery.receipt], 60.0))[0].kind == "lost"
        await one.backend.record([status("a")])
        await one.state.put("things", "key", b"value")
        assert (await two.backend.get(["a"]), await two.state.list("things")) == ({}, [])
        await one.broker.publish([message("only-one", queue="mine")])
        assert (await two.broker.queues(), await two.broker.purge("mine")) == (["default"], 0)
        listener = two.broker.listen(["news"], since=0.0)  # type: ignore[attr-defined]
        await one.broker.send("news", b"of one", 60.0)  # type: ignore[attr-defined]
        await two.broker.send("news", b"of two", 60.0)  # type: ignore[attr-defined]
        assert await anext(listener) == ("news", b"of two")


async def test_relative_paths_start_from_the_folder_of_the_settings(tmp_path: Path) -> None:
    url = StoreUrl.parse("sqlite:///jobs.db")
    assert opening.database_path(url, str(tmp_path)) == tmp_path / "jobs.db"
    assert opening.database_path(url, None) == Path.cwd() / "jobs.db"
    assert opening.database_path(StoreUrl.parse(f"sqlite:///{tmp_path}/a%20b.db"), "/elsewhere") == tmp_path / "a b.db"


async def test_a_link_leads_to_the_same_bells(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert opening.database_path(StoreUrl.parse(f"sqlite:///{tmp_path}/link/x.db"), None) == tmp_path / "real" / "x.db"


async def test_the_home_of_the_default_is_made(tmp_path: Path) -> None:
    url = StoreUrl.parse(f"sqlite:///{tmp_path}/.stem/stem.db")
    async with opening.open_broker(StoreContext(url=url, namespace="test")):
        pass
    assert (tmp_path / ".stem" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / ".stem" / "stem.db").is_file()


async def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert await refusal(f"sqlite:///{tmp_path}/none/stem.db") == (
        f"cannot open the database {tmp_path}/none/stem.db: there is no folder {tmp_path}/none\n"
        "  hint: create the folder"
    )


async def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert await refusal(f"sqlite:///{tmp_path}/file/.stem/stem.db") == (
        f"cannot open the database {tmp_path}/file/.stem/stem.db: the folder {tmp_path}/file/.stem cannot be made: "
        "Not a directory\n  hint: run where files may be written, or name another file with STEM_BROKER_URL"
    )


async def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert await refusal(f"sqlite:///{tmp_path}") == (
        f"{tmp_path} is a folder, not a database file\n  hint: name a file inside it, such as stem.db"
    )


@pytest.mark.parametrize("unwritable", ["file", "folder"])
async def test_what_cannot_be_written_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, open_sqlite: OpenSqlite, unwritable: str
) -> None:
    async with open_sqlite():
        pass
    # Root may write everywhere, so the answer of the system is replaced.
    closed = path if unwritable == "file" else path.parent
    monkeypatch.setattr("os.access", lambda asked, _: Path(asked) != closed)
    what = "the file" if unwritable == "file" else f"the folder {path.parent}"
    assert (await refusal(f"sqlite:///{path}")).startswith(
        f"cannot open the database {path}: {what} cannot be written\n  hint: see to its permissions"
    )


async def test_a_folder_that_takes_no_files_is_refused() -> None:
    # Not even root may put a file there.
    refused = await refusal("sqlite:////proc/stem.db")
    assert refused.startswith("cannot ")
    assert "/proc" in refused
    assert "\n  hint: see " in refused


async def test_no_database_is_refused(path: Path) -> None:
    path.write_text("These are the notes of somebody, and no database at all.\n" * 50)
    assert await refusal(f"sqlite:///{path}") == (
        f"cannot use the database {path}: it is not an SQLite database (file is not a database)\n"
        "  hint: name another file in the URL; this one was not touched"
    )
    assert path.read_text().startswith("These are the notes")


async def test_the_file_of_another_program_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE orders (id INTEGER)")
    other.close()
    assert await refusal(f"sqlite:///{path}") == (
        f"the database {path} holds the tables of another program\n  hint: give Stem a file of its own in the URL"
    )


async def test_a_newer_schema_is_refused(path: Path, open_sqlite: OpenSqlite) -> None:
    async with open_sqlite():
        pass
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    other.close()
    assert await refusal(f"sqlite:///{path}") == (
        f"the database {path} has schema version 2; this stem-sqlite supports up to 1\n"
        "  hint: upgrade stem-sqlite in this environment, or use another file"
    )


async def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    assert await refusal(f"sqlite:///{path}") == (
        "this Python comes with SQLite 3.34.1; stem-sqlite needs 3.35.0 or newer\n"
        "  hint: use a Python that is built with a newer SQLite, or another broker"
    )


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sqlite://jobs.db", "the URL sqlite://jobs.db names no file"),
        ("sqlite:///", "the URL sqlite:/// names no file"),
        ("sqlite:///:memory:", "sqlite keeps its queues in a file"),
        ("sqlite:///jobs.db?timeout=5", "the URL sqlite:///jobs.db?timeout=5 has options; sqlite:// takes none"),
    ],
)
async def test_urls_that_name_no_file_are_refused(url: str, text: str) -> None:
    refused = await refusal(url)
    assert refused.startswith(text)
    assert "\n  hint: " in refused


@pytest.mark.parametrize(("setting", "level"), [("full", 2), ("normal", 1)])
async def test_what_counts_as_written(open_sqlite: OpenSqlite, setting: str, level: int) -> None:
    async with open_sqlite(settings=SqliteSettings(synchronous=setting)) as opened:  # type: ignore[arg-type]
        database = opened.broker._database  # type: ignore[attr-defined]
        assert await database.read(lambda tx: tx.row("PRAGMA synchronous")[0]) == level
        assert await database.read(lambda tx: tx.row("PRAGMA journal_mode")[0]) == "wal"


async def test_everything_outlives_the_session(open_sqlite: OpenSqlite) -> None:
    clock = FakeClock()
    async with open_sqlite(clock) as opened:
        await opened.broker.publish([message("a"), message("b", delay=60.0)])
        version = await opened.state.put("things", "key", b"value")
    async with open_sqlite(clock) as opened:
        assert ids(await claim(opened.broker)) == ["a"]
        assert await opened.state.put("things", "other", b"value") > version
        clock.advance(60.0)
        assert "b" in ids(await claim(opened.broker))
