"""One child process, as its parent sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stem_core.builtin.strategies.processes import frames
from stem_core.builtin.strategies.processes.ending import Ending, oom_kills, reap
from stem_core.builtin.strategies.processes.spawn import kill_group, spawn
from stem_core.contracts import ChildPlan

if TYPE_CHECKING:
    from stem_core.builtin.strategies.processes.job import Job

logger = logging.getLogger("stem_core.worker")

#: A child that was told to end and has not after so many seconds is killed.
END_GRACE = 5.0
#: Limits of a child differ by so much up and down, so that not all are replaced together.
JITTER = 0.1
#: How often an ended child is looked for where the system does not tell, in seconds.
REAP_EVERY = 0.01


class Owner(Protocol):
    """The pool, as a child sees it. All are called on the loop."""

    def on_ready(self, child: Child) -> None:
        """It can run calls."""

    def on_refused(self, child: Child, why: str) -> None:
        """It cannot, and ends."""

    def on_news(self, child: Child, message: bytes) -> None:
        """Said during the call that runs in it."""

    def on_done(self, child: Child, job: Job, report: bytes) -> None:
        """That call has ended, and the child is free."""

    def on_worn(self, child: Child) -> None:
        """It is free, and should be replaced."""

    def on_ended(self, child: Child, job: Job | None, ending: Ending) -> None:
        """The process is gone, with the job that ran in it."""


class Child:
    """Starts a process and keeps its sockets. On the loop, but for :meth:`kill`.

    Raises:
        OSError: the system has no room for another process.
        ConfigurationError: this interpreter does not know its own program.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, plan: ChildPlan) -> None:
        self._loop = loop
        self._owner = owner
        self._oom_kills = oom_kills()
        spawned = spawn()
        self.pid = spawned.pid
        self._data = spawned.data
        self._control = spawned.control
        self._buffer = frames.FrameBuffer()
        self._unsent = bytearray()
        #: Something could not be sent to it.
        self._deaf = False
        self._over = False
        self._number = 0
        # Makes "this job runs in it" and "kill it for this job" one step each.
        self._lock = threading.Lock()
        self.job: Job | None = None
        self.ready = False
        #: It has been told to end, or will be when its job has ended.
        self.leaving = False
        #: The child that takes its place; this one goes when that is ready.
        self.heir: Child | None = None
        self.tasks = 0
        self.ended = False
        self._max_tasks = _about(plan.max_tasks)
        self._max_memory = _about(plan.max_memory)
        self._too_old = False
        self._max_age = _about(plan.max_age)
        #: Counts from when it is ready: one that grew old before, on a busy machine, would have nobody to tell.
        self._age: asyncio.TimerHandle | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._pidfd = _open_pidfd(self.pid)
        if self._pidfd is not None:
            loop.add_reader(self._pidfd, self._exited)
        loop.add_reader(self._data.fileno(), self._readable)
        start = {"host": plan.host, "path": sys.path, "watch_memory": plan.max_memory is not None}
        self._send(frames.frame(frames.START, 0, json.dumps(start).encode() + b"\n" + plan.setup))

    def run(self, job: Job, request: bytes) -> None:
        """Give it a call; it must be ready and free."""
        with self._lock:
            self.job = job
        self._number += 1
        self._send(frames.frame(frames.CALL, self._number & 0xFFFFFFFF, request))

    def interrupt(self, reason: str) -> None:
        """Ask what runs in it to stop."""
        try:
            self._control.send(frames.frame(frames.INTERRUPT, self._number & 0xFFFFFFFF, reason.encode()))
        except OSError:
            # It is gone, or so stuck that a hundred interruptions lie unread: the end of its process is noticed.
            return

    def stop(self) -> None:
        """Let it end by itself; it is killed when it does not in time. It must be free."""
        self.leaving = True
        if self._overdue is None:
            self._overdue = self._loop.call_later(END_GRACE, self._kill_overdue)
        self._send(frames.frame(frames.STOP))

    def kill(self, job: Job | None = None) -> bool:
        """Kill it; any thread. With ``job``, only while that runs in it. Returns whether it was killed."""
        with self._lock:
            if self.ended or (job is not None and self.job is not job):
                return False
            kill_group(self.pid)
        return True

    @property
    def worn(self) -> bool:
        """Whether it has run enough, or is too old or too large, and should be replaced."""
        return self._too_old or (self._max_tasks is not None and self.tasks >= self._max_tasks)

    @property
    def heard(self) -> bool:
        """Whether it was sent all that there was: a call that it was not sent has not begun in it."""
        return not self._deaf and not self._unsent

    @property
    def memory(self) -> int:
        """Its resident memory now, in bytes; 0 where nobody tells."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0

    def _kill_overdue(self) -> None:
        logger.warning("child process %d has not ended in %g s and is killed", self.pid, END_GRACE)
        self.kill()

    def _grow_old(self) -> None:
        self._too_old = True
        if self.job is None:
            self._owner.on_worn(self)

    def _send(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._data.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Its end is noticed by the reader.
            self._deaf = True
            return
        if sent < len(data):
            self._unsent += data[sent:]
            self._loop.add_writer(self._data.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            del self._unsent[: self._data.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._deaf = True
            self._unsent.clear()
        if not self._unsent:
            self._loop.remove_writer(self._data.fileno())

    def _readable(self) -> None:
        while not self._over:
            try:
                data = self._data.recv(frames.CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._over = True
                self._loop.remove_reader(self._data.fileno())
                self._broken_off()
                return
            for kind, number, body in self._buffer.feed(data):
                self._take(kind, number, body)
            if len(data) < frames.CHUNK:
                return

    def _take(self, kind: int, number: int, body: bytes) -> None:
        if kind == frames.DONE:
            with self._lock:
                job, self.job = self.job, None
            assert job is not None
            self.tasks += 1
            (memory,) = frames.RSS.unpack_from(body)
            if self._max_memory is not None and memory > self._max_memory:
                self._too_old = True
            self._owner.on_done(self, job, body[frames.RSS.size :])
        elif kind == frames.NEWS:
            if self.job is not None and number == self._number & 0xFFFFFFFF:
                self._owner.on_news(self, body)
        elif kind == frames.READY:
            self.ready = True
            if self._max_age is not None:
                self._age = self._loop.call_later(self._max_age, self._grow_old)
            self._owner.on_ready(self)
        elif kind == frames.REFUSED:
            self._owner.on_refused(self, body.decode())

    def _broken_off(self) -> None:
        """It has closed its line: it ends, or should."""
        if self.job is not None:
            self.kill()
        if self._pidfd is None:
            self._exited()

    def _exited(self) -> None:
        if self.ended:
            return
        # What it said last is still to be read: a call that has ended is not one that was lost.
        self._readable()
        with self._lock:
            # What it started goes with it. Until it is reaped, its number is nobody else's.
            ending = None if self.ended else self._reap()
        if ending is None:
            self._loop.call_later(REAP_EVERY, self._exited)
            return
        self._close()
        job, self.job = self.job, None
        self._owner.on_ended(self, job, ending)

    def _reap(self) -> Ending | None:
        if self._pidfd is not None:
            kill_group(self.pid)
        ending = reap(self.pid, self._oom_kills)
        self.ended = ending is not None
        return ending

    def _close(self) -> None:
        if self._age is not None:
            self._age.cancel()
        if self._overdue is not None:
            self._overdue.cancel()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._loop.remove_reader(self._data.fileno())
        self._loop.remove_writer(self._data.fileno())
        self._data.close()
        self._control.close()


def _open_pidfd(pid: int) -> int | None:
    """Readable when the process has ended, whoever still holds its sockets; None where the system has no such thing."""
    opened: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    try:
        return None if opened is None else opened(pid)
    except OSError:
        return None


def _about(limit: float | None) -> float | None:
    return None if limit is None else limit * random.uniform(1 - JITTER, 1 + JITTER)
