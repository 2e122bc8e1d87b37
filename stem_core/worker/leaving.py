"""The end of a worker's own process: it does not wait for what the worker has given up."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

logger = logging.getLogger("stem_core.worker")


def leave(exit_code: int) -> NoReturn:
    """End the process here and now; what was logged and printed is written, if somebody reads it."""
    logging.shutdown()
    # A pipe that nobody reads must not keep this process alive.
    flushing = threading.Thread(target=_flush, name="stem-flush", daemon=True)
    flushing.start()
    flushing.join(1.0)
    os._exit(exit_code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        # Who read it may have been killed first.
        with suppress(OSError, ValueError):
            stream.flush()


@contextmanager
def leaving(*, for_good: bool) -> Iterator[Callable[[int, float], None]]:
    """Yields what is called when the worker has ended, with the exit code and the seconds that the rest may take: the
    loop waits for the threads of its executor, the interpreter for all that are no daemons, and either for ever.

    ``for_good``: the process ends with the worker. Else it is left alone when this is left.
    """
    timers: list[threading.Timer] = []

    def begin(exit_code: int, seconds: float) -> None:
        timer = threading.Timer(seconds, _end, (exit_code,))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    try:
        yield begin
    finally:
        if not for_good:
            for timer in timers:
                timer.cancel()


def _end(exit_code: int) -> None:
    held_by = [t.name for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]
    logger.warning("the process does not end by itself and is ended; threads that still run: %s", ", ".join(held_by))
    logging.shutdown()
    os._exit(exit_code)
