"""What takes time before the first claim: child processes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from stem_core.contracts import ConcurrencyStrategy
from stem_core.worker.lifespan import StoppedAtStart
from stem_core.worker.racing import first
from stem_core.worker.stopping import StopMachine


async def start_strategies(strategies: Collection[ConcurrencyStrategy], machine: StopMachine) -> None:
    """Start them all; when one cannot, none stays.

    Raises:
        StemError: one cannot run anything; says why.
        StoppedAtStart: a stop was asked for meanwhile.
    """
    starting = asyncio.gather(*(strategy.start() for strategy in strategies))
    ready = False
    try:
        if await first(asyncio.wait((starting,)), machine.reached("warm")) == 1:
            starting.cancel()
            raise StoppedAtStart
        await starting
        ready = True
    finally:
        if not ready:
            for strategy in strategies:
                await strategy.close("abandon")
