"""``concurrent.futures.ProcessPoolExecutor`` of the standard library: no broker, nothing kept, one crash ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from benchmarks import pools
from benchmarks.model import Request
from benchmarks.pools import TURNS, Told, grind, told


def calls(request: Request) -> dict[str, float]:
    """Two children, calls that do nothing, all handed in at once."""
    return pools.calls(*_run(2, request.sizes.drain, told))


def work_on_two(request: Request) -> dict[str, float]:
    """One child and two, calls of about 10 ms."""
    one, _ = _run(1, request.sizes.work, grind, TURNS)
    two, _ = _run(2, request.sizes.work, grind, TURNS)
    return pools.gain("work", one, two)


def _run(processes: int, count: int, function: Callable[..., Told], *arguments: int) -> tuple[list[Told], float]:
    with ProcessPoolExecutor(processes) as pool:
        # All children are started by the first calls.
        for future in [pool.submit(told) for _ in range(processes)]:
            future.result()
        begun = time.process_time()
        futures = [pool.submit(function, *arguments) for _ in range(count)]
        ends = [future.result() for future in futures]
        return ends, time.process_time() - begun
