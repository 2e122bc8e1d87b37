"""Real workers that know nothing but the address of a NATS server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")
pytest.importorskip("nats", reason="the client library nats-py is not installed")

from stem_core import Stem
from stem_core.contracts import KeepsDeadLetters
from stem_core.model import HEARTBEATS

TASKS = 200


class Workers:
    """Starts workers, and leaves none behind."""

    def __init__(self, url: str, namespace: str, folder: Path) -> None:
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._environment = {name: text for name, text in os.environ.items() if not name.startswith("STEM_")} | {
            "PYTHONPATH": str(Path(__file__).parent),
            "STEM_PLUGINS": "nats",
            "STEM_BROKER_URL": url,
            "STEM_RESULT_BACKEND_URL": "none",
            "STEM_NAMESPACE": namespace,
            "STEM_TEST_LEDGER": str(self.ledger),
            "STEM_WORKER_LEASE": "2s",
        }

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "stem_core", "worker", "-A", "nats_jobs:app", "-c", "4"]
        with (self._folder / f"worker-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self._folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def done(self) -> list[tuple[int, int]]:
        """Number of the task, and pid of the worker, in the order of their ends."""
        lines = [line.split() for line in self.ledger.read_text().splitlines()]
        return [(int(number), int(pid)) for number, _, pid in lines]

    async def until(self, condition, what: str) -> None:
        try:
            async with asyncio.timeout(30):
                while not condition():  # noqa: ASYNC110 - other processes bring it about
                    await asyncio.sleep(0.01)
        except TimeoutError:
            logs = "\n".join(log.read_text() for log in sorted(self._folder.glob("worker-*.log")))
            pytest.fail(f"{what}: {len(self.done())} done\n{logs[-4000:]}", pytrace=False)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def workers(server, namespace, tmp_path) -> Iterator[Workers]:
    started = Workers(server.url, namespace, tmp_path)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def app(server, namespace, monkeypatch, tmp_path) -> Stem:
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Stem("producer", broker_url=server.url, result_backend_url="none", namespace=namespace, plugins=["nats"])


async def test_every_task_is_done_though_a_worker_is_killed(app: Stem, workers: Workers) -> None:
    doomed, survivor = workers.start(), workers.start()
    async with app.open() as session:
        await app.enqueue_many([app.call("note", (number, 0.01)) for number in range(TASKS)])
        await workers.until(
            lambda: {doomed.pid, survivor.pid} <= {pid for _, pid in workers.done()}, "both workers have to work"
        )
        doomed.kill()
        doomed.wait()
        await workers.until(lambda: len({number for number, _ in workers.done()}) == TASKS, "tasks are missing")
        # What was done and not settled when its worker was killed comes again, when its lease is over.
        async with asyncio.timeout(30):
            while await session.broker.queues():  # noqa: ASYNC110 - other processes bring it about
                await asyncio.sleep(0.05)

        survivor.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(survivor.wait, 20) == 0
        assert isinstance(session.broker, KeepsDeadLetters)
        assert await session.broker.dead_letters("default") == []
        heartbeats = {record.key for record in await session.state.list(HEARTBEATS)}
        assert any(f"-{doomed.pid}-" in key for key in heartbeats)
    # What was done twice was in the hands of the one that was killed: its slots, and as many in reserve.
    numbers = [number for number, _ in workers.done()]
    assert len(numbers) - TASKS <= 8


async def test_a_server_that_comes_back_is_met_again(own_server, namespace, tmp_path, monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)
    app = Stem("producer", broker_url=own_server.url, result_backend_url="none", namespace=namespace, plugins=["nats"])
    workers = Workers(own_server.url, namespace, tmp_path)
    try:
        worker = workers.start()
        async with app.open():
            await app.enqueue_many([app.call("note", (number, 0.05)) for number in range(60)])
        await workers.until(lambda: len(workers.done()) >= 5, "the worker has to begin")
        own_server.kill()
        await asyncio.sleep(0.5)
        own_server.start()
        await workers.until(lambda: len({number for number, _ in workers.done()}) == 60, "tasks are missing")
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 20) == 0
    finally:
        workers.end()
