"""Clocks and gauges of a sample. Memory and idle time come from /proc: elsewhere those cells stay empty."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

#: Seconds after which something that was waited for is taken to have failed.
PATIENCE = 120.0


class Stopwatch:
    """Wall and processor time of this process since it was made."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._wall = time.perf_counter()

    def rate(self, jobs: int) -> float:
        """Jobs a second until now."""
        return jobs / (time.perf_counter() - self._wall)

    def cpu(self, jobs: int) -> float:
        """Processor time for each job until now, in microseconds."""
        return (time.process_time() - self._cpu) / jobs * 1e6


def named(scenario: str, found: dict[str, float]) -> dict[str, float]:
    """``rate``, ``cpu`` and ``rss`` under the names of a drain's columns."""
    return {scenario if key == "rate" else f"{scenario}_{key}": value for key, value in found.items()}


def memory(name: str, field: str, pid: int | str = "self") -> dict[str, float]:
    """``VmRSS`` or ``VmHWM`` of a process in MB, called ``name``; nothing where there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(field + ":"))
    return {name: int(kilobytes) / 1024}


def processor_seconds(pid: int) -> float | None:
    """What a process has used so far, all threads; None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    return {f"{name}_p{part}": ordered[(len(ordered) - 1) * part // 100] * 1e3 for part in (50, 99)}


def until(done: Callable[[], bool]) -> None:
    """Return when ``done`` says so.

    Raises:
        TimeoutError: it never does.
    """
    end = time.perf_counter() + PATIENCE
    while not done():
        if time.perf_counter() > end:
            raise TimeoutError(f"waited {PATIENCE:g} s in vain")
        time.sleep(0.002)  # noqa: TID251 - the other process is told nothing of this one


@contextlib.contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that is told to end on leaving."""
    process = subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, **environment}, stdout=sys.stderr.fileno()
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def watch_idle(pid: int, seconds: float) -> dict[str, float]:
    """Memory, and processor time a minute, of a process that has nothing to do."""
    time.sleep(min(1.0, seconds))  # noqa: TID251 - let it come to rest
    before = processor_seconds(pid)
    time.sleep(seconds)  # noqa: TID251 - this is the measurement
    after = processor_seconds(pid)
    found = memory("idle_rss", "VmRSS", pid)
    if before is not None and after is not None:
        found["idle_cpu"] = (after - before) / seconds * 60
    return found


def first_job(stamp: Path, *arguments: str, idle: float, **environment: str) -> dict[str, float]:
    """Start a worker whose first job writes its ``perf_counter`` to ``stamp``; then watch it do nothing.

    ``perf_counter`` counts from one moment in all processes of a machine, on Linux and macOS.
    """
    started = time.perf_counter()
    with running(*arguments, BENCH_STAMP=str(stamp), **environment) as process:
        until(lambda: stamp.exists() and stamp.read_text().endswith("\n"))
        return {"first_job": (float(stamp.read_text()) - started) * 1e3, **watch_idle(process.pid, idle)}
