"""An app whose ``lifespan`` has a signal handler of its own on the worker's loop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stem_core import Stem
from support.ledger import note


@asynccontextmanager
async def lifespan(_app: Stem) -> AsyncIterator[None]:
    """Note each SIGUSR2."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, lambda: note(os.environ["STEM_TEST_LEDGER"], "usr2"))
    yield
    loop.remove_signal_handler(signal.SIGUSR2)


app = Stem("handling-jobs", lifespan=lifespan)
