"""The supervisor of replicas: starts worker processes, hears signals for all of them, and waits for their ends.

It imports no app, opens no store and has no event loop; what is to be done is decided by
:class:`~stem_core.worker.replicas.Fleet`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable

import attrs
import msgspec

from stem_core.clock import SYSTEM_CLOCK
from stem_core.errors import ConfigurationError
from stem_core.model._interpreter import interpreter_options
from stem_core.settings import peek, read_sources
from stem_core.worker.logs import configure_logging
from stem_core.worker.os_signals import caught_signals
from stem_core.worker.replicas import Action, Fleet, Limits, Refuse, Say, Send, Start
from stem_core.worker.replicas_link import LINK_FD, Ready, Setup, decode, encode

logger = logging.getLogger("stem_core.worker.replicas")

#: What a replica runs; ``Setup`` comes over its line.
MODULE = "stem_core.cli.replica"
#: A descriptor is moved above this before it is put in its place in the replica.
_ABOVE = 10


def supervise(setup: Setup, replicas: int, *, tell: Callable[[str], None], last: bool = False) -> int:
    """Keep so many workers running until they are stopped; returns the exit code.

    In the main thread. ``tell`` shows a person why no worker can be started. ``last``: nothing comes after it but the
    end of the process, which signals do not change then.

    Raises:
        ConfigurationError: a setting that cannot be used; no worker can be started by this interpreter.
    """
    sources = read_sources(command_line=setup.settings)
    level, format, timeout, soft, hard = (
        peek(sources, f"worker.{name}")[0]
        for name in ("log_level", "log_format", "shutdown_timeout", "soft_margin", "hard_margin")
    )
    if not sys.executable:
        raise ConfigurationError(
            "replicas cannot be started: sys.executable is empty",
            hint="run the worker with the 'stem' command or with 'python -m stem_core'",
        )
    configure_logging(level, format, "supervisor")
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    fleet = Fleet(
        replicas,
        SYSTEM_CLOCK,
        Limits(shutdown_timeout=timeout, soft_margin=soft, hard_margin=hard),
        burst=setup.burst,
        hangup_stops=at_terminal,
    )
    more = [signal.SIGCHLD, *([signal.SIGTSTP] if at_terminal else [])]
    with caught_signals(*more, for_good=last) as signals:
        return _Supervisor(fleet, setup, signals.reader, tell, suspends=at_terminal).run()


@attrs.define(kw_only=True)
class _Process:
    number: int
    pid: int
    line: socket.socket
    heard: bytes = b""
    refusal: str = ""


class _Supervisor:
    def __init__(
        self, fleet: Fleet, setup: Setup, signals: socket.socket, tell: Callable[[str], None], *, suspends: bool
    ) -> None:
        self._fleet = fleet
        self._setup = setup
        self._signals = signals
        self._tell = tell
        self._suspends = suspends
        self._selector = selectors.DefaultSelector()
        self._processes: dict[int, _Process] = {}

    def run(self) -> int:
        with self._selector as selector:
            selector.register(self._signals, selectors.EVENT_READ, self._hear)
            try:
                self._do(self._fleet.advance())
                while not self._fleet.over:
                    due = self._fleet.due
                    timeout = None if due is None else max(0.0, due - SYSTEM_CLOCK.monotonic())
                    for key, _ in selector.select(timeout):
                        key.data()
                    self._do(self._fleet.advance())
            finally:
                # An error of ours must leave nobody behind: without its line a worker drains and ends.
                for process in self._processes.values():
                    process.line.close()
        return self._fleet.exit_code

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                self._start(action)
            elif isinstance(action, Send):
                self._send(self._processes[action.number].pid, action.signal)
            elif isinstance(action, Refuse):
                self._tell(action.text)
            else:
                self._say(action)

    def _say(self, action: Say) -> None:
        logger.log(action.level, "%s", action.text)

    def _start(self, action: Start) -> None:
        setup = msgspec.structs.replace(self._setup, number=action.number, banner=action.first)
        try:
            process = _spawn(setup)
        except OSError as error:
            self._do(self._fleet.ended(action.number, 1, f"cannot be started: {error.strerror or error}"))
            return
        self._processes[action.number] = process
        self._selector.register(process.line, selectors.EVENT_READ, lambda: self._read(process))

    def _send(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                # With what it started and left in its group.
                with contextlib.suppress(PermissionError):
                    os.killpg(pid, number)
            os.kill(pid, number)

    def _hear(self) -> None:
        for byte in self._signals.recv(64):
            number = signal.Signals(byte)
            if number is signal.SIGCHLD:
                self._reap()
            elif number is signal.SIGTSTP and self._suspends:
                self._suspend()
            else:
                self._do(self._fleet.signal(number))

    def _suspend(self) -> None:
        """Ctrl-Z at a terminal suspends the workers, too, which the terminal does not know of."""
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for process in self._processes.values():
                self._send(process.pid, number)
            if number is signal.SIGSTOP:
                # Goes on in the next line when the person says so.
                os.kill(os.getpid(), number)

    def _read(self, process: _Process) -> bool:
        """What a replica says, at most two lines in its life; returns whether there may be more."""
        try:
            data = process.line.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            # Its end is told by SIGCHLD.
            self._close(process)
            return False
        process.heard += data
        *lines, process.heard = process.heard.split(b"\n")
        for line in lines:
            said = decode(line)
            if isinstance(said, Ready):
                logger.info("worker %d is ready (pid %d)", process.number, process.pid)
                limits = Limits(
                    shutdown_timeout=said.shutdown_timeout, soft_margin=said.soft_margin, hard_margin=said.hard_margin
                )
                self._do(self._fleet.ready(process.number, limits))
            elif said is not None:
                process.refusal = said.why
        return True

    def _close(self, process: _Process) -> None:
        if process.line.fileno() != -1:
            self._selector.unregister(process.line)
            process.line.close()

    def _reap(self) -> None:
        """Take all that has ended off the process table. As the first process of a container, also what workers left
        behind."""
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            process = next((process for process in self._processes.values() if process.pid == pid), None)
            if process is not None:
                self._ended(process, os.waitstatus_to_exitcode(wait_status))

    def _ended(self, process: _Process, status: int) -> None:
        # What it said last is still to be read.
        while process.line.fileno() != -1 and self._read(process):
            pass
        self._close(process)
        del self._processes[process.number]
        how = f"exited with code {status}" if status >= 0 else f"was killed by {_name(-status)}"
        self._do(self._fleet.ended(process.number, status, f"(pid {process.pid}) {how}", process.refusal))


def _spawn(setup: Setup) -> _Process:
    """Start a replica in a process group of its own: what is typed at the terminal reaches the supervisor alone.

    Raises:
        OSError: the system has no room for another process.
    """
    line, there = socket.socketpair()
    moved = fcntl.fcntl(there.fileno(), fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    # The arguments are for whoever looks at the list of processes; the replica reads its line.
    shown = [f"--replica={setup.number}", *([setup.app] if setup.app else [])]
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *interpreter_options(), "-m", MODULE, *shown],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, moved, LINK_FD),
            ],
            setpgroup=0,
            setsigmask=(),
        )
    except BaseException:
        line.close()
        raise
    finally:
        os.close(moved)
        there.close()
    with contextlib.suppress(OSError):
        # It may be gone already. The setup is smaller than the buffer of a socket.
        line.sendall(encode(setup))
    line.setblocking(False)
    return _Process(number=setup.number, pid=pid, line=line)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
