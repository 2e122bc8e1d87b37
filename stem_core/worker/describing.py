"""Exceptions as text, for stores and other processes."""

from __future__ import annotations

import traceback
from typing import Any

from stem_core.errors import RemoteError, TaskInterrupted
from stem_core.model import ErrorInfo

#: Longer messages and tracebacks of errors are cut in the middle, in characters. Some hold the body of a request.
MAX_MESSAGE, MAX_TRACEBACK = 4_000, 20_000


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text: its type, message and traceback, without the frames of the worker."""
    if isinstance(error, RemoteError):
        return ErrorInfo(type=error.error_type, message=error.error, traceback=error.traceback)
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"
    try:
        message = str(error)
    except Exception as broken:
        message = f"<{cls.__qualname__}.__str__ raised {type(broken).__name__}>"
    return ErrorInfo(type=name, message=_shortened(encodable(message), MAX_MESSAGE), traceback=traceback_of(error))


def encodable(text: str) -> str:
    """The text without lone surrogates, as in the name of a file that is no UTF-8: no store can write those."""
    return text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """The traceback as text, without the frames of the worker, cut in the middle when it is very long."""
    if isinstance(error, TaskInterrupted) and error.remote_traceback:
        return error.remote_traceback
    frames: Any = error.__traceback__
    # What stands above the task's own first frame is the same for every error and says nothing to its author.
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith("stem_core."):
        frames = frames.tb_next
    own = frames if frames is not None else error.__traceback__
    try:
        lines = traceback.format_exception(type(error), error, own)
    except Exception as broken:
        # Some errors hold what the traceback module cannot print: a SyntaxError whose text is none, odd notes.
        end = f"{type(error).__qualname__}: <it cannot be shown: {type(broken).__name__}>\n"
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(own), end]
    return _shortened(encodable("".join(lines)), MAX_TRACEBACK)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n... {len(text) - most:,} characters left out ...\n{text[-half:]}"
