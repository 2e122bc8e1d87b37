"""The huey that its consumer imports.

Equal durability: huey's ``SqliteStorage`` uses WAL by default, and ``fsync=True`` is its ``PRAGMA synchronous=2``
(FULL), so each commit is on the disk, as Stem's are. Its commits are one for taking a job and one for its result.
"""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path
from typing import Any

# By name: it is not there when types are checked.
huey: Any = importlib.import_module("huey").SqliteHuey(
    "benchmark",
    filename=os.environ["BENCH_HUEY"],
    journal_mode="wal",
    fsync=True,
    results=os.environ.get("BENCH_RESULTS", "1") == "1",
)


def _durable() -> None:
    found = [huey.storage.conn.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    if found != ["wal", 2]:
        raise AssertionError(f"huey runs with {found}: this would compare different things")


_durable()


def _add(a: int, b: int) -> int:
    return a + b


def _stamp() -> float:
    now = time.perf_counter()
    path = os.environ.get("BENCH_STAMP")
    if path:
        Path(path).write_text(f"{now!r}\n")
    return now


add: Any = huey.task()(_add)
stamp: Any = huey.task()(_stamp)
