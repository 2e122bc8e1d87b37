"""Real worker processes on a database of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from stem_core import Stem
from stem_core.contracts import KeepsDeadLetters
from stem_core.model import DeadMessage, Delivery, QueueDepth, Subscription, TaskStatus
from support.ledger import Ledger

_TESTS = Path(__file__).parents[1]

Line = dict[str, Any]


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """So long it has been running."""
        return time.monotonic() - self._begin


class WorkerProc:
    """One ``python -m stem_core worker``; its log is read as it comes."""

    def __init__(self, site: Site, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        command = [*site.prefix, sys.executable, "-m", "stem_core", "worker", "-A", site.app, *arguments]
        #: Seconds since the epoch when it was started.
        self.started_at = time.time()
        self._process = subprocess.Popen(
            command,
            cwd=site.folder,
            env=site.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        #: The log so far; what is no JSON stands under ``text``.
        self.lines: list[Line] = []
        self._changed = threading.Condition()
        self._hung_up = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for text in stream:
                if self._hung_up:
                    break
                try:
                    line = json.loads(text)
                except ValueError:
                    line = {"text": text.rstrip("\n"), "message": text}
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, matches: Callable[[Line], object], timeout: float = 20.0) -> Line:
        """The first line of the log that matches, once it is there.

        Raises:
            TimeoutError: there is none; shows the log.
        """

        def found() -> Line | None:
            return next((line for line in self.lines if matches(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or not self._reader.is_alive(), timeout)
            line = found()
            if line is None:
                raise TimeoutError(f"no such line in the log of {self.pid}:\n" + self.text())
            return line

    def wait_for_message(self, part: str, timeout: float = 20.0) -> Line:
        """The first line whose message has this part."""
        return self.wait_for(lambda line: part in line["message"], timeout)

    def ready(self) -> WorkerProc:
        """Return once the banner is complete: everything is open, and signals are heard."""
        self.wait_for(lambda line: line["message"].startswith("stop: "))
        return self

    def text(self) -> str:
        """The log, readable."""
        return "\n".join(f"{line.get('level', '')} {line['message']}" for line in self.lines)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def hang_up(self) -> None:
        """Read no more of its log: after its next line, each breaks its pipe."""
        self._hung_up = True

    def kill9(self) -> None:
        """Kill it, and take it off the process table."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout: float = 20.0) -> int:
        """The exit code, once it has ended and its log is read; negative for a signal."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.pid} has not ended after {timeout} s:\n" + self.text()) from None
        self._reader.join(5)
        return code

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._reader.join(5)

    def rss_mib(self) -> float:
        """Its resident memory."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) / 1024

    def cpu_seconds(self) -> float:
        """The processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Site:
    """A folder with a ledger and, unless another URL is given, a database; and the workers started in it."""

    app = "support.jobs:app"

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/stem.db"
        self.ledger = Ledger(folder / "ledger")
        self.workers: list[WorkerProc] = []
        #: A command that turns itself into the worker, which stands behind it.
        self.prefix: tuple[str, ...] = ()
        self.environment = {
            name: given for name, given in os.environ.items() if not name.startswith(("STEM_", "PYTHON", "COV_"))
        } | {
            "PYTHONPATH": str(_TESTS),
            "STEM_BROKER_URL": self.url,
            "STEM_TEST_LEDGER": str(self.ledger.path),
            "STEM_WORKER_LOG_FORMAT": "json",
        }

    def worker(self, *arguments: str, ready: bool = True, **settings: object) -> WorkerProc:
        """Start a worker; ``settings`` go into its environment as ``STEM_WORKER_<NAME>``."""
        environment = {f"STEM_WORKER_{name.upper()}": str(given) for name, given in settings.items()}
        worker = WorkerProc(self, arguments, environment)
        self.workers.append(worker)
        return worker.ready() if ready else worker

    def producer(self) -> Stem:
        """An app that enqueues by name into the same database."""
        return Stem("producer", broker_url=self.url)

    async def enqueue(self, task: str, *arguments: object, count: int = 1, **options: Any) -> list[str]:
        """Enqueue the task so many times; the ids."""
        app = self.producer()
        async with app.open():
            calls = [app.call(task, arguments, **options) for _ in range(count)]
            return [handle.id for handle in await app.enqueue_many(calls)]

    async def status(self, id: str) -> TaskStatus:
        """What is known of a job."""
        app = self.producer()
        async with app.open():
            return await app.handle(id).status()

    async def claim(self, count: int, lease: float = 30.0) -> list[Delivery]:
        """Claim so many deliveries, as another worker would, within a second.

        Raises:
            TimeoutError: there were fewer.
        """
        found: list[Delivery] = []
        async with self.producer().open() as session, asyncio.timeout(1.0):
            while len(found) < count:
                found += await session.broker.receive(Subscription.of("default"), count, lease, suspects=count)
        return found

    async def dead(self) -> list[DeadMessage]:
        """The dead letters of the default queue."""
        async with self.producer().open() as session:
            assert isinstance(session.broker, KeepsDeadLetters)
            return await session.broker.dead_letters("default")

    async def depth(self) -> QueueDepth:
        """What the default queue holds."""
        async with self.producer().open() as session:
            return (await session.broker.depth(["default"]))["default"]

    def now(self) -> float:
        """Seconds since the epoch, by the clock that the ledger and a store on this machine tell."""
        return time.time()

    def freeze(self, worker: WorkerProc) -> None:
        """Stop the worker by SIGSTOP, until a SIGCONT. Not in the middle of a write to a database that all share: then
        nobody could write."""
        while True:
            worker.signal(signal.SIGSTOP)
            os.waitid(os.P_PID, worker.pid, os.WSTOPPED)
            if not self.url.startswith("sqlite:") or self._unlocked():
                return
            worker.signal(signal.SIGCONT)

    def _unlocked(self) -> bool:
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=0)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def open_door(self, worker: WorkerProc) -> None:
        """Let the ``hold`` tasks of this worker end."""
        (self.folder / f"go-{worker.pid}").touch()


@contextmanager
def site(folder: Path, url: str | None = None) -> Iterator[Site]:
    """A site whose processes are all gone at the end."""
    made = Site(folder, url)
    try:
        yield made
    finally:
        for worker in made.workers:
            worker.end()
