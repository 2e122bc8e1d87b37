"""The peers on Redis: what is measured of all of them alike. Each is a module ``peer_<name>`` with a class ``Library``.

Its worker is ``python -m benchmarks.drivers.peers``: one process with the worker class of the library, with as many
jobs at once as Stem has, or with its own default where that is faster.
"""

from __future__ import annotations

import abc
import asyncio
import ctypes
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.gauges import Stopwatch, first_job, memory, named, percentiles, running, until
from benchmarks.model import Request
from benchmarks.redis_gauge import Server, ServerWatch

WORKER = ("-m", "benchmarks.drivers.peers")


class Peer(abc.ABC):
    """One library on one Redis. Coroutines may block: nothing else runs beside them."""

    #: Whether several enqueues can be under way at once.
    gathers = True
    #: Pattern of the keys of results; empty when they are not counted.
    results_pattern = ""

    def __init__(self, url: str, *, results: bool) -> None:
        """``url`` is as redis-py takes it."""
        self.url = url
        self.results = results

    @abc.abstractmethod
    async def open(self, stack: AsyncExitStack) -> None:
        """Connect; what has to be closed goes on the stack."""

    @abc.abstractmethod
    async def add(self, number: int) -> object:
        """Enqueue one job that adds."""

    async def add_many(self, numbers: Sequence[int]) -> None:
        """Enqueue many at once, where the library has a call for it."""
        raise NotImplementedError

    async def stamp(self) -> Callable[[], Any]:
        """Enqueue a job that says when it ran; returns what to await for its answer."""
        raise NotImplementedError

    async def work(self) -> None:
        """Work until cancelled."""
        raise NotImplementedError

    def left(self, server: Server) -> int:
        """Jobs that ran but are not settled."""
        raise NotImplementedError


class _Tally:
    """Counts the jobs that ran, in whatever thread they do."""

    def __init__(self) -> None:
        self._left = int(os.environ.get("BENCH_JOBS", "-1"))
        self._loop: asyncio.AbstractEventLoop | None = None
        self.all_ran = asyncio.Event()

    def attach(self) -> None:
        """The loop that waits for the last is this one."""
        self._loop = asyncio.get_running_loop()

    def one(self) -> None:
        """Called by each job; several threads are kept apart by the interpreter's lock well enough for the last."""
        self._left -= 1
        if self._left == 0 and self._loop is not None:
            self._loop.call_soon_threadsafe(self.all_ran.set)


tally = _Tally()


def added(a: int, b: int) -> int:
    """What the task of each peer does."""
    tally.one()
    return a + b


def stamped() -> float:
    """As Stem's."""
    now = time.perf_counter()
    path = os.environ.get("BENCH_STAMP")
    if path:
        Path(path).write_text(f"{now!r}\n")
    return now


def peer(*, results: bool = True) -> Peer:
    """The peer of this process."""
    # Under its own name, as the module that the peers import; this one may be __main__.
    name = os.environ["BENCH_PEER"]
    module = importlib.import_module(f"benchmarks.drivers.peer_{name}")
    made: Peer = module.Library(os.environ["BENCH_URL"], results=results)
    return made


def enqueue(request: Request) -> dict[str, float]:
    """One by one; 100 at once and in bulk where the library can."""
    return asyncio.run(_enqueue(request))


async def _enqueue(request: Request) -> dict[str, float]:
    sizes, one = request.sizes, peer()
    async with AsyncExitStack() as stack:
        await one.open(stack)
        for number in range(20):
            await one.add(number)
        watch = Stopwatch()
        for number in range(sizes.enqueue_one):
            await one.add(number)
        found = {"enqueue_one": watch.rate(sizes.enqueue_one)}
        if one.gathers:
            watch = Stopwatch()
            for _ in range(sizes.gather_rounds):
                await asyncio.gather(*(one.add(number) for number in range(100)))
            found["enqueue_gather"] = watch.rate(100 * sizes.gather_rounds)
        if type(one).add_many is not Peer.add_many:
            watch = Stopwatch()
            await one.add_many(range(sizes.bulk))
            found["enqueue_bulk"] = watch.rate(sizes.bulk)
    return found


