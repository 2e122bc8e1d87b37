"""The service of docs/how-to/embed-a-worker.md, in a web server that is told to end."""

import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from stem_core import Stem
from stem_core.control import Inspector
from support.documents import blocks_of
from support.redis_server import RedisServer, free_port, programs
from support.until import until

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "embed-a-worker.md"
SLOW = """

import asyncio
import pathlib

@stem.task(queue="mail")
async def slow(folder: str) -> str:
    pathlib.Path(folder, "started").touch()
    while not pathlib.Path(folder, "go").exists():
        await asyncio.sleep(0.01)
    return "done"
"""


@pytest.fixture
def server():
    program = next(iter(programs().values()), None)
    if program is None:
        pytest.skip("there is no Redis server")
    server = RedisServer(program).start()
    yield server
    server.stop()


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def service(tmp_path, log, port, server):
    """The process of the web server."""
    (block,) = (block for block in blocks_of(PAGE) if block.attributes.get("title") == "service.py")
    (tmp_path / "service.py").write_text(block.text.replace("localhost:6379", f"localhost:{server.port}") + SLOW)
    command = [sys.executable, "-m", "uvicorn", "service:api", "--port", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file)
    yield process
    process.kill()
    process.wait()


async def readers(app):
    (queue,) = await Inspector(app.session, {"mail": []}).queues()
    return len(queue.workers)


def post(url):
    with urlopen(Request(url, method="POST")) as answer:
        return answer.status, answer.read()


async def test_a_service_that_is_ended_lets_its_jobs_finish_and_leaves_nothing(tmp_path, service, server, log, port):
    app = Stem("test", broker_url=f"{server.tcp_url}/0", default_queue="mail")
    await until(lambda: "Application startup complete" in log.read_text())
    async with app.open(producer=False):
        assert post(f"http://127.0.0.1:{port}/users/42/welcome") == (202, b'{"job":"welcome-42"}')
        assert await app.handle("welcome-42").result(timeout=10) == "welcome 42"

        handle = await app.enqueue("service.slow", str(tmp_path))
        await until((tmp_path / "started").exists)
        assert await readers(app) == 1
        service.send_signal(signal.SIGTERM)
        await until(lambda: "Waiting for application shutdown" in log.read_text())
        assert (await handle.status()).state == "running"
        (tmp_path / "go").touch()
        assert await handle.result(timeout=10) == "done"
        assert service.wait(10) in {0, -signal.SIGTERM}
        assert await readers(app) == 0
    assert "Application shutdown complete" in log.read_text()
    assert "Traceback" not in log.read_text()
    # The connection that asks is the only one.
    assert server.info("clients", "connected_clients") == 1
