"""What every thread is doing, for people to read."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from typing import Any


def all_stacks() -> str:
    """The stack of every thread of this process, the main thread first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - the documented way, whatever its underscore says
    order = sorted(frames, key=lambda ident: (ident != threading.main_thread().ident, ident))
    return "\n".join(
        f"--- thread {names.get(ident, '?')}\n{''.join(traceback.format_stack(frames[ident]))}" for ident in order
    )


def coroutine_stack(task: asyncio.Task[Any]) -> str:
    """Where a suspended task waits, from the outermost coroutine to the innermost."""
    lines: list[str] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None)
        if frame is not None:
            lines += traceback.format_stack(frame, limit=1)
        waiting = getattr(waiting, "cr_await", None)
    return "".join(lines).rstrip()