def drain(request: Request) -> dict[str, float]:
    """One worker, results kept."""
    return named("drain", _drain(request, results=True))


def drain_bare(request: Request) -> dict[str, float]:
    """One worker, no results."""
    return named("drain_bare", _drain(request, results=False))


def _drain(request: Request, *, results: bool) -> dict[str, float]:
    jobs, report = request.sizes.drain, Path(request.folder, "drain.json")
    asyncio.run(_fill(jobs, results=results))
    variables = {"BENCH_REPORT": str(report), "BENCH_JOBS": str(jobs), "BENCH_RESULTS": str(int(results))}
    with running(*WORKER, **variables) as worker:
        until(lambda: worker.poll() is not None)
    found: dict[str, float] = json.loads(report.read_text())
    pattern = peer().results_pattern
    with Server(os.environ["BENCH_REDIS"]) as server:
        if pattern and (kept := server.count(pattern)) != results * jobs:
            raise AssertionError(f"{kept} results of {jobs} jobs were kept")
    return found


async def _fill(jobs: int, *, results: bool) -> None:
    one = peer(results=results)
    async with AsyncExitStack() as stack:
        await one.open(stack)
        for start in range(0, jobs, 100):
            numbers = range(start, min(start + 100, jobs))
            if one.gathers:
                await asyncio.gather(*(one.add(number) for number in numbers))
            else:
                for number in numbers:
                    await one.add(number)


def latency(request: Request) -> dict[str, float]:
    """From the call that enqueues to the first line of the task, and to its result in the hands of the producer."""
    return asyncio.run(_latency(request))


async def _latency(request: Request) -> dict[str, float]:
    starts: list[float] = []
    results: list[float] = []
    one = peer()
    async with AsyncExitStack() as stack:
        await one.open(stack)
        stack.enter_context(running(*WORKER))
        for _ in range(3):
            await (await one.stamp())()
        for _ in range(request.sizes.latency):
            await asyncio.sleep(0.005)
            called = time.perf_counter()
            begun = await (await one.stamp())()
            results.append(time.perf_counter() - called)
            starts.append(begun - called)
    return {**percentiles("start", starts), **percentiles("result", results)}


def process(request: Request) -> dict[str, float]:
    """As Stem's."""
    asyncio.run(_enqueue_stamp())
    return first_job(Path(request.folder, "stamp"), *WORKER, idle=request.sizes.idle)


async def _enqueue_stamp() -> None:
    one = peer()
    async with AsyncExitStack() as stack:
        await one.open(stack)
        await one.stamp()


async def work() -> None:
    """The worker process: until it is ended, or until ``BENCH_JOBS`` jobs are done and ``BENCH_REPORT`` is written."""
    one = peer(results=os.environ.get("BENCH_RESULTS", "1") == "1")
    report = os.environ.get("BENCH_REPORT")
    async with AsyncExitStack() as stack:
        await one.open(stack)
        tally.attach()
        seen, watch = ServerWatch(), Stopwatch()
        working = asyncio.ensure_future(one.work())
        if report is None:
            await working
            return
        jobs = int(os.environ["BENCH_JOBS"])
        await tally.all_ran.wait()
        with Server(os.environ["BENCH_REDIS"]) as server:
            while one.left(server):  # noqa: ASYNC110 - only the server knows
                await asyncio.sleep(0.002)
        found = {"rate": watch.rate(jobs), "cpu": watch.cpu(jobs), **memory("rss", "VmHWM"), **seen.found(jobs)}
        Path(report).write_text(json.dumps(found))
    # How the library ends is not measured.
    os._exit(0)


def main() -> None:
    """Work, and leave at once when told to, or when whoever measures has gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    asyncio.run(work())


if __name__ == "__main__":
    importlib.import_module("benchmarks.drivers.peers").main()
