"""The strategy ``processes``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Literal

from stem_core.builtin.strategies.processes.backoff import backoff
from stem_core.builtin.strategies.processes.ending import Ending
from stem_core.builtin.strategies.processes.handle import END_GRACE, Child
from stem_core.builtin.strategies.processes.heirs import Heirs
from stem_core.builtin.strategies.processes.job import Job
from stem_core.contracts import Call, ConcurrencyStrategy, RemoteInvoker
from stem_core.errors import InterruptReason, TaskInterrupted, WorkerFailed

logger = logging.getLogger("stem_core.worker")

#: How long killed children are waited for when all is abandoned, in seconds.
ABANDON_GRACE = 0.2


class ProcessStrategy(ConcurrencyStrategy):
    """Runs each call in a child process of the worker, one at a time in each.

    Children are started with the worker, up to one for each slot, and kept. One that dies costs the call that ran in
    it and is replaced; one that is worn is replaced too, by a new one that is ready first.
    """

    preemptible = True

    def __init__(self, invoker: RemoteInvoker, slots: int) -> None:
        """Raises:
        ConfigurationError: a child process could not import the app.
        """
        self._invoker = invoker
        self._plan = invoker.children
        self._slots = slots
        self._loop = asyncio.get_running_loop()
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._waiting: deque[Job] = deque()
        #: By the identity of their call: an id may run twice at once, when its lease was lost.
        self._jobs: dict[int, Job] = {}
        #: How many children died in a row without having ended a call in between.
        self._failures = 0
        self._retry: asyncio.TimerHandle | None = None
        self._heirs = Heirs(self._loop, self._children, self._spawn)
        self._started = False
        self._closing = False
        #: What the first children say, for :meth:`start`.
        self._first: asyncio.Future[None] | None = None
        # Set while the pool has no call, and while it has no child.
        self._drained = asyncio.Event()
        self._empty = asyncio.Event()
        self._drained.set()
        self._empty.set()

    async def start(self) -> None:
        """Start a child for each slot; returns when the first is ready.

        Raises:
            WorkerFailed: no child can start; says why.
        """
        self._started = True
        self._first = self._loop.create_future()
        self._grow()
        if not self._children:
            raise WorkerFailed(
                "no child process could be started", hint="the log says why; see the limits of this user"
            )
        try:
            await self._first
        finally:
            self._first = None

    async def run(self, call: Call) -> bytes:
        """Give the call to the next free child; a cancellation waits for its end, as with a thread."""
        job = Job(call, self._loop.create_future())
        self._jobs[id(call)] = job
        self._drained.clear()
        try:
            if self._idle and not self._waiting:
                self._assign(self._idle.pop(), job)
            else:
                self._waiting.append(job)
                self._grow()
            try:
                report = await job.future
            except asyncio.CancelledError:
                await self._wait_out(job)
                raise
            return self._invoker.finish(call, report)
        finally:
            del self._jobs[id(call)]
            if not self._jobs:
                self._drained.set()

    def interrupt(self, call: Call, reason: InterruptReason) -> bool:
        """Tell the child; a call that still waits for one ends at once."""
        job = self._jobs.get(id(call))
        if job is not None and not self._drop(job, reason) and job.child is not None and not job.over:
            job.child.interrupt(reason)
        return True

    def kill(self, call: Call, reason: InterruptReason) -> bool:
        """Kill the child that runs it."""
        job = self._jobs.get(id(call))
        if job is None:
            return False
        job.killed = reason
        child = job.child
        if child is not None:
            return child.kill(job)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._kill_waiting, job, reason)
        return True

    async def resize(self, slots: int) -> None:
        """More children are started, at once if there were any at the start; surplus ones end when they are idle."""
        self._slots = slots
        self._grow()
        while len(self._staying) > self._room and self._idle:
            self._dismiss(self._idle.pop(0))

    def memory_for(self, slots: int) -> int:
        """So many children more, each as large as those there are."""
        staying = self._staying
        more = min(slots, self._plan.processes) - len(staying)
        if more <= 0 or not self._started:
            return 0
        sizes = [size for child in staying if child.ready and (size := child.memory)]
        return more * sum(sizes) // len(sizes) if sizes else 0

    async def close(self, mode: Literal["drain", "abandon"]) -> None:
        """``abandon`` kills all children, and lets every waiting :meth:`run` go with a CancelledError."""
        self._stop_growing()
        if mode == "drain":
            await self._drained.wait()
            for child in self._staying:
                self._dismiss(child)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_GRACE):
                    await self._empty.wait()
        for job in list(self._jobs.values()):
            job.over = True
            job.future.cancel()
        for child in list(self._children):
            child.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ABANDON_GRACE):
                await self._empty.wait()

    # What children say

    def on_ready(self, child: Child) -> None:
        """A child can run calls; the one that it replaces may go."""
        self._tell_first(None)
        old = self._heirs.ready(child)
        if old is not None:
            self._dismiss(old)
        self._release(child)
        if self._missing > 0 and self._retry is None and not self._closing:
            # After failures they are started one by one: this one lives, now the next.
            self._spawn()

    def on_refused(self, child: Child, why: str) -> None:
        """It ends by itself; its end is what counts."""
        logger.error("a child process (%d) could not start: %s", child.pid, why)
        self._tell_first(
            WorkerFailed(
                f"a child process could not start: {why}",
                hint="what it imports and its lifespan run in the child; its traceback is above",
            )
        )

    def on_news(self, child: Child, message: bytes) -> None:
        """The call that runs in it tells something."""
        if child.job is not None:
            self._invoker.news(child.job.call, message)

    def on_done(self, child: Child, job: Job, report: bytes) -> None:
        """Its call has ended: the next one starts before anybody looks at the result."""
        self._failures = 0
        if child.worn:
            self.on_worn(child)
        self._release(child)
        job.end(report)

    def on_worn(self, child: Child) -> None:
        """The replacement first."""
        self._heirs.replace(child)

    def on_ended(self, child: Child, job: Job | None, ending: Ending) -> None:
        """A child is gone: its call with it, and another takes its place."""
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        self._heirs.ended(child)
        killed = job is not None and job.killed is not None
        if job is not None:
            if job.killed is not None:
                if job.killed == "shutdown":
                    # A hard stop: it would wait for the start of children that nobody needs.
                    self._stop_growing()
                job.end(error=TaskInterrupted(job.killed))
            elif not (child.heard or job.left or self._closing):
                # It had died before: what did not begin is not charged. Its time limits go on.
                job.child = None
                self._waiting.appendleft(job)
            else:
                job.end(error=ending.error())
        if not child.leaving and not killed and not self._closing:
            self._failures += 1
            logger.error("child %s", ending)
            self._tell_first(WorkerFailed(f"a child process could not start: {ending}"))
        elif child.leaving and ending.exit_code:
            logger.error("child %s, at its end", ending)
        if not self._children:
            self._empty.set()
        self._grow()

    # Inside

    @property
    def _room(self) -> int:
        return min(self._slots, self._plan.processes)

    @property
    def _missing(self) -> int:
        """How many more there should be; 0 or less: none."""
        staying = self._staying
        idle_or_coming = len(self._idle) + sum(1 for child in staying if not child.ready)
        wanted = self._room if self._started else 0
        return min(max(wanted - len(staying), len(self._waiting) - idle_or_coming), self._room - len(staying))

    @property
    def _surplus(self) -> bool:
        """Whether there are more than there is room for, those not counted that are being replaced."""
        return len(self._staying) - sum(1 for old in self._children if old.heir is not None) > self._room

    @property
    def _staying(self) -> list[Child]:
        return [child for child in self._children if not child.leaving]

    def _assign(self, child: Child, job: Job) -> None:
        try:
            request = self._invoker.begin(job.call)
        except BaseException as error:  # a call that cannot be sent, or was interrupted before, ends here
            self._release(child)
            job.end(error=error)
            return
        job.child = child
        child.run(job, request)

    def _release(self, child: Child) -> None:
        """A child is free: for what waits, else for what comes, unless it is to go."""
        if child.leaving:
            child.stop()
        elif len(self._children) > self._room and self._surplus:
            self._dismiss(child)
        elif self._waiting:
            self._assign(child, self._waiting.popleft())
        else:
            self._idle.append(child)

    def _dismiss(self, child: Child) -> None:
        """Let it go: now, or when its call has ended."""
        child.leaving = True
        if child in self._idle:
            self._idle.remove(child)
        if child.job is None:
            child.stop()

    def _grow(self) -> None:
        """Start the children that are missing."""
        if self._closing or self._retry is not None:
            return
        missing = self._missing
        if missing > 0 and self._failures > 1:
            self._retry = self._loop.call_later(backoff(self._failures), self._try_again)
            return
        for _ in range(missing):
            if self._spawn() is None:
                return

    def _try_again(self) -> None:
        self._retry = None
        if not self._closing and len(self._staying) < self._room:
            # One by one: the next is started when this one has shown that it lives.
            self._spawn()

    def _spawn(self) -> Child | None:
        try:
            child = Child(self._loop, self, self._plan)
        except OSError as error:
            logger.error("a child process could not be started: %s", error)
            self._failures += 2
            if self._retry is None:
                self._retry = self._loop.call_later(backoff(self._failures), self._try_again)
            return None
        self._children.add(child)
        self._empty.clear()
        return child

    def _stop_growing(self) -> None:
        self._closing = True
        self._heirs.close()
        if self._retry is not None:
            self._retry.cancel()

    def _tell_first(self, error: WorkerFailed | None) -> None:
        first = self._first
        if first is None or first.done():
            return
        if error is None:
            first.set_result(None)
        else:
            first.set_exception(error)

    def _drop(self, job: Job, reason: InterruptReason) -> bool:
        """End a call that still waits for a child."""
        if job.child is not None or job.over or job not in self._waiting:
            return False
        self._waiting.remove(job)
        job.end(error=TaskInterrupted(reason))
        return True

    def _kill_waiting(self, job: Job, reason: InterruptReason) -> None:
        if not self._drop(job, reason) and job.child is not None:
            job.child.kill(job)

    async def _wait_out(self, job: Job) -> None:
        """Return when the call has ended, however often the caller is cancelled meanwhile."""
        if job.over:
            return
        if job in self._waiting:
            self._waiting.remove(job)
            return
        job.left = True
        if job.child is not None:
            job.child.interrupt("shutdown")
        while not job.over:
            job.future = self._loop.create_future()
            with contextlib.suppress(BaseException):  # the outcome of a call that nobody waits for any more
                await job.future
