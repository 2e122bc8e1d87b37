"""Worker processes, and the certainty that none of them stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

#: Running at once, and held ready beside them: what a killed worker takes with it at most.
CONCURRENCY, PREFETCH = 4, 4
#: How long the work of a killed worker is waited for before others take it, in seconds. The default is 30.
LEASE = 3
#: A worker that has not stopped after this many seconds is killed.
PATIENCE = 30.0


class Workers:
    """The workers of one census; leaving it ends them all."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0

    def start(self) -> None:
        """One more: ``python -m stem_core worker tasks:app`` in a process of its own."""
        self._started += 1
        name = f"census-{self._started}"
        command = [sys.executable, "-m", "stem_core", "worker", "tasks:app", "--name", name, "-l", "critical"]
        command += ["-c", str(CONCURRENCY), "--prefetch", str(PREFETCH), "--lease", str(LEASE)]
        with self._log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=Path(__file__).parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
                # Ctrl-C goes to the census alone, which then stops its workers.
                start_new_session=True,
            )

    def kill(self) -> str:
        """``kill -9`` the oldest, which gets no chance to say goodbye; returns its name."""
        name = next(iter(self._running))
        process = self._running.pop(name)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return name

    def check(self) -> None:
        """Raise when one has ended that nobody asked to end."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log = self._log(name).read_text(errors="replace")
                raise SystemExit(f"census: worker {name} ended with exit code {process.returncode}:\n{log[-4000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # What is cut short need not be drained: SIGQUIT hands everything back at once.
        self._stop(signal.SIGTERM if kind is None else signal.SIGQUIT)

    def _stop(self, number: signal.Signals) -> None:
        try:
            for process in self._running.values():
                process.send_signal(number)
            for process in self._running.values():
                process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            print(f"census: a worker did not stop within {error.timeout:g} s and is killed", file=sys.stderr)
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"
