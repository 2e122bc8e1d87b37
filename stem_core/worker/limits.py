"""Keeping hard time limits: a process is killed; what cannot be killed is cancelled, then left behind."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from stem_core.worker.cancellation import kill, mark
from stem_core.worker.inflight import RUNNING, Entry

if TYPE_CHECKING:
    from stem_core.worker.executor import Executor
    from stem_core.worker.settle import Settler
    from stem_core.worker.slots import Slots

logger = logging.getLogger("stem_core.worker")

#: So long a coroutine or a thread has to take its interruption, in seconds.
GRACE = 1.0


class Enforcer:
    """Ends what has reached its hard time limit. On the worker's loop."""

    def __init__(self, executor: Executor, slots: Slots, settler: Settler) -> None:
        self._executor = executor
        self._slots = slots
        self._settler = settler
        self._loop = asyncio.get_running_loop()

    def overrun(self, entry: Entry) -> None:
        """Kill it, or ask it to stop and come back after the grace."""
        entry.overran = True
        mark(entry, "time-limit")
        if entry.strategy is not None and entry.strategy.preemptible:
            kill(entry, "time-limit")
            return
        if entry.task is not None and entry.task.is_coroutine and entry.asyncio_task is not None:
            entry.asyncio_task.cancel("time-limit")
        self._loop.call_later(GRACE, self._abandon, entry)

    def _abandon(self, entry: Entry) -> None:
        """It runs on and nobody can help that: its outcome is decided without it, its slot is lost."""
        if entry.stage is not RUNNING:
            return
        outcome = self._executor.overrun(entry)
        if entry.interrupt == "lease-lost":
            self._settler.lose(entry)
        else:
            self._settler.take(entry, outcome)
        self._slots.lose(entry)
