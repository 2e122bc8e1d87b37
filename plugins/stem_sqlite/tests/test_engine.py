"""Group commit: what waits at the same time is committed together, and one failure touches nobody else."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from stem_core.errors import StoreRefused, StoreUnavailable
from stem_core.model import ACK, Settlement, Subscription, TaskState
from stem_core.testing.contracts.base import message, messages, status
from stem_sqlite.backend import SqliteBackend
from stem_sqlite.broker import SqliteBroker
from stem_sqlite.connection import EngineOptions
from stem_sqlite.database import Database
from stem_sqlite.publishing import publish
from stem_sqlite.transaction import Transaction


class Gate:
    """Holds the thread of a database inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()
        self._held = asyncio.ensure_future(database.write(self._hold))

    def _hold(self, transaction: Transaction) -> None:
        self._reached.set()
        assert self._open.wait(10)

    async def reached(self) -> None:
        """Return when the thread is held."""
        await asyncio.to_thread(self._reached.wait, 10)

    async def open(self) -> None:
        """Let the thread go on."""
        self._open.set()
        await self._held


def put(transaction: Transaction, name: str) -> Transaction:
    """Write something; two of one name fail."""
    transaction.change("INSERT INTO counters (name, value) VALUES (?, 1)", (name,))
    return transaction


async def names(database: Database) -> set[str]:
    """What :func:`put` wrote."""
    rows = await database.read(lambda tx: tx.rows("SELECT name FROM counters"))
    return {row[0] for row in rows} - {"claim", "version"}


async def started(database: Database, jobs: list[Callable[[Transaction], Any]]) -> list[asyncio.Future[Any]]:
    """The jobs, submitted in this order."""
    futures = [asyncio.ensure_future(database.write(job)) for job in jobs]
    await asyncio.sleep(0)
    return futures


