import os
import subprocess
import sys

import pytest

from stem_core.builtin.strategies.processes import ending
from stem_core.builtin.strategies.processes.ending import Ending, reap
from stem_core.model import _cgroups as cgroups


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


@pytest.mark.parametrize(
    ("own", "file", "text", "count"),
    [
        ("0::/app/worker\n", "app/worker/memory.events", "low 0\noom 4\noom_kill 3\n", 3),
        ("0::/\n", "memory.events", "oom_kill 1\n", 1),
        ("5:cpu,cpuacct:/\n4:memory:/jobs\n0::/\n", "memory/jobs/memory.oom_control", "under_oom 0\noom_kill 2\n", 2),
        # Seen from inside a container, whose group is the root of what is mounted.
        ("4:memory:/docker/1234\n", "memory/memory.oom_control", "oom_kill_disable 0\noom_kill 7\n", 7),
        ("4:memory:/jobs\n", "memory/jobs/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
    ],
)
def test_how_often_the_kernel_has_killed_in_this_group(monkeypatch, tmp_path, own, file, text, count):
    groups = tmp_path / "own"
    groups.write_text(own)
    counter = tmp_path / "cgroup" / file
    counter.parent.mkdir(parents=True)
    counter.write_text(text)
    monkeypatch.setattr(cgroups, "_OWN", groups)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    assert ending.oom_kills() == count


def test_where_there_are_no_groups_nobody_knows(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "none")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "cgroup")
    assert ending.oom_kills() == 0
