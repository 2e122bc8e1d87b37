"""The line between a replica and its supervisor: what it is given, that it is ready or cannot be, and the end of
either."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import msgspec

#: Where a replica finds its end.
LINK_FD = 3


class Setup(msgspec.Struct):
    """What a replica is started with: the command line of its supervisor, and its place."""

    #: ``module:attribute``, as it was given; None: not on the command line.
    app: str | None
    #: Settings of the command line by dotted key.
    settings: dict[str, Any]
    #: As given with ``-p``; None: not at all.
    plugins: list[str] | None
    burst: bool
    #: Which replica it is, from 1.
    number: int = 0
    #: Whether it shows the banner.
    banner: bool = True


class Ready(msgspec.Struct, tag="ready"):
    """It takes work; and so long it takes to stop, in seconds."""

    shutdown_timeout: float
    soft_margin: float
    hard_margin: float


class Refused(msgspec.Struct, tag="refused"):
    """It cannot be started, and why. The exit code follows."""

    why: str


def encode(message: Setup | Ready | Refused) -> bytes:
    """One line."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def decode(line: bytes) -> Ready | Refused | None:
    """What a replica said; None for what a task may have written into a descriptor that is not its own."""
    try:
        return msgspec.json.decode(line, type=Ready | Refused)
    except (msgspec.MsgspecError, ValueError):
        return None


class Link:
    """The replica's end. Made first thing in the process; from then on the end of the supervisor is its end, too."""

    def __init__(self, descriptor: int = LINK_FD) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # What a task starts must not hold the line: its end is how either side knows of the other's.
        self._socket.set_inheritable(False)
        with self._socket.makefile("rb") as stream:
            line = stream.readline()
        if not line:
            os._exit(1)
        self.setup = msgspec.json.decode(line, type=Setup)
        self._lock = threading.Lock()
        self._gone = False
        self._on_gone: Callable[[], None] | None = None
        threading.Thread(target=self._watch, name="stem-supervisor", daemon=True).start()

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call this, from any thread, when the supervisor is gone. Until it is given, the process ends then."""
        with self._lock:
            self._on_gone = callback
            gone = self._gone
        if gone:
            callback()

    def ready(self, shutdown_timeout: float, soft_margin: float, hard_margin: float) -> None:
        """Tell that this worker takes work from now on."""
        self._send(Ready(shutdown_timeout=shutdown_timeout, soft_margin=soft_margin, hard_margin=hard_margin))

    def refused(self, why: str) -> None:
        """Tell why this worker cannot be started; the supervisor shows it once."""
        self._send(Refused(why=why))

    def _send(self, message: Ready | Refused) -> None:
        # A supervisor that is gone needs to know nothing.
        with contextlib.suppress(OSError):
            self._socket.sendall(encode(message))

    def _watch(self) -> None:
        # Nothing is ever sent after the setup.
        with contextlib.suppress(OSError):
            self._socket.recv(1)
        with self._lock:
            self._gone = True
            callback = self._on_gone
        if callback is None:
            os._exit(1)
        callback()
