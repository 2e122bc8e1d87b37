"""Where in the code of a user something is made."""

from __future__ import annotations

import inspect
import os


def caller() -> tuple[str, str]:
    """The module that makes the app, and the line: ``tasks.py:5``, for the origin of its settings. Relative where that
    is possible."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = frame and frame.f_back
    if frame is None:
        return "", ""
    module = frame.f_globals.get("__name__", "")
    name = frame.f_code.co_filename
    try:
        path = os.path.relpath(name)
    except OSError:  # the current folder is gone
        path = ".."
    return module, f"{name if path.startswith('..') else path}:{frame.f_lineno}"