async def test_what_waits_together_is_one_commit(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    futures = await started(database, [lambda tx, n=n: put(tx, f"n{n}") for n in range(50)])  # type: ignore[misc]
    await gate.open()
    transactions = await asyncio.gather(*futures)
    assert len({id(transaction) for transaction in transactions}) == 1
    assert await names(database) == {f"n{n}" for n in range(50)}


async def test_a_failure_touches_no_neighbour(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    jobs = [lambda tx, n=n: put(tx, n) for n in ("a", "claim", "b")]  # type: ignore[misc]
    futures = await started(database, jobs)
    await gate.open()
    done = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(done[0], Transaction)
    assert "UNIQUE constraint failed" in str(done[1])
    assert isinstance(done[2], Transaction)
    assert await names(database) == {"a", "b"}


async def test_neighbours_that_do_the_same_make_one_call(database: Database) -> None:
    calls: list[list[str]] = []

    def put_all(transaction: Transaction, given: Sequence[str]) -> None:
        calls.append(list(given))
        for name in given:
            put(transaction, name)

    gate = Gate(database)
    await gate.reached()
    writes = [
        asyncio.ensure_future(database.write_items(put_all, given, weight=1)) for given in (["a", "b"], ["c"], ["d"])
    ]
    between = asyncio.ensure_future(database.write(lambda tx: put(tx, "e")))
    writes.append(asyncio.ensure_future(database.write_items(put_all, ["f"], weight=1)))
    await asyncio.sleep(0)
    await gate.open()
    await asyncio.gather(*writes, between)
    assert calls == [["a", "b", "c", "d"], ["f"]], "what stands between them keeps its place"
    assert await names(database) == set("abcdef")


async def test_one_of_the_neighbours_fails_alone(database: Database) -> None:
    def put_all(transaction: Transaction, given: Sequence[str]) -> None:
        for name in given:
            put(transaction, name)

    gate = Gate(database)
    await gate.reached()
    writes = [
        asyncio.ensure_future(database.write_items(put_all, given, weight=1)) for given in (["a"], ["b", "b"], ["c"])
    ]
    await asyncio.sleep(0)
    await gate.open()
    first, second, third = await asyncio.gather(*writes, return_exceptions=True)
    assert (first, third) == (None, None)
    assert "UNIQUE constraint failed" in str(second)
    assert await names(database) == {"a", "c"}


async def test_half_of_a_failed_job_is_undone(database: Database) -> None:
    def half(transaction: Transaction) -> None:
        put(transaction, "half")
        raise LookupError("in the middle")

    with pytest.raises(LookupError, match="in the middle"):
        await database.write(half)
    assert await names(database) == set()


async def test_a_job_that_was_cancelled_in_the_queue_is_skipped(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    futures = await started(database, [lambda tx: put(tx, "kept"), lambda tx: put(tx, "cancelled")])
    futures[1].cancel()
    await asyncio.sleep(0)
    await gate.open()
    await futures[0]
    assert await names(database) == {"kept"}


async def test_a_worthless_job_takes_no_lock(database: Database, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    found = await database.write(lambda tx: put(tx, "never"), worth=lambda _: False, idle=None)
    other.close()
    assert found is None


async def test_readers_are_answered_while_another_process_writes(database: Database, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await names(database) == set()
    other.close()


async def test_a_lock_that_stays_is_unavailable(options: EngineOptions, path: Path) -> None:
    database = Database(attrs.evolve(options, busy_timeout=0.05))
    await database.start()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable) as caught:
        await database.write(lambda tx: put(tx, "late"))
    assert str(caught.value) == (
        f"the database {path} was locked by another process for 0.05 s\n"
        "  hint: see what holds it (a stopped process, a backup, an open sqlite3 shell), or raise sqlite.busy_timeout"
    )
    other.close()
    await database.write(lambda tx: put(tx, "later"))
    assert await names(database) == {"later"}
    await database.close()


async def test_a_lock_that_goes_is_waited_for(database: Database, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(database.write(lambda tx: put(tx, "patient")))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    other.close()
    await waiting
    assert await names(database) == {"patient"}


async def test_a_full_disk_is_unavailable(database: Database) -> None:
    pages = await database.read(lambda tx: tx.row("PRAGMA page_count")[0])
    await database.read(lambda tx: tx.rows(f"PRAGMA max_page_count = {pages + 2}"))
    large = [message(f"large-{n}", payload=b"x" * 20_000) for n in range(4)]
    with pytest.raises(StoreUnavailable, match="cannot be used now: the disk is full"):
        await database.write(lambda tx: publish(tx, "test", 0.0, large))
    await database.read(lambda tx: tx.rows("PRAGMA max_page_count = 100000"))
    await database.write(lambda tx: publish(tx, "test", 0.0, large))
    assert await database.read(lambda tx: tx.row("SELECT count(*) FROM messages")[0]) == 4


async def test_a_closed_database_says_so(options: EngineOptions) -> None:
    database = Database(options)
    await database.start()
    await database.close()
    with pytest.raises(StoreUnavailable, match="the database is closed"):
        await database.read(lambda tx: tx.rows("SELECT 1"))


async def test_what_was_asked_for_is_done_before_the_end(options: EngineOptions, path: Path) -> None:
    database = Database(options)
    await database.start()
    futures = await started(database, [lambda tx, n=n: put(tx, f"n{n}") for n in range(20)])  # type: ignore[misc]
    await database.close()
    await asyncio.gather(*futures)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM counters WHERE name LIKE 'n%'").fetchone() == (20,)
    other.close()


async def test_a_file_that_is_replaced_is_opened_anew(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stem_sqlite.connection._CHECKED_EVERY", 0.0)
    await database.write(lambda tx: put(tx, "old"))
    for file in path.parent.glob("stem.db*"):
        if file.is_file():
            file.unlink()
    await database.write(lambda tx: put(tx, "new"))
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM counters WHERE name IN ('old', 'new')").fetchall() == [("new",)]
    other.close()
    assert "was removed or replaced; opening it anew" in caplog.text


async def test_a_file_that_was_removed_alone_leaves_nothing_to_the_next(
    database: Database, options: EngineOptions, path: Path
) -> None:
    """The old database is still open: the next one must not cut down the memory that both would map."""
    await database.write(lambda tx: put(tx, "old"))
    beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
    old = [file.stat().st_ino for file in beside]
    path.unlink()
    fresh = Database(options)
    await fresh.start()
    assert await names(fresh) == set()
    assert not set(old) & {file.stat().st_ino for file in beside}
    await fresh.close()


async def test_a_file_that_is_replaced_by_something_else_is_refused(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stem_sqlite.connection._CHECKED_EVERY", 0.0)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreRefused, match="is a folder"):
        await database.write(lambda tx: put(tx, "new"))


@pytest.mark.parametrize("count", [1, 256, 1_000])
async def test_the_number_of_statements_does_not_grow_with_the_batch(database: Database, count: int) -> None:
    """A step of a statement lets go of the interpreter's lock, which costs 5 ms where a task computes."""
    said: list[str] = []
    await database.read(lambda tx: tx.connection.set_trace_callback(said.append))
    broker = SqliteBroker(database, "test", 600.0)
    assert broker.shares_store(SqliteBackend(database, "test"))
    await broker.publish(messages(count))
    deliveries = await broker.receive(Subscription.of("default"), count, 30.0)
    assert len(deliveries) == count
    settlements = [Settlement(receipt=delivery.receipt, action=ACK) for delivery in deliveries]
    statuses = [status(delivery.message.id, TaskState.SUCCEEDED) for delivery in deliveries]
    await broker.settle_with_results(settlements, statuses)
    # The trigger that clears the bodies repeats the text of its statement for each row, inside one step.
    assert len(set(said)) < 60
