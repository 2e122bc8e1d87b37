"""A child process: ``python -m stem_core.builtin.strategies.processes.child``, started by the worker and nobody else.

The main thread takes calls from one socket and runs them. A small thread reads interruptions from the other; the end
of that one means that the parent is gone, and then so is this process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from stem_core.builtin.strategies.processes import frames
from stem_core.builtin.strategies.processes.spawn import CONTROL_FD, DATA_FD
from stem_core.contracts import ChildHost, ChildOpener

#: The parent decides when this process ends. No SIG_IGN: that would be inherited by what tasks start.
_UNHEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: The kernel, short of memory, takes a child before the worker.
_OOM_SCORE = "500"
_PR_SET_PDEATHSIG = 1


class _Line:
    """The sockets to the parent."""

    def __init__(self, data: socket.socket, control: socket.socket) -> None:
        self._data = data
        self._control = control
        self._sending = threading.Lock()
        self.reader = frames.FrameReader(data)
        # Guards which call an interruption is for.
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._early: tuple[int, str] | None = None

    def send(self, kind: int, number: int = 0, body: bytes = b"") -> None:
        """Send one frame; any thread. A parent that is gone needs none."""
        with self._sending:
            try:
                self._data.sendall(frames.frame(kind, number, body))
            except ConnectionError:
                return

    def begin(self, number: int) -> Link:
        """A call begins."""
        link = Link(self, number)
        with self._lock:
            self._link = link
            early, self._early = self._early, None
        if early is not None and early[0] == number:
            link.interrupt(early[1])
        return link

    def end(self, link: Link) -> None:
        """That call has ended: nothing is for it any more."""
        with self._lock:
            self._link = None
        link.close()

    def listen(self) -> None:
        """The life of the small thread."""
        reader = frames.FrameReader(self._control)
        while (found := reader.read()) is not None:
            _, number, reason = found
            with self._lock:
                link = self._link
                if link is None or link.number != number:
                    # The call may still be on its way through the other socket; one that has ended has a lower number.
                    self._early = (number, reason.decode())
                    continue
            link.interrupt(reason.decode())
        _end_with_parent()


class Link:
    """The :class:`~stem_core.contracts.ChildLink` of one call."""

    __slots__ = ("_callback", "_line", "_lock", "_over", "_reason", "number")

    def __init__(self, line: _Line, number: int) -> None:
        self._line = line
        self.number = number
        self._lock = threading.Lock()
        self._over = False
        self._reason: str | None = None
        self._callback: Callable[[str], None] | None = None

    def tell(self, message: bytes) -> None:
        """Send it, unless the call has ended."""
        with self._lock:
            if not self._over:
                self._line.send(frames.NEWS, self.number, message)

    def on_interrupt(self, callback: Callable[[str], None]) -> None:
        """Call this when the call has to stop."""
        with self._lock:
            self._callback = callback
            reason = self._reason
        if reason is not None:
            callback(reason)

    def interrupt(self, reason: str) -> None:
        """Stop the call; the first reason stays."""
        with self._lock:
            if self._over or self._reason is not None:
                return
            self._reason = reason
            callback = self._callback
        if callback is not None:
            callback(reason)

    def close(self) -> None:
        """The call has ended."""
        with self._lock:
            self._over = True


def main(arguments: list[str]) -> int:
    """The life of the process; returns its exit code."""
    with socket.socket(fileno=DATA_FD) as data, socket.socket(fileno=CONTROL_FD) as control:
        # What a task starts must not hold the line: its end is how either side knows of the other's.
        data.set_inheritable(False)
        control.set_inheritable(False)
        _settle_in(arguments)
        line = _Line(data, control)
        threading.Thread(target=line.listen, name="stem-parent", daemon=True).start()
        return _live(line)


def _live(line: _Line) -> int:
    found = line.reader.read()
    if found is None:
        return 1
    head, _, setup = found[2].partition(b"\n")
    start = json.loads(head)
    sys.path[:] = start["path"]
    ready = False
    try:
        with _opener(start["host"])(setup) as host:
            line.send(frames.READY)
            ready = True
            _serve(line, host, _memory if start["watch_memory"] else _no_memory)
    except BaseException as error:
        if ready:
            raise
        line.send(frames.REFUSED, 0, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))
        return 1
    return 0


def _serve(line: _Line, host: ChildHost, memory: Callable[[], int]) -> None:
    while True:
        found = line.reader.read()
        if found is None:
            _end_with_parent()
            return
        kind, number, request = found
        if kind == frames.STOP:
            return
        link = line.begin(number)
        try:
            report = host.run(request, link)
        finally:
            line.end(link)
        line.send(frames.DONE, number, frames.RSS.pack(memory()) + report)


def _opener(name: str) -> ChildOpener:
    module, _, function = name.partition(":")
    opener: ChildOpener = getattr(importlib.import_module(module), function)
    return opener


def _settle_in(arguments: list[str]) -> None:
    for number in _UNHEARD:
        signal.signal(number, _nothing)
    # A crash inside a C library shows where it was.
    faulthandler.enable()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    for argument in arguments:
        _die_with(int(argument.removeprefix("--parent=")))


def _die_with(parent: int) -> None:
    """Where the kernel can, it ends this process with its parent even while a task holds the interpreter."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _end_with_parent() -> None:
    """Nobody renews the lease of what runs here, so it must not go on; nor what it has started."""
    with contextlib.suppress(OSError):
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _memory() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        # Where there is no /proc: the most it ever had, in bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _no_memory() -> int:
    return 0


def _nothing(number: int, frame: FrameType | None) -> None:
    """Only its existence matters: it keeps the default action from happening, and is not inherited."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
