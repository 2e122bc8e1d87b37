"""Room for running deliveries: each runs in its own asyncio task, with its own copy of the context."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from stem_core.model import Failed, HandedBack, Outcome
from stem_core.signals import Signals
from stem_core.worker.announce import Announcer
from stem_core.worker.describing import describe
from stem_core.worker.executor import Executor
from stem_core.worker.gate import Gate
from stem_core.worker.inflight import PREFETCHED, RUNNING, Entry, InFlight
from stem_core.worker.lanes import Lanes
from stem_core.worker.stacks import coroutine_stack

if TYPE_CHECKING:
    from stem_core.worker.settle import Settler

logger = logging.getLogger("stem_core.worker")


class Slots:
    """Starts what waits while there is room, and leads each delivery down its straight line:
    gate, executor, settler."""

    def __init__(
        self,
        inflight: InFlight,
        *,
        gate: Gate,
        executor: Executor,
        settler: Settler,
        announcer: Announcer,
        signals: Signals,
        confirm: Callable[[Entry], Awaitable[bool]],
        concurrency: int,
        lanes: Lanes | None = None,
    ) -> None:
        self._inflight = inflight
        self._gate = gate
        self._executor = executor
        self._settler = settler
        self._announcer = announcer
        self._confirm = confirm
        self._prerun = signals.task_prerun
        self.concurrency = concurrency
        #: What runs of each queue; None: every slot is for every queue.
        self._lanes = lanes
        self._loop = asyncio.get_running_loop()
        # Tasks are started from the end of other tasks; a copy of the worker's own context keeps what one task set
        # out of the next.
        self._context = contextvars.copy_context()
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = True
        #: Entries that were given up though they run on.
        self._lost: set[Entry] = set()
        #: Called with the number of lost slots, when there is one more.
        self.on_lost: Callable[[int], None] = _nothing

    @property
    def lost(self) -> int:
        """How many slots are held by what runs on though it was given up."""
        return len(self._lost)

    @property
    def free(self) -> int:
        """How many slots have nothing to run, now."""
        return self.concurrency - self._inflight.running

    def start_waiting(self) -> None:
        """Fill the free slots from what is prefetched."""
        inflight, lanes = self._inflight, self._lanes
        waiting = inflight.waiting
        while waiting and self._open and inflight.running < self.concurrency:
            entry = waiting.popleft()
            if entry is None:
                # All that wait are of lanes that are full.
                return
            if entry.stage is not PREFETCHED:
                continue
            entry.stage = RUNNING
            if lanes is not None:
                lanes.enter(entry.delivery.receipt.queue)
            inflight.running += 1
            self._idle.clear()
            entry.asyncio_task = self._loop.create_task(
                self._lead(entry), name=entry.delivery.message.id, context=self._context.copy()
            )

    async def _lead(self, entry: Entry) -> None:
        outcome: Outcome = HandedBack(reason="shutdown")
        try:
            # Interrupted between its start and its first step: the task exists but has not run a line.
            if entry.interrupt is None:
                refusal = self._gate.judge(entry)
                while refusal is None and not self._executor.prepare(entry):
                    refusal = await self._ask(entry)
                if refusal is not None:
                    outcome = refusal
                else:
                    if self._prerun:
                        await self._announcer.prerun(entry)
                    outcome = await self._executor.execute(entry)
        except asyncio.CancelledError:
            outcome = HandedBack(reason=entry.interrupt or "shutdown")
        except Exception as error:
            # The steps turn the errors of tasks into outcomes. What comes out all the same is a mistake in them or in
            # a plugin: handed back it would come again for ever.
            id = entry.delivery.message.id
            logger.exception("%s cannot be run: a mistake in the worker or a plugin; the task has failed", id)
            outcome = Failed(reason="failed", error=describe(error))
        finally:
            inflight = self._inflight
            inflight.running -= 1
            if self._lanes is not None:
                self._lanes.leave(entry.delivery.receipt.queue)
            self._lost.discard(entry)
            if entry.interrupt == "lease-lost":
                if entry.outcome is None:
                    # Else it was handed back before it ended.
                    entry.outcome = outcome
                self._settler.lose(entry)
            else:
                self._settler.take(entry, outcome)
            if inflight.waiting:
                self.start_waiting()
            if inflight.running == len(self._lost):
                self._idle.set()

    async def _ask(self, entry: Entry) -> Outcome | None:
        """It waited so long without a renewal that another worker may have it: ask the broker whether it is ours. None:
        it is, and still to be run; else what becomes of it."""
        if not await self._confirm(entry):
            return HandedBack(reason=entry.interrupt or "shutdown")
        # It may have expired meanwhile, or its revocation become known.
        return self._gate.judge(entry)

    def lose(self, entry: Entry) -> None:
        """Nobody waits for this entry any more, but its slot is free only when it ends after all."""
        self._lost.add(entry)
        if self._inflight.running == len(self._lost):
            self._idle.set()
        logger.error(
            "%s[%s] runs on after its time limit and is left behind; %d of %d slots are lost\n%s",
            entry.ctx.task if entry.ctx is not None else "?",
            entry.delivery.message.id,
            len(self._lost),
            self.concurrency,
            coroutine_stack(entry.asyncio_task) if entry.asyncio_task is not None else "",
        )
        self.on_lost(len(self._lost))

    def close(self) -> list[Entry]:
        """Start nothing more; returns what was prefetched and has not started."""
        self._open = False
        unstarted = [entry for entry in self._inflight.waiting if entry.stage is PREFETCHED]
        self._inflight.waiting.clear()
        return unstarted

    def withdraw(self, queue: str) -> list[Entry]:
        """What was claimed of this queue and has not started; it does not wait for a slot any more."""
        withdrawn: list[Entry] = []
        waiting = list(self._inflight.waiting)
        self._inflight.waiting.clear()
        for entry in waiting:
            if entry.leased and entry.delivery.receipt.queue == queue:
                withdrawn.append(entry)
            else:
                self._inflight.waiting.append(entry)
        return [entry for entry in withdrawn if entry.stage is PREFETCHED]

    async def drained(self) -> None:
        """Return when nothing runs but what was left behind."""
        await self._idle.wait()


def _nothing(lost: int) -> None:
    """Until a worker wants to know."""
