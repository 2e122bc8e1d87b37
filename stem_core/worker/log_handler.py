"""Log lines that go to a descriptor of this process, and never keep who logs waiting for its reader."""

from __future__ import annotations

import logging
import os
import select
import threading
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock

#: Bytes that are held while nobody reads; what comes then is dropped and counted.
HELD = 8 * 2**20
#: Who logs waits so long for its line to be written, in seconds: what ends the process next finds it written.
_PATIENCE = 0.05
#: What is held at the end of the process may take so long, in seconds.
_AT_THE_END = 1.0

#: Linux: write what a pipe or a socket has room for, and do not wait.
_NOWAIT = getattr(os, "RWF_NOWAIT", None)

logger = logging.getLogger("stem_core.worker")


class QueuedHandler(logging.Handler):
    """Writes each line to ``descriptor``, in order and normally before the call that logs returns; on a thread of its
    own where that may block.

    Where nobody reads (a full pipe, a stopped terminal), lines are held, then dropped; how many were is told in their
    place. :meth:`flush`, and so :func:`logging.shutdown`, waits for what is held, for a second at most.
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        super().__init__()
        self._descriptor = descriptor
        self._encoding = encoding
        self._queue: SimpleQueue[tuple[bytes, Lock] | None] = SimpleQueue()
        #: It is started when a line has to wait, and :attr:`_process` is then the process that it is in.
        self._thread: threading.Thread | None = None
        self._process: int | None = None
        self._ended = False
        # Bytes; the first is changed under the lock of the handler, the second by the writer alone.
        self._taken = self._written = 0
        self._dropped = 0
        self._stuck = False
        #: How much was written when a flush gave up: while that is all, the next would wait in vain too, and each takes
        #: of the time that the end of a stop has.
        self._given_up_at = -1

    def emit(self, record: logging.LogRecord) -> None:
        """Format the line here, where its context is, and have it written."""
        try:
            line = self._bytes(record)
            if self._process is not None and self._process != os.getpid():
                # A task forked: this is its process, without the thread, and may end without a word.
                self._write(line)
            elif not self._ended:
                self._take(line)
            elif self._taken == self._written:
                self._write(line)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, for a second at most; not again before something is read."""
        if self._process != os.getpid():
            return
        self.acquire()
        try:
            if self._dropped and self._room:
                self._tell()
            if self._written in (self._taken, self._given_up_at) or self._put(b"").acquire(timeout=_AT_THE_END):
                return
            written = self._written
            if written != self._taken:
                self._given_up_at = written
        finally:
            self.release()

    def close(self) -> None:
        """End the thread, when all is written; waits as :meth:`flush` does."""
        self.flush()
        self._ended = True
        if self._thread is not None and self._process == os.getpid():
            self._queue.put(None)
            if self._taken == self._written:
                self._thread.join(_AT_THE_END)
        super().close()

    @property
    def _room(self) -> bool:
        # After a loss it goes on only when half is read: a slow reader is told of few gaps, not of one a line.
        return self._taken - self._written < (HELD // 2 if self._dropped else HELD)

    def _take(self, line: bytes) -> None:
        if not self._room:
            self._dropped += 1
            return
        if self._dropped:
            self._tell()
        if self._taken == self._written:
            # Nothing is before it. A change of threads and back would take six times as long as all of the rest.
            line = _write_now(self._descriptor, line)
            if not line:
                return
        written = self._put(line)
        if not self._stuck and not written.acquire(timeout=_PATIENCE):
            self._stuck = self._taken != self._written

    def _tell(self) -> None:
        dropped, self._dropped = self._dropped, 0
        message = "nobody read this log for a while: %d lines are missing here"
        self._put(self._bytes(logger.makeRecord(logger.name, logging.WARNING, "", 0, message, (dropped,), None)))

    def _put(self, line: bytes) -> Lock:
        if self._thread is None:
            self._process = os.getpid()
            self._thread = threading.Thread(target=self._run, name="stem-log", daemon=True)
            self._thread.start()
        written = Lock()
        written.acquire()
        self._taken += len(line)
        self._queue.put((line, written))
        return written

    def _bytes(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode(self._encoding, "backslashreplace")

    def _run(self) -> None:
        while (held := self._queue.get()) is not None:
            line, written = held
            self._write(line)
            self._written += len(line)
            if self._queue.empty():
                self._stuck = False
            written.release()

    def _write(self, line: bytes) -> None:
        # Not through the stream: its lock would be held while nobody reads, and the end of the interpreter wants it.
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:
                with suppress(OSError, ValueError):
                    select.select([], [self._descriptor], [])
            except OSError:
                # Who read it is gone.
                return


def _write_now(descriptor: int, line: bytes) -> bytes:
    """What is left of the line when as much was written as could be without waiting."""
    if _NOWAIT is None:
        return line
    try:
        return line[os.pwritev(descriptor, [line], -1, _NOWAIT) :]
    except (OSError, NotImplementedError):
        # It would block, or the kernel cannot tell of such a file.
        return line
