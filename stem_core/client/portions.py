"""Many messages go to the broker in portions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

#: The most messages that go to the broker in one call.
CHUNK = 1_000


async def one_ahead(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run the steps in order, each beginning while the one before is under way, and so before the next is made:
    neither who makes them nor who takes them waits for the other."""
    under_way: list[asyncio.Task[None]] = []
    try:
        for step in steps:
            under_way.append(asyncio.create_task(step))
            # It begins in this turn of the loop, not when the next is made.
            await asyncio.sleep(0)
            if len(under_way) > 1:
                await under_way[0]
                del under_way[0]
        for last in under_way:
            await last
    finally:
        for task in under_way:
            task.cancel()
        # They have ended when this has; of two errors the first is told.
        await asyncio.gather(*under_way, return_exceptions=True)
