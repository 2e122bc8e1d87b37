"""How a worker's service ends: what runs is awaited, then interrupted, then handed back; nothing is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stem_core.errors import StoreError
from stem_core.model import Release, Settlement
from stem_core.worker.cancellation import interrupt, kill
from stem_core.worker.inflight import GONE
from stem_core.worker.line import Line
from stem_core.worker.news import News
from stem_core.worker.racing import first
from stem_core.worker.stopping import StopMachine

if TYPE_CHECKING:
    from stem_core.client.session import Session

logger = logging.getLogger("stem_core.worker")

#: A hard stop waits this long for the stores to take what is handed back, in seconds.
HARD_FLUSH = 1.5
#: And this long for coroutines to take their cancellation.
HARD_GRACE = 0.3


class Draining:
    """Leads the deliveries of a line through the phases of a stop, as the stop machine enters them."""

    def __init__(self, line: Line, machine: StopMachine, news: News) -> None:
        self._line = line
        self._machine = machine
        self._news = news
        #: Whether started work was handed back.
        self.interrupted = False
        #: Whether something runs on that could not be stopped.
        self.abandoned = False

    async def drain(self, intake: asyncio.Task[None], beside: Sequence[asyncio.Task[None]]) -> None:
        """Wait for a stop, and carry it out; returns when nothing is held any more, or nothing more can be done.

        ``beside`` are the services that end when claiming does.
        """
        line, machine = self._line, self._machine
        await machine.reached("quiet")
        line.stop_claiming()
        for service in beside:
            service.cancel()
        self._news.stopping(machine.phase, machine.reason)
        await first(asyncio.wait((intake,)), machine.reached("hard"))
        await machine.reached("warm")
        if await first(line.finished(), machine.reached("soft")) == 1:
            self._news.stopping(machine.phase, machine.reason)
            line.interrupt_all()
            if await first(line.finished(), machine.reached("hard")) == 1:
                self._news.stopping(machine.phase, machine.reason)
                line.hand_back_all()
        if machine.at_least("hard"):
            await first(line.returned(), asyncio.sleep(HARD_FLUSH))
            self.abandoned = await first(line.slots.drained(), asyncio.sleep(HARD_GRACE)) == 1
        self.abandoned = self.abandoned or line.slots.lost > 0
        self.interrupted = line.settler.interrupted > 0
        unsettled = len(line.inflight)
        if unsettled:
            self.interrupted = True
            logger.error("%d deliveries could not be settled; their leases will end and others take them", unsettled)

    async def let_end(self, ending: Sequence[asyncio.Task[None]]) -> None:
        """Let these end by themselves, and the handlers that were told of the worker. What a store or a handler holds
        up beyond the time of the stop is left behind."""
        waiting = {*ending, *self._news.under_way}
        await first(asyncio.wait(waiting), self._after_hard())
        for task in waiting:
            task.cancel()

    async def give_back(self, session: Session) -> None:
        """The worker fails: what it holds need not wait for its leases to end."""
        line = self._line
        line.intake.close()
        # What is prefetched must not start in the slots that become free: others may have it by then.
        line.slots.close()
        await first(line.intake.claimed(), asyncio.sleep(HARD_FLUSH))
        held = [entry for entry in line.inflight.snapshot() if entry.stage is not GONE]
        for entry in held:
            interrupt(entry, "shutdown")
            kill(entry, "shutdown")
        settlements = [Settlement(receipt=entry.delivery.receipt, action=Release()) for entry in held if entry.leased]
        if settlements:
            try:
                await session.deadline("broker: settle", session.broker.settle(settlements), seconds=HARD_FLUSH)
            except StoreError as error:
                logger.error("could not hand back %d deliveries; their leases will end: %s", len(held), error.message)
        self.abandoned = await first(line.slots.drained(), asyncio.sleep(HARD_GRACE)) == 1 or line.slots.lost > 0

    async def _after_hard(self) -> None:
        await self._machine.reached("hard")
        await asyncio.sleep(HARD_GRACE)
