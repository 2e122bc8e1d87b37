"""Starting one child process."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading

from stem_core.errors import ConfigurationError
from stem_core.model._interpreter import interpreter_options
from stem_core.model._value import value

_MODULE = "stem_core.builtin.strategies.processes.child"

#: Where the child finds its two sockets.
DATA_FD, CONTROL_FD = 3, 4

#: Descriptors are moved above this before the child's are put in place, so that none is in the way of another.
_ABOVE = 10


@value
class Spawned:
    """A process that has just begun, and the parent's ends of its sockets."""

    pid: int
    #: Calls and their ends.
    data: socket.socket
    #: Interruptions; its end tells the child that the parent is gone.
    control: socket.socket


def spawn() -> Spawned:
    """Start a child in a process group of its own. Spawned, never forked: no lock of a thread is copied.

    Raises:
        OSError: the system has no room for another process.
        ConfigurationError: this interpreter does not know its own program.
    """
    if not sys.executable:
        raise ConfigurationError(
            "child processes cannot be started: sys.executable is empty",
            hint="set sys.executable to the Python that runs this program, or run the worker with 'stem worker'",
        )
    data, data_there = socket.socketpair()
    control, control_there = socket.socketpair()
    moved: list[int] = []
    try:
        moved = [fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, _ABOVE) for end in (data_there, control_there)]
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *interpreter_options(), "-m", _MODULE, *_death_signal()],
            os.environ,
            file_actions=[
                # A task must not take what is typed at the worker's terminal.
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, moved[0], DATA_FD),
                (os.POSIX_SPAWN_DUP2, moved[1], CONTROL_FD),
            ],
            # Ctrl-C goes to the worker alone; and a child is killed together with what it started.
            setpgroup=0,
            setsigmask=(),
        )
    except BaseException:
        data.close()
        control.close()
        raise
    finally:
        for descriptor in moved:
            os.close(descriptor)
        data_there.close()
        control_there.close()
    data.setblocking(False)
    control.setblocking(False)
    return Spawned(pid=pid, data=data, control=control)


def kill_group(pid: int) -> None:
    """Kill a child that is not reaped yet, and all that it started and left in its group."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # Its group does not exist before it has begun; it is gone already; or macOS, for a dead one.
            continue


def _death_signal() -> list[str]:
    """The kernel's signal at the parent's death comes at the end of the thread that spawned: only of the main one."""
    return [f"--parent={os.getpid()}"] if threading.current_thread() is threading.main_thread() else []
