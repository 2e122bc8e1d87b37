"""The signals of the operating system, read by the pulse thread so that a blocked loop does not delay them."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # The supervisor of replicas catches signals too, and has no event loop.
    import asyncio

    from stem_core.worker.stopping import StopMachine, StopMode

logger = logging.getLogger("stem_core.worker")

#: What each signal asks for. A repeated one goes one step further, never to a bare kill.
STOP_SIGNALS: dict[signal.Signals, StopMode] = {
    signal.SIGTERM: "warm",
    signal.SIGHUP: "warm",
    signal.SIGINT: "soft",
    signal.SIGQUIT: "hard",
    signal.SIGTSTP: "quiet",
}


class CaughtSignals:
    """``reader`` gives one byte, the number, for each signal that came. Belongs to the main thread.

    The interpreter writes the byte from the C handler, whatever Python code is doing. There is one descriptor for that
    in a process, and who else wants it gets it: a loop of uvloop when it starts, a loop that a handler is added to.
    Then the byte is written when the main thread runs Python code again.
    """

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def hear_at_once(self) -> int:
        """Have the bytes written at once, from now on; returns the descriptor that they went to before."""
        return signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def caught(self, number: int, frame: FrameType | None) -> None:
        """The handler of all; mostly only its existence matters: it keeps the default action from happening."""
        elsewhere = self.hear_at_once()
        if elsewhere != self._writer.fileno():
            signal.set_wakeup_fd(elsewhere, warn_on_full_buffer=False)
            # Full: hundreds are unread, and one more says nothing new.
            with suppress(BlockingIOError):
                self._writer.send(bytes((number,)))

    def close(self) -> None:
        """Nothing is caught any more."""
        self.reader.close()
        self._writer.close()


@contextmanager
def caught_signals(*more: signal.Signals, for_good: bool = False) -> Iterator[CaughtSignals]:
    """Catch the stop signals, SIGUSR1 and ``more`` while entered.

    In the main thread only. ``for_good``: the process is about to end after this, and a signal that comes late must
    not be what it dies of.
    """
    signals = CaughtSignals()
    caught = [*STOP_SIGNALS, signal.SIGUSR1]
    if sys.stdin is not None and sys.stdin.isatty():
        # At a terminal Ctrl-Z has to suspend.
        caught.remove(signal.SIGTSTP)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # nohup: it is to outlive the terminal.
        caught.remove(signal.SIGHUP)
    caught += more
    before = {number: signal.signal(number, signals.caught) for number in caught}
    wakeup = signals.hear_at_once()
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if for_good else handler)
        signals.close()


def listen(
    loop: asyncio.AbstractEventLoop, reader: socket.socket, machine: StopMachine, dump_stacks: Callable[[str], None]
) -> None:
    """Carry out what arrives at ``reader``, on the pulse thread's loop."""

    def arrived() -> None:
        for number in reader.recv(64):
            try:
                received = signal.Signals(number)
            except ValueError:
                continue
            if received is signal.SIGUSR1:
                dump_stacks("SIGUSR1")
            elif received in STOP_SIGNALS:
                machine.escalate(STOP_SIGNALS[received], received.name)

    loop.add_reader(reader.fileno(), arrived)
