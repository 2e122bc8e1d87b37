"""Telling other processes that something was committed.

Whoever waits keeps a named pipe in a folder beside the database, one folder for each kind of news; whoever commits
news writes a byte into every pipe of that folder. A pipe without a reader belongs to a process that is gone, and is
removed. A bell that rings while nobody waits takes itself down, so a busy process is not rung for nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

#: A message became ready, or its due time is known.
WORK = "work"
#: A status became terminal.
RESULT = "result"
#: A broadcast was sent.
BROADCAST = "broadcast"
KINDS = (WORK, RESULT, BROADCAST)

_ENOUGH = 65_536


class Bells:
    """The bells of one opened database. All but :meth:`ring_others` belongs to the event loop."""

    def __init__(self, database: Path, loop: asyncio.AbstractEventLoop, rung: Callable[[str], bool]) -> None:
        """``rung(kind)`` is called on the loop when another process rings; it says whether anybody was waiting."""
        self._folder = database.with_name(database.name + "-wake")
        self._loop = loop
        self._rung = rung
        #: kind -> (file descriptor, file name)
        self._hung: dict[str, tuple[int, str]] = {}

    def hang(self, kind: str) -> None:
        """Be told of ``kind`` from now on; costs nothing when the bell hangs already.

        Raises:
            OSError: pipes cannot be made here.
        """
        if kind in self._hung:
            return
        folder = self._folder / kind
        name = f"{os.getpid()}-{secrets.token_hex(6)}"
        unready = folder / ("." + name)
        folder.mkdir(parents=True, exist_ok=True)
        os.mkfifo(unready)
        try:
            # Open for both, so that the pipe has no end while this process lives.
            descriptor = os.open(unready, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            unready.unlink()
            raise
        # Only now may others see it: without a reader they would take it for that of a dead process.
        unready.rename(folder / name)
        self._hung[kind] = (descriptor, name)
        self._loop.add_reader(descriptor, self._answer, kind)

    def _answer(self, kind: str) -> None:
        descriptor, _ = self._hung[kind]
        with suppress(BlockingIOError):
            os.read(descriptor, _ENOUGH)
        if not self._rung(kind):
            self._take_down(kind)

    def _take_down(self, kind: str) -> None:
        descriptor, name = self._hung.pop(kind)
        self._loop.remove_reader(descriptor)
        (self._folder / kind / name).unlink(missing_ok=True)
        os.close(descriptor)

    def close(self) -> None:
        """Take all bells down."""
        for kind in list(self._hung):
            self._take_down(kind)

    def ring_others(self, kinds: Iterable[str]) -> None:
        """Ring every bell but the own ones. Called by the thread that commits."""
        for kind in kinds:
            own = self._hung.get(kind, (0, ""))[1]
            # A folder that is not there has no bells, one that may not be read has none for this user.
            with suppress(OSError), os.scandir(self._folder / kind) as found:
                for bell in found:
                    if bell.name != own and not bell.name.startswith("."):
                        _ring(bell.path)


def _ring(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            with suppress(OSError):
                Path(path).unlink()
        return
    try:
        # A full pipe has been rung often enough, and a reader may have left in this moment.
        with suppress(OSError):
            os.write(descriptor, b"\1")
    finally:
        os.close(descriptor)
