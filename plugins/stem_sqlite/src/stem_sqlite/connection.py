"""The one connection of an opened database: had when it is needed, had anew when the file was replaced, and closed
while the process forks.

What SQLite knows of the locks of its process is copied by a fork, but the locks are not: a child that opened the
database again would be taken by its own SQLite to hold what only the parent holds. The parent would end as the last
user and clear the log away under the child, and all that the child commits from then on would be lost.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self, TypeVar

import attrs

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_sqlite import schema
from stem_sqlite.failures import is_busy

#: Pauses between two attempts at a lock, in seconds: they grow from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.0002, 0.001
#: Prepared statements kept; each text of :class:`~stem_sqlite.transaction.Bulk` comes in nine widths.
_STATEMENTS = 256
#: How often to see that the file is still the one that was opened, in seconds.
_CHECKED_EVERY = 1.0

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class EngineOptions:
    """Which database, and how. Opened objects with equal options on one event loop share one engine."""

    #: Absolute.
    path: Path
    clock: Clock
    synchronous: Literal["full", "normal"]
    #: Seconds.
    busy_timeout: float
    #: Seconds; only used without named pipes.
    poll_interval: float


class Connector:
    """Gives the connection to one thread, which enters this for as long as it uses it. A fork waits for the end of
    that, and closes the connection."""

    def __init__(self, options: EngineOptions, replaced: Callable[[], None]) -> None:
        """``replaced()`` is called when the file was, and before it is opened anew."""
        self._options = options
        self._replaced = replaced
        self._connection: sqlite3.Connection | None = None
        #: The file that is open.
        self._opened: tuple[int, int] | None = None
        self._next_check = 0.0
        self._in_use = threading.Lock()
        with _registering:
            _connectors.add(self)

    def __enter__(self) -> Self:
        self._in_use.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._in_use.release()

    def connection(self) -> sqlite3.Connection:
        """The connection; opened at the first call, after a fork, and where the file was removed or replaced.

        Raises:
            StoreRefused, sqlite3.Error: it cannot be opened.
        """
        now = SYSTEM_CLOCK.monotonic()
        if self._connection is not None and now >= self._next_check:
            self._next_check = now + _CHECKED_EVERY
            if _identity(self._options.path) != self._opened:
                # Before the new one is opened: closing a file lets go of all locks that the process has on it, and
                # what SQLite keeps beside a database may be the same file still.
                self.disconnect()
                self._replaced()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def disconnect(self) -> None:
        """Close the connection; the next call of :meth:`connection` opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def retire(self) -> None:
        """There will be no more calls; the connection is closed."""
        with _registering:
            _connectors.discard(self)

    def patiently(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` returns once it does not find the database locked; tried for the busy timeout.

        SQLite's own waiting sleeps up to 100 ms at a time, and those who wait wake together.
        """
        # Real time, whatever the store's clock says.
        pause, limit = _FIRST_PAUSE, SYSTEM_CLOCK.monotonic() + self._options.busy_timeout
        while True:
            try:
                return attempt()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or SYSTEM_CLOCK.monotonic() >= limit:
                    raise
            time.sleep(random.uniform(pause / 2, pause))  # noqa: TID251 - nothing tells of another program's lock
            pause = min(pause * 1.5, _LAST_PAUSE)

    def _connect(self) -> sqlite3.Connection:
        path = self._options.path
        schema.check_library()
        schema.prepare_path(path)
        _clear_leftovers(path)
        # Any thread may fork, and closes it then.
        connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, cached_statements=_STATEMENTS, check_same_thread=False
        )
        try:
            self.patiently(lambda: schema.install(connection, path))
            for pragma in (
                f"synchronous = {self._options.synchronous}",
                # Debian's SQLite overwrites what is deleted with zeros, which doubles the writing.
                "secure_delete = OFF",
                "temp_store = MEMORY",
                "cache_size = -8000",
                # Pages, 8 MB: busy pages are rewritten by every commit, and go into the database once each checkpoint.
                # With SQLite's 1,000 a job costs a sixth more processor time; above 2,000 nothing is gained.
                "wal_autocheckpoint = 2000",
                f"journal_size_limit = {64 * 2**20}",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            self._opened = _identity(path)
        except BaseException:
            connection.close()
            raise
        return connection


def _clear_leftovers(path: Path) -> None:
    """Where a database was removed alone, remove what SQLite kept beside it: processes that still hold the old one
    share it, and a new one that took it over would cut it down under their feet (SIGBUS)."""
    beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
    if path.exists() or not any(file.exists() for file in beside):
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # One at a time, and the database is there when the next one looks: nobody removes what belongs to a new one.
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not path.exists():
            for file in beside:
                file.unlink(missing_ok=True)
            path.touch()
    finally:
        os.close(folder)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at ``path`` now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_connectors: set[Connector] = set()
#: Held by whoever changes the set, and during a fork.
_registering = threading.Lock()
_held: list[Connector] = []


def _before_fork() -> None:
    _registering.acquire()
    for connector in _connectors:
        connector.__enter__()
        _held.append(connector)
        connector.disconnect()


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().__exit__()
    _registering.release()


def _after_fork_in_child() -> None:
    # Neither the threads nor their connections are here.
    global _registering
    _held.clear()
    _connectors.clear()
    _registering = threading.Lock()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
