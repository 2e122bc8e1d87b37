"""What every thread is doing, for people to read."""

from __future__ import annotations

import sys
import threading
import traceback


def all_stacks() -> str:
    """The stack of every thread of this process, the main thread first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - the documented way, whatever its underscore says
    order = sorted(frames, key=lambda ident: (ident != threading.main_thread().ident, ident))
    return "\n".join(
        f"--- thread {names.get(ident, '?')}\n{''.join(traceback.format_stack(frames[ident]))}" for ident in order
    )
