"""What a Redis server has done, asked over its unix socket. Nothing but the standard library: peers use it too."""

from __future__ import annotations

import os
import re
import socket
from typing import BinaryIO, Self

Reply = bytes | int | None | list["Reply"]


class Server:
    """A blocking connection, for questions between measurements."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._file: BinaryIO = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, *words: str | int) -> Reply:
        """One command, one reply.

        Raises:
            RuntimeError: the server refuses.
        """
        parts = [str(word).encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in parts))
        return self._reply()

    def _reply(self) -> Reply:
        line = self._file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            return self._file.read(size + 2)[:-2]
        return [self._reply() for _ in range(size)]

    def count(self, pattern: str) -> int:
        """Keys that look like this."""
        found = self.ask("KEYS", pattern)
        assert isinstance(found, list)
        return len(found)

    def work(self) -> tuple[float, int]:
        """Seconds of processor time, and commands, since the server was started or its statistics were reset."""
        info = self.ask("INFO", "cpu", "commandstats")
        assert isinstance(info, bytes)
        seconds = sum(float(one) for one in re.findall(rb"^used_cpu_(?:user|sys):([\d.]+)", info, re.MULTILINE))
        # Those that scripts call count as well; INFO is ours.
        calls = re.findall(rb"^cmdstat_(?!info:)[^:]+:calls=(\d+)", info, re.MULTILINE)
        return seconds, sum(int(one) for one in calls)


class ServerWatch:
    """What the server of this sample has done since this was made; nothing when the sample has none."""

    def __init__(self) -> None:
        self._path = os.environ.get("BENCH_REDIS", "")
        if self._path:
            with Server(self._path) as server:
                self._seconds, self._calls = server.work()

    def found(self, jobs: int) -> dict[str, float]:
        """``server_cpu`` in microseconds, and ``commands``, for each job until now."""
        if not self._path:
            return {}
        with Server(self._path) as server:
            seconds, calls = server.work()
        return {"server_cpu": (seconds - self._seconds) / jobs * 1e6, "commands": (calls - self._calls) / jobs}
