"""What takes time before the first claim: child processes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from stem_core.contracts import ConcurrencyStrategy
from stem_core.worker.lifespan import StoppedAtStart
from stem_core.worker.racing import first
from stem_core.worker.stopping import StopMachine


async def start_strategies(
    strategies: Mapping[str, ConcurrencyStrategy], on_demand: Collection[str], machine: StopMachine
) -> None:
    """Start them all but those ``on_demand``; when one cannot, none stays.

    Raises:
        StemError: one cannot run anything; says why.
        StoppedAtStart: a stop was asked for meanwhile.
    """
    starting = asyncio.gather(*(strategy.start() for name, strategy in strategies.items() if name not in on_demand))
    ready = False
    try:
        if await first(asyncio.wait((starting,)), machine.reached("warm")) == 1:
            starting.cancel()
            raise StoppedAtStart
        await starting
        ready = True
    finally:
        if not ready:
            for strategy in strategies.values():
                await strategy.close("abandon")
