"""What SQLite has to give: claim a batch, run a coroutine for each, record results and delete; FULL durability."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
from collections.abc import Sequence

import msgspec

from benchmarks.drivers.raw_memory import BATCH, add, job
from benchmarks.gauges import Stopwatch, memory, named
from benchmarks.model import Request

_TABLES = """
CREATE TABLE jobs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, leased_until REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX jobs_lease ON jobs (leased_until, seq);
CREATE TABLE results (id TEXT PRIMARY KEY, result BLOB NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID;
"""
_INSERT = "INSERT INTO jobs (id, leased_until, body) VALUES (?, 0, ?)"
_CLAIM = """
UPDATE jobs SET leased_until = ?1 + 30 WHERE seq IN (
    SELECT seq FROM jobs WHERE leased_until < ?1 ORDER BY leased_until, seq LIMIT ?2) RETURNING seq, id, body
"""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[str, tuple[int, int]]).decode


def _connect(request: Request) -> sqlite3.Connection:
    database = sqlite3.connect(request.url, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA secure_delete = OFF")
    database.executescript(_TABLES)
    return database


def _insert(database: sqlite3.Connection, jobs: Sequence[tuple[str, bytes]]) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.executemany(_INSERT, jobs)
    database.execute("COMMIT")


def enqueue(request: Request) -> dict[str, float]:
    """A transaction each, a transaction a hundred, one for all."""
    database, sizes = _connect(request), request.sizes
    found: dict[str, float] = {}
    rounds = {
        "enqueue_one": (sizes.enqueue_one, 1),
        "enqueue_gather": (sizes.gather_rounds, 100),
        "enqueue_bulk": (1, sizes.bulk),
    }
    for key, (times, jobs) in rounds.items():
        watch = Stopwatch()
        for _ in range(times):
            _insert(database, [job(number) for number in range(jobs)])
        found[key] = watch.rate(times * jobs)
    return found


def drain(request: Request) -> dict[str, float]:
    """Results kept."""
    return named("drain", asyncio.run(_drain(request, results=True)))


def drain_bare(request: Request) -> dict[str, float]:
    """No results."""
    return named("drain_bare", asyncio.run(_drain(request, results=False)))


async def _drain(request: Request, *, results: bool) -> dict[str, float]:
    database, jobs = _connect(request), request.sizes.drain
    loop = asyncio.get_running_loop()
    _insert(database, [job(number) for number in range(jobs)])

    async def run(seq: int, id: str, body: bytes, done: list[tuple[int, str, bytes]]) -> None:
        _, (a, b) = _decode(body)
        done.append((seq, id, _encode(await add(a, b))))

    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    watch = Stopwatch()
    while True:
        now = time.time()  # noqa: TID251 - no framework, no Clock
        database.execute("BEGIN IMMEDIATE")
        claimed = database.execute(_CLAIM, (now, BATCH)).fetchall()
        database.execute("COMMIT")
        if not claimed:
            break
        done: list[tuple[int, str, bytes]] = []
        await asyncio.gather(*[loop.create_task(run(seq, id, body, done)) for seq, id, body in claimed])
        database.execute("BEGIN IMMEDIATE")
        if results:
            database.executemany(
                "INSERT INTO results VALUES (?, ?, ?)", [(id, result, now + 86_400) for _, id, result in done]
            )
        database.executemany("DELETE FROM jobs WHERE seq = ?", [(seq,) for seq, _, _ in done])
        database.execute("COMMIT")
    found = {"rate": watch.rate(jobs), "cpu": watch.cpu(jobs), **memory("rss", "VmHWM")}
    kept = database.execute("SELECT count(*) FROM results").fetchone()[0]
    if database.execute("SELECT count(*) FROM jobs").fetchone()[0] or kept != results * jobs:
        raise AssertionError("the loop lost a job")
    return found
