"""How a child process ended."""

from __future__ import annotations

import os
import signal
import sys

from stem_core.errors import ProcessLost
from stem_core.model import _cgroups as cgroups
from stem_core.model._value import value


@value
class Ending:
    """What the system tells of a process that has ended."""

    pid: int
    #: None when a signal ended it, or nobody knows.
    exit_code: int | None
    #: None when it ended by itself.
    signal: int | None
    #: The most resident memory that it had, in bytes.
    peak_rss: int
    #: Whether the kernel killed something in this control group for want of memory meanwhile.
    out_of_memory: bool = False

    def __str__(self) -> str:
        if self.signal is not None:
            how = f"was killed by {_name(self.signal)}"
            if self.out_of_memory:
                how += " (out of memory)"
        elif self.exit_code is not None:
            how = f"exited with code {self.exit_code}"
        else:
            how = "ended, nobody knows how"
        return f"process {self.pid} {how}; its peak memory was {self.peak_rss / 2**20:.0f} MiB"

    def error(self) -> ProcessLost:
        """For the task that it ran."""
        return ProcessLost(str(self), exit_status=self.exit_code, signal=self.signal, peak_rss=self.peak_rss)


def reap(pid: int, oom_kills_before: int) -> Ending | None:
    """Take an ended child off the process table; None while it has not ended."""
    try:
        reaped, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:
        # Whoever embeds the worker has taken it: with SIGCHLD ignored the system does.
        return Ending(pid=pid, exit_code=None, signal=None, peak_rss=0)
    if not reaped:
        return None
    code = os.waitstatus_to_exitcode(status)
    return Ending(
        pid=pid,
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        peak_rss=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        out_of_memory=code == -signal.SIGKILL and oom_kills() > oom_kills_before,
    )


def oom_kills() -> int:
    """How often the kernel has killed in this control group for want of memory; 0 where nobody knows."""
    counters = [folder / "memory.events" for folder in cgroups.own_groups()]
    counters += [folder / "memory.oom_control" for folder in cgroups.own_groups_v1("memory")]
    for counter in counters:
        try:
            lines = counter.read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
