"""Signals that are caught: what is not told by stopping real workers."""

import os
import signal

from stem_core.worker.os_signals import caught_signals


def test_more_signals_than_fit_unread_raise_nothing_in_the_code_that_they_interrupt():
    with caught_signals() as signals:
        # As when a loop has taken the descriptor to itself: the handler writes the byte.
        signal.set_wakeup_fd(-1)
        for _ in range(1000):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.reader.recv(1) == bytes([signal.SIGUSR1])
