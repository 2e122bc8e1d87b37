"""Log lines: readable on a terminal, one JSON object a line elsewhere, and inside a task always with its identity."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import MemoryHandler
from typing import Any, Literal, TextIO

import msgspec

from stem_core.model.printable import clean
from stem_core.tasks.context import current
from stem_core.worker.log_handler import QueuedHandler

LogFormat = Literal["auto", "text", "json"]

#: What every :class:`logging.LogRecord` has; the rest was given as ``extra``.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure_logging(
    level: str, format: LogFormat, worker: str, stream: TextIO | None = None, *, one_of_several: bool = False
) -> None:
    """Send the log of this process to ``stream`` (default: standard error). ``auto`` is text on a terminal.

    With ``one_of_several`` each readable line names the worker, as each line of JSON always does.
    The level is that of the root logger, so it holds for the tasks and for other libraries as well.
    """
    target = sys.stderr if stream is None else stream
    text = format == "text" or (format == "auto" and target.isatty())
    handler = _handler(target)
    handler.setFormatter(TextFormatter(worker if one_of_several else "") if text else JsonFormatter(worker))
    root = logging.getLogger()
    for existing in list(root.handlers):
        root.removeHandler(existing)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # It logs every slow callback at WARNING when the loop's debug mode is on, and its own set-up at DEBUG.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, root.level))


def _handler(stream: TextIO) -> logging.Handler:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        # It is in memory, or closed: there is no reader to wait for.
        return logging.StreamHandler(stream)
    return QueuedHandler(descriptor, stream.encoding)


@contextmanager
def held_back() -> Iterator[None]:
    """Keep what is logged inside until the end: how it is to look is known only when the settings are.

    It then goes where :func:`configure_logging` said inside, or to standard error when it came to nothing.
    """
    root = logging.getLogger()
    held = MemoryHandler(capacity=1000, flushLevel=logging.CRITICAL + 1)
    root.addHandler(held)
    try:
        yield
    finally:
        root.removeHandler(held)
        held.setTarget(root.handlers[0] if root.handlers else logging.lastResort)
        held.close()


def _identity() -> dict[str, Any]:
    """The task that this line was written in."""
    ctx = current.get()
    if ctx is None:
        return {}
    return {
        "task_id": ctx.id,
        "task": ctx.task,
        "attempt": ctx.attempt,
        "queue": ctx.queue,
        "worker": ctx.worker,
    }


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class TextFormatter(logging.Formatter):
    """``12:30:01.123 INFO    message  [task=... id=... attempt=... queue=... worker=...]``

    Outside of a task only the worker is named, where one is given.
    """

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """One readable line, with traceback lines after it where there are any."""
        stamp = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        line = f"{stamp} {record.levelname:<7} {record.getMessage()}"
        identity = _identity()
        if identity:
            line += (
                f"  [task={identity['task']} id={identity['task_id']} attempt={identity['attempt']} "
                f"queue={identity['queue']} worker={identity['worker']}]"
            )
        elif self._worker:
            line += f"  [worker={self._worker}]"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        # Messages of tasks and errors hold what strangers sent: it must not steer the terminal.
        return clean(line, lines=True)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time level logger message`` and, inside a task, ``task_id task attempt queue``."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
        }
        line.update(_identity())
        line.update(_extra(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # What JSON cannot carry is shown as its repr, text that is no Unicode with escapes: a log line must not fail.
        try:
            return msgspec.json.encode(line, enc_hook=repr).decode()
        except (ValueError, TypeError, RecursionError):
            return msgspec.json.encode({_escaped(key): _escaped(given) for key, given in line.items()}).decode()


def _escaped(given: object) -> object:
    return given if isinstance(given, int) else str(given).encode("utf-8", "backslashreplace").decode()
