"""The thread that works on the connection: takes what was asked for since the last time and commits it together."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from stem_sqlite.connection import Connector, EngineOptions
from stem_sqlite.doorbell import KINDS, Bells
from stem_sqlite.failures import is_busy, translate
from stem_sqlite.housekeeping import Housekeeper
from stem_sqlite.jobs import Job, run_all
from stem_sqlite.transaction import Transaction

#: A batch ends when it has about this many rows to write, so that other processes get their turn.
_BATCH_WEIGHT = 4_000
#: How soon housekeeping goes on that had more to do than one transaction should hold, in seconds.
_MORE_WORK = 0.02

_NO_NEWS: set[str] = set()
_logger = logging.getLogger("stem_sqlite")

Reply = tuple["asyncio.Future[Any]", Any, BaseException | None]


class Engine:
    """One thread, one connection. Replies reach the event loop by one wake-up a batch."""

    def __init__(
        self,
        options: EngineOptions,
        loop: asyncio.AbstractEventLoop,
        bells: Bells,
        deliver: Callable[[list[Reply], set[str]], None],
    ) -> None:
        """``deliver(replies, news)`` is called on the loop."""
        self._options = options
        self._loop = loop
        self._bells = bells
        self._deliver = deliver
        #: None, the last one, ends the thread.
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread: threading.Thread
        self._housekeeper = Housekeeper(options.clock)
        self._polling = False
        self._seen_version = 0
        self._connector = Connector(options, self._replaced)

    async def start(self) -> None:
        """Open the database in a new thread.

        Raises:
            StoreRefused: it cannot be used.
            StoreUnavailable: it stayed locked, or its disk is full.
        """
        started: asyncio.Future[None] = self._loop.create_future()
        # A daemon: an app that is never closed does not keep its process from ending; what was answered is committed.
        self._thread = threading.Thread(target=self._serve, args=(started,), name="stem-sqlite", daemon=True)
        self._thread.start()
        try:
            await started
        except BaseException:
            # Whoever was cancelled here will not close what was opened meanwhile.
            self._jobs.put(None)
            raise

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.put(job)

    async def close(self) -> None:
        """Do what is queued, then close the database and end the thread."""
        self._jobs.put(None)
        await asyncio.shield(self._ended)
        # Its last act was to say so; who counts threads after this finds none.
        self._thread.join()

    def poll(self) -> None:
        """Look for changes of other processes at intervals from now on."""
        if not self._polling:
            self._polling = True
            # The thread may be waiting without end; whatever it takes makes it look at the clock.
            self.submit(Job(self._loop.create_future(), _nothing, writes=False))

    def _serve(self, started: asyncio.Future[None]) -> None:
        try:
            with self._connector as connector:
                self._seen_version = _data_version(connector.connection())
        except Exception as error:
            self._connector.retire()
            self._post([(started, None, self._explained(error))])
            return
        self._post([(started, None, None)])
        more = True
        while more:
            batch, more = self._take()
            with self._connector:
                self._work(batch)
        with self._connector as connector:
            connector.disconnect()
        self._connector.retire()
        self._post([(self._ended, None, None)])

    def _work(self, batch: list[Job]) -> None:
        try:
            connection = self._connector.connection()
        except Exception as error:
            self._post([(job.future, None, self._explained(error)) for job in batch])
            return
        if batch:
            self._execute(connection, batch)
        elif self._polling:
            self._look_around(connection)
        if self._housekeeper.wanted(wrote=any(job.writes for job in batch)):
            self._tidy(connection)

    def _replaced(self) -> None:
        _logger.warning("the database %s was removed or replaced; opening it anew", self._options.path)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._bells.close)

    def _take(self) -> tuple[list[Job], bool]:
        """The jobs that wait, or none when it is time to look around; and whether there will be more."""
        timeout = None
        if self._housekeeper.behind:
            timeout = _MORE_WORK
        elif self._polling:
            timeout = self._options.poll_interval
        batch: list[Job] = []
        weight = 0
        try:
            job = self._jobs.get(timeout=timeout)
            while job is not None:
                batch.append(job)
                weight += job.weight
                if weight >= _BATCH_WEIGHT:
                    return batch, True
                job = self._jobs.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _execute(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> None:
        replies: list[Reply] = []
        jobs = [job for job in batch if not job.future.cancelled()]
        if all(job.worth is not None for job in jobs if job.writes):
            jobs = [job for job in jobs if not self._answered(connection, job, replies)]
        news = self._commit(connection, jobs, replies) if jobs else set()
        if news:
            self._bells.ring_others(news)
        self._post(replies, news)

    def _answered(self, connection: sqlite3.Connection, job: Job, replies: list[Reply]) -> bool:
        """Answer a job without the write lock; False when it has to write."""
        look = job.run if job.worth is None else job.worth
        try:
            found = self._connector.patiently(lambda: look(Transaction(connection)))
        except Exception as error:
            replies.append((job.future, None, self._explained(error)))
            return True
        if job.worth is None:
            replies.append((job.future, found, None))
        elif not found:
            replies.append((job.future, job.idle, None))
        else:
            return False
        return True

    def _commit(self, connection: sqlite3.Connection, jobs: Sequence[Job], replies: list[Reply]) -> set[str]:
        """Do the jobs in one transaction; the news for others. When one fails, each gets a transaction of its own."""
        transaction = Transaction(connection)
        try:
            self._connector.patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            values = run_all(transaction, jobs)
            connection.execute("COMMIT")
        except Exception as error:
            _roll_back(connection)
            if len(jobs) == 1 or is_busy(error):
                replies.extend((job.future, None, self._explained(error)) for job in jobs)
                return set()
            return set().union(*(self._commit(connection, [job], replies) for job in jobs))
        replies.extend((job.future, value, None) for job, value in zip(jobs, values, strict=True))
        self._housekeeper.buried |= transaction.buried
        return transaction.news

    def _tidy(self, connection: sqlite3.Connection) -> None:
        try:
            if self._housekeeper.finds_work(Transaction(connection)):
                connection.execute("BEGIN IMMEDIATE")
                self._housekeeper.work(Transaction(connection))
                connection.execute("COMMIT")
        except Exception as error:
            _roll_back(connection)
            # Busy: another process is at it, or has something better to do.
            if not is_busy(error):
                _logger.warning("clearing old records from %s failed: %s", self._options.path, error)

    def _look_around(self, connection: sqlite3.Connection) -> None:
        try:
            version = _data_version(connection)
        except sqlite3.Error:
            # Whoever asks for something meets the error where it can be raised.
            return
        if version != self._seen_version:
            self._seen_version = version
            self._post([], set(KINDS))

    def _explained(self, error: Exception) -> Exception:
        cause = translate(error, self._options.path, self._options.busy_timeout)
        if cause is not error:
            cause.__cause__ = error
        return cause

    def _post(self, replies: list[Reply], news: set[str] = _NO_NEWS) -> None:
        # Nobody is left to tell when the loop is closed.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, replies, news)


def _nothing(transaction: Transaction) -> None:
    """A job that does nothing."""


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchall()[0][0])


def _roll_back(connection: sqlite3.Connection) -> None:
    # A full disk may have rolled it back already.
    if connection.in_transaction:
        connection.execute("ROLLBACK")
