"""Celery's prefork pool on Redis, its worker as its users start it. Early acknowledgement, its default."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

from benchmarks import pools
from benchmarks.gauges import processor_seconds, running, until
from benchmarks.model import Request
from benchmarks.pools import TURNS, Told, grind, told
from benchmarks.redis_gauge import Server

# By name: it is not there when types are checked.
celery: Any = importlib.import_module("celery")

app: Any = celery.Celery("pools", broker=os.environ["BENCH_URL"], backend=os.environ["BENCH_URL"])
app.conf.result_expires = 86_400

WORKER = ("-m", "celery", "-A", "benchmarks.drivers.celery_prefork", "worker", "--pool", "prefork", "-l", "ERROR")
_RESULTS = "celery-task-meta-*"


@app.task(name="nothing")  # type: ignore[untyped-decorator]  # it has no types
def nothing() -> Told:
    """As Stem's."""
    return told()


@app.task(name="work")  # type: ignore[untyped-decorator]  # it has no types
def work(turns: int) -> Told:
    """As Stem's."""
    return grind(turns)


def calls(request: Request) -> dict[str, float]:
    """Two children, tasks that do nothing."""
    return pools.calls(*_run(2, request.sizes.drain, nothing))


def work_on_two(request: Request) -> dict[str, float]:
    """One child and two, tasks of about 10 ms."""
    one, _ = _run(1, request.sizes.work, work, TURNS)
    two, _ = _run(2, request.sizes.work, work, TURNS)
    return pools.gain("work", one, two)


def _run(processes: int, count: int, task: Any, *arguments: int) -> tuple[list[Told], float]:
    """What the tasks told, and the parent's processor time from its first result on."""
    with Server(os.environ["BENCH_REDIS"]) as server:
        server.ask("FLUSHALL")
        for _ in range(count):
            task.delay(*arguments)
        queued = server.ask("DBSIZE")
        assert isinstance(queued, int)
        with running(*WORKER, "-c", str(processes)) as worker:
            until(lambda: bool(server.count(_RESULTS)))
            begun = processor_seconds(worker.pid)
            until(lambda: server.count(_RESULTS) == count)
            ended = processor_seconds(worker.pid)
        keys = server.ask("KEYS", _RESULTS)
        assert isinstance(keys, list)
        found = [json.loads(_text(server.ask("GET", _text(key).decode())))["result"] for key in keys]
    return found, 0.0 if begun is None or ended is None else ended - begun


def _text(reply: object) -> bytes:
    assert isinstance(reply, bytes)
    return reply
