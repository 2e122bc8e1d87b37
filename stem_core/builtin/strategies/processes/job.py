"""One call on its way through a child process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from stem_core.contracts import Call
from stem_core.errors import InterruptReason

if TYPE_CHECKING:
    from stem_core.builtin.strategies.processes.handle import Child


class Job:
    """One call on its way through a child. On the loop, but for ``killed``."""

    __slots__ = ("call", "child", "future", "killed", "left", "over")

    def __init__(self, call: Call, future: asyncio.Future[bytes]) -> None:
        self.call = call
        self.future = future
        #: Where it runs; None while it waits.
        self.child: Child | None = None
        #: Why it is killed; set by whoever kills it.
        self.killed: InterruptReason | None = None
        #: Its caller was cancelled, and only waits for the end.
        self.left = False
        self.over = False

    def end(self, report: bytes = b"", error: BaseException | None = None) -> None:
        """Wake who waits for it, once."""
        self.over = True
        if self.future.done():
            return
        if error is None:
            self.future.set_result(report)
        else:
            self.future.set_exception(error)
