"""Running plain functions in threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from queue import SimpleQueue
from typing import Literal

from stem_core.contracts import Call, ConcurrencyStrategy, Invoker


class _Job:
    """One call on its way through a thread. The future belongs to the loop; the thread fills in the rest."""

    __slots__ = ("call", "context", "error", "future", "result", "started", "withdrawn")

    def __init__(self, call: Call, future: asyncio.Future[bytes]) -> None:
        self.call = call
        self.context = contextvars.copy_context()
        self.future = future
        self.result = b""
        self.error: BaseException | None = None
        self.started = False
        self.withdrawn = False


class ThreadStrategy(ConcurrencyStrategy):
    """As many daemon threads as slots, started when they are first needed.

    The threads are our own, not those of ``concurrent.futures``: that module joins its threads when the interpreter
    ends, so one task that never returns would keep a stopped worker alive.
    """

    def __init__(self, invoker: Invoker, slots: int) -> None:
        self._invoker = invoker
        self._slots = slots
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._running: set[_Job] = set()
        self._threads: set[threading.Thread] = set()
        # Threads that have not been told to end. Those that have may still be busy, so counting them would leave
        # jobs to threads that are about to go.
        self._staying = 0
        self._number = 0
        self._ended: deque[_Job] = deque()
        self._posted = False
        # Makes "withdraw it unless it was started" and "start it unless it was withdrawn" one step each.
        self._start_lock = threading.Lock()
        self._drained: asyncio.Event | None = None
        self._abandoned = False

    async def run(self, call: Call) -> bytes:
        """Runs ``call_sync`` in a thread, in a copy of the caller's context.

        A cancellation is let through at once before the function has started, and only after it has ended later:
        a thread cannot be left. Its result is dropped then.
        """
        job = _Job(call, self._loop.create_future())
        self._running.add(job)
        try:
            if self._staying < min(self._slots, len(self._running)):
                self._start_thread()
            self._jobs.put(job)
            return await asyncio.shield(job.future)
        except asyncio.CancelledError:
            if not job.future.done():
                await self._wait_out(job)
            raise
        finally:
            self._running.discard(job)
            if self._drained is not None and not self._running:
                self._drained.set()

    async def _wait_out(self, job: _Job) -> None:
        """Return when the function has ended, however often the caller is cancelled meanwhile."""
        with self._start_lock:
            job.withdrawn = True
            if not job.started:
                return
        while not job.future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([job.future])
        if not job.future.cancelled():
            job.future.exception()  # the loop complains of errors that nobody looked at

    def _start_thread(self) -> None:
        self._number += 1
        thread = threading.Thread(target=self._work, name=f"stem-task-{self._number}", daemon=True)
        thread.start()
        self._threads = {other for other in self._threads if other.is_alive()} | {thread}
        self._staying += 1

    def _dismiss(self, count: int) -> None:
        """Tell ``count`` threads to end when they are next idle."""
        for _ in range(count):
            self._staying -= 1
            self._jobs.put(None)

    def _work(self) -> None:
        """The life of one thread: until it is handed None."""
        while (job := self._jobs.get()) is not None:
            with self._start_lock:
                if job.withdrawn:
                    continue
                job.started = True
            try:
                job.result = job.context.run(self._invoker.call_sync, job.call)
            except BaseException as error:  # whatever it is, it belongs to the task and not to this thread
                job.error = error
            self._ended.append(job)
            # One wake-up of the loop serves all that ends before it comes round: it costs more than a short task.
            if not self._posted:
                self._posted = True
                # The loop may be gone after `abandon`; then nobody waits for this result any more.
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._collect)
            del job

    def _collect(self) -> None:
        """On the loop: hand the results over. Cleared first, so that what ends from here on posts anew."""
        self._posted = False
        while self._ended:
            job = self._ended.popleft()
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.result)
            elif isinstance(job.error, StopIteration | GeneratorExit):
                # A future cannot carry the one (PEP 479), and the other would close whoever awaits it.
                wrapped = RuntimeError(f"the task raised {type(job.error).__name__}")
                wrapped.__cause__ = job.error
                job.future.set_exception(wrapped)
            else:
                job.future.set_exception(job.error)

    async def resize(self, slots: int) -> None:
        """More threads start when they are needed; surplus ones end when they are next idle."""
        self._slots = slots
        self._dismiss(self._staying - slots)

    async def close(self, mode: Literal["drain", "abandon"]) -> None:
        """``abandon`` lets every waiting :meth:`run` go with a CancelledError; daemon threads hold nothing up."""
        if mode == "drain" and self._running:
            self._drained = self._drained or asyncio.Event()
            await self._drained.wait()
        self._dismiss(self._staying)
        if mode == "abandon":
            self._abandoned = True
            for job in self._running:
                with self._start_lock:
                    job.withdrawn = True
                job.future.cancel()
        if not self._abandoned:
            for thread in self._threads:
                # All are idle and have been told to end: this takes microseconds.
                thread.join()
