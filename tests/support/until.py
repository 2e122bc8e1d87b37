"""Waiting for what the code under test brings about by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Ends a test that has failed, in seconds. A busy machine takes its time to start a few processes.
PATIENCE = 40.0


async def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Return once the condition holds. The timeout only ends a test that has failed.

    Raises:
        TimeoutError: it did not come about.
    """
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to tell of it
            await asyncio.sleep(0.001)
