"""Pools of processes: what their tasks do, and what follows from what these say of themselves. Standard library only:
peers use it too."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence

#: When a task ended, by the clock that all processes of the machine share; the processor time of its process until
#: then, in seconds; the id of that process. Three looks at what is there, 1 us: as good as nothing.
Told = tuple[float, float, int]

#: Turns of the loop in :func:`grind` that are about 10 ms of one processor of the machine this was written on.
TURNS = 130_000


def told() -> Told:
    """Of a task that ends here and now."""
    return time.perf_counter(), time.process_time(), os.getpid()


def grind(turns: int) -> Told:
    """A fixed amount of work that never waits."""
    value = 1
    for _ in range(turns):
        value = (value * 1_103_515_245 + 12_345) & 0x7FFFFFFF
    return told()


def rate(ends: Iterable[Sequence[float]]) -> float:
    """Tasks a second while all processes were at work, without the first and the last tenth of the run."""
    by_process: dict[float, list[float]] = {}
    for time_, _, process in ends:
        by_process.setdefault(process, []).append(time_)
    times = sorted(itertools.chain.from_iterable(by_process.values()))
    skip = len(times) // 10
    middle = times[skip : len(times) - skip]
    begin = max(min(one) for one in by_process.values())
    end = min(max(one) for one in by_process.values())
    together = [one for one in middle if begin <= one <= end]
    # Of a handful of tasks, one process may have run all before the next had started.
    times = together if len(together) > len(middle) // 4 else middle
    return (len(times) - 1) / (times[-1] - times[0])


def processor_time(ends: Iterable[Sequence[float]]) -> float:
    """Of the processes that ran the tasks: microseconds a task, from the first to the last of each."""
    by_process: dict[float, list[float]] = {}
    for _, seconds, process in ends:
        by_process.setdefault(process, []).append(seconds)
    spent = sum(max(seconds) - min(seconds) for seconds in by_process.values())
    return spent / max(1, sum(len(seconds) - 1 for seconds in by_process.values())) * 1e6


def calls(ends: Sequence[Sequence[float]], parent: float) -> dict[str, float]:
    """The columns of tasks that do nothing; ``parent`` is the processor time of the parent in seconds."""
    return {"calls": rate(ends), "calls_cpu": processor_time(ends) + parent / len(ends) * 1e6}


def gain(scenario: str, one: Sequence[Sequence[float]], two: Sequence[Sequence[float]]) -> dict[str, float]:
    """The columns of tasks that do something, on one process and on two."""
    found = {f"{scenario}_one": rate(one), f"{scenario}_two": rate(two)}
    return {**found, f"{scenario}_gain": found[f"{scenario}_two"] / found[f"{scenario}_one"]}
