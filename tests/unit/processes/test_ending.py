import os
import subprocess
import sys

import pytest

from stem_core.builtin.strategies.processes import ending
from stem_core.builtin.strategies.processes.ending import Ending, reap


def reaped(program, oom_kills=0):
    process = subprocess.Popen([sys.executable, "-c", program])
    # Ended, and still on the process table.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    found = reap(process.pid, oom_kills)
    # Nobody else is to look for it.
    process.returncode = 0
    return found


@pytest.mark.parametrize(
    ("program", "status", "signal", "told"),
    [
        ("raise SystemExit(3)", 3, None, "exited with code 3"),
        ("import os; os.kill(os.getpid(), 11)", None, 11, "was killed by SIGSEGV"),
    ],
)
def test_how_a_process_ended(program, status, signal, told):
    found = reaped(program)
    assert (found.exit_code, found.signal, found.out_of_memory) == (status, signal, False)
    assert told in str(found)
    assert found.peak_rss > 2**20
    error = found.error()
    assert (error.exit_status, error.signal, error.peak_rss) == (status, signal, found.peak_rss)
    assert error.message == str(found)


def test_peak_memory_is_that_of_the_process():
    assert reaped("x = b'x' * (100 * 2**20)").peak_rss > 100 * 2**20


def test_out_of_memory_is_a_kill_while_the_group_counted_one(monkeypatch):
    monkeypatch.setattr(ending, "oom_kills", lambda: 5)
    found = reaped("import os; os.kill(os.getpid(), 9)", 4)
    assert found.out_of_memory
    assert "was killed by SIGKILL (out of memory)" in str(found)


def test_a_process_that_somebody_else_has_reaped():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    found = reap(process.pid, 0)
    assert str(found) == f"process {process.pid} ended, nobody knows how; its peak memory was 0 MiB"


def test_a_signal_without_a_name():
    assert "was killed by signal 200" in str(Ending(pid=1, exit_code=None, signal=200, peak_rss=0))
