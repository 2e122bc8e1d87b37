"""A producer that goes on whatever happens to the server, and what came of its jobs."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from stem_core.errors import StoreError
from stem_core.model import TaskState
from support.worker_proc import Site, Stopwatch, WorkerProc

#: Jobs of one call, seconds that each takes, and seconds between two calls.
BATCH, WORK, PAUSE = 20, 0.03, 0.08


class Load:
    """Enqueues batches while entered; each is sent again, with the same ids, until it was accepted."""

    def __init__(self, site: Site) -> None:
        self._site = site
        #: When the call began that was accepted, by id.
        self.accepted: dict[str, float] = {}
        #: Failed calls, by the name of the error.
        self.errors: Counter[str] = Counter()
        #: Seconds that the longest call took.
        self.longest = 0.0
        self._numbers = itertools.count()
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await self.more(BATCH)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._stop.set()
        await self._task

    async def _run(self) -> None:
        app = self._site.producer()
        async with app.open():
            while not self._stop.is_set():
                calls = [app.call("work", (WORK,), id=f"job-{next(self._numbers)}") for _ in range(BATCH)]
                while True:
                    watch, began = Stopwatch(), self._site.now()
                    try:
                        handles = await app.enqueue_many(calls)
                    except StoreError as error:
                        self.errors[type(error).__name__] += 1
                        self.longest = max(self.longest, watch.seconds)
                        await asyncio.sleep(PAUSE)
                    else:
                        break
                self.longest = max(self.longest, watch.seconds)
                self.accepted |= dict.fromkeys((handle.id for handle in handles), began)
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE):
                        await self._stop.wait()

    async def _until(self, condition: Callable[[], object], timeout: float = 30.0) -> None:
        assert self._task is not None
        watch = Stopwatch()
        while not condition():
            if self._task.done():
                self._task.result()
            assert watch.seconds < timeout, f"waited for {timeout} s"
            await asyncio.sleep(0.02)

    async def more(self, count: int) -> None:
        """Return when so many more were accepted."""
        goal = len(self.accepted) + count
        await self._until(lambda: len(self.accepted) >= goal)

    async def refused(self) -> None:
        """Return when another call has failed."""
        before = self.errors.total()
        await self._until(lambda: self.errors.total() > before)

    async def resumed(self, workers: list[WorkerProc], since: float) -> float:
        """Seconds from ``since`` until every worker has started a job that was enqueued after it."""

        def first() -> dict[int, float]:
            found: dict[int, float] = {}
            for event in reversed(self._site.ledger.events("start")):
                if event["at"] < since:
                    break
                if self.accepted.get(event["id"], 0.0) >= since:
                    found[event["pid"]] = event["at"] - since
            return found

        wanted = {worker.pid for worker in workers}
        await self._until(lambda: first().keys() >= wanted)
        return max(first().values())

    async def ended(self, ids: Sequence[str] | None = None, timeout: float = 30.0) -> Counter[TaskState]:
        """The states of these jobs (default: of all) and how many there are of each, once all have ended."""
        ids = list(self.accepted) if ids is None else ids
        app = self._site.producer()
        watch = Stopwatch()
        async with app.open() as session:
            assert session.backend is not None
            while True:
                statuses = await session.backend.get(ids)
                states = Counter(status.state for status in statuses.values())
                if sum(states[state] for state in TaskState if state.terminal) == len(ids):
                    return states
                assert watch.seconds < timeout, f"{len(ids)} jobs: {states}"
                await asyncio.sleep(0.1)

    def runs(self) -> Counter[int]:
        """How many jobs were started so many times."""
        starts = Counter(event["id"] for event in self._site.ledger.events("start"))
        return Counter(starts[id] for id in self.accepted)
