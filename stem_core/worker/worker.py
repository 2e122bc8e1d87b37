"""The worker as its users see it: embedded in a service, run until stopped, or run from the command line."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.errors import InvalidOption, StemError, WorkerFailed
from stem_core.model import Heartbeat, WorkerPhase
from stem_core.model.spans import Span, in_seconds
from stem_core.worker.leaving import leave, leaving
from stem_core.worker.life import Life
from stem_core.worker.os_signals import CaughtSignals, caught_signals
from stem_core.worker.steering import Steering
from stem_core.worker.stopping import check_mode
from stem_core.worker.subscribing import too_few_slots

if TYPE_CHECKING:
    from stem_core.client.app import Stem

logger = logging.getLogger("stem_core.worker")

#: Exit codes: everything drained, an error of the worker, started work handed back.
DRAINED, FAILED, HANDED_BACK = 0, 1, 4


class Worker:
    """Runs the tasks of an app.

    ::

        async with Worker(app, queues=["mail"], concurrency=50) as worker:
            ...  # drains on leaving; a fatal error is raised here as WorkerFailed
        await Worker(app).run()  # until stopped

    Args:
        app: What to run.
        command_line: Settings by dotted key that win over the environment; for command line programs.
        options: Settings of the section ``worker`` (``queues``, ``concurrency``, ``lease`` ...); the environment wins
            over them.

    Raises:
        ConfigurationError: a setting that cannot be used, a task that no strategy runs.
        PluginError: a selected plugin that is broken.
    """

    def __init__(
        self, app: Stem, *, command_line: Mapping[str, Any] | None = None, clock: Clock = SYSTEM_CLOCK, **options: Any
    ) -> None:
        caller = sys._getframe(1)  # noqa: SLF001 - the origin of a setting is where it was written
        origin = f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}"
        self._app = app
        self._life = Life(
            app,
            clock,
            code={f"worker.{name}": given for name, given in options.items()},
            code_origin=origin,
            command_line=command_line or {},
        )
        self._task: asyncio.Task[None] | None = None
        self._exit_code: int | None = None

    @property
    def id(self) -> str:
        """The id of this worker; settled by its settings, the same in heartbeats, logs and signals."""
        return self._life.plan.worker

    @property
    def phase(self) -> WorkerPhase:
        """``starting running quiet warm soft hard stopped``."""
        return self._life.phase

    @property
    def exit_code(self) -> int | None:
        """0 drained, 1 failed, 4 stopped with started work handed back; None while it lives."""
        return self._exit_code

    def heartbeat(self) -> Heartbeat:
        """The record of this moment."""
        return self._life.heartbeat()

    def stop(self, mode: str = "warm", timeout: Span | None = None, *, reason: str = "stop()") -> None:
        """Begin to stop; returns at once, from any thread. Stopping only ever goes forward.

        Args:
            mode: ``quiet`` takes no new work and lives on; ``warm`` finishes what runs; ``soft`` interrupts it and
                hands back what does not finish; ``hard`` hands back everything now.
            timeout: Seconds, or a timedelta, for a warm stop before it becomes soft and hard; default:
                ``shutdown_timeout``.
            reason: For the log and the signal.

        Raises:
            InvalidOption: no such mode; no span of time, or a negative one.
        """
        seconds = None if timeout is None else in_seconds("timeout", timeout, least="0")
        self._life.request_stop(check_mode(mode), reason, seconds)

    def pause(self, queue: str, *, reason: str = "pause()") -> None:
        """Claim nothing of this queue until :meth:`resume`; returns at once, from any thread.

        What was prefetched of it goes back, uncounted; what runs goes on. A pause ends with the worker.

        Args:
            queue: One that this worker reads.
            reason: For the log and the signal.

        Raises:
            InvalidOption: the worker does not read this queue.
        """
        self._life.steer(partial(Steering.pause, queue=self._read(queue), reason=reason))

    def resume(self, queue: str, *, reason: str = "resume()") -> None:
        """Claim of this queue again; as :meth:`pause`."""
        self._life.steer(partial(Steering.resume, queue=self._read(queue), reason=reason))

    def scale(self, concurrency: int, *, reason: str = "scale()") -> None:
        """Run so many tasks at once from now on, and do not let it follow the work; returns at once, from any thread.

        What runs is never cut: with fewer slots than running tasks, nothing starts for a while. A prefetch that is not
        set follows.

        Args:
            concurrency: The number of slots, at least 1 and enough for what is reserved.
            reason: For the log and the signal.

        Raises:
            InvalidOption: a number that cannot be.
        """
        plan = self._life.plan
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise InvalidOption("concurrency", concurrency, "a whole number of slots, at least 1")
        if too_few_slots(plan.lanes, plan.subscription, concurrency, plan.broadcasts):
            reserved = sum(plan.lanes.reserve.values())
            raise InvalidOption("concurrency", concurrency, f"enough slots for the {reserved} that are reserved")
        self._life.steer(partial(Steering.scale, slots=concurrency, reason=reason))

    def autoscale(self, *, reason: str = "autoscale()") -> None:
        """Undo :meth:`scale`: let the concurrency follow the work again, or, without a range, be what it was at the
        start. Returns at once, from any thread."""
        self._life.steer(partial(Steering.follow, reason=reason))

    def _read(self, queue: str) -> str:
        queues = self._life.plan.subscription.queues
        if queue not in queues:
            raise InvalidOption("queue", queue, f"a queue that this worker reads: {', '.join(queues)}")
        return queue

    async def __aenter__(self) -> Self:
        """Start; returns when the worker is ready for its first claim."""
        self._task = self._begin()
        ready = asyncio.create_task(self._life.ready.wait())
        try:
            await asyncio.wait((self._task, ready), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._abort(self._task)
            raise
        finally:
            ready.cancel()
        if self._task.done():
            await self._finish(self._task)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Drain and end. Raises WorkerFailed when the worker ended by an error of its own."""
        self.stop(reason="leaving")
        if self._task is not None:
            await self._finish(self._task)

    async def run(self) -> int:
        """Run until stopped; returns the exit code.

        Raises:
            WorkerFailed: the worker ended by an error of its own.
            StemError: it could not start.
        """
        self._task = self._begin()
        try:
            await asyncio.wait((self._task,))
        except asyncio.CancelledError:
            await self._abort(self._task)
            raise
        return await self._finish(self._task)

    async def run_until_idle(self, *, wait_for_delayed: bool = False) -> int:
        """Run until nothing is ready and nothing runs, then drain; returns the exit code. For tests and bursts.

        ``wait_for_delayed`` goes on until nothing is delayed either, retries included.
        """
        async with self:
            await self._life.idle(wait_for_delayed=wait_for_delayed)
        assert self._exit_code is not None
        return self._exit_code

    def run_blocking(
        self,
        *,
        burst: bool = False,
        announce: Callable[[str], None] | None = None,
        on_ready: Callable[[], None] | None = None,
        last: bool = False,
    ) -> int:
        """Run as the main thing of this process: catches the signals of the operating system, in the main thread.

        ``announce`` is given the lines of the banner, and ``on_ready`` is called before the first claim. ``last``:
        nothing comes after it but the end of the process, which signals do not change then. Returns the exit code; a
        thread that could not be stopped ends with the process.
        """
        # What the start has made lives as long as the process, and a job makes some 20 objects that die young: with the
        # default thresholds collecting takes a third of the time of an empty task (21 us a job against 14).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        with caught_signals(for_good=last) as os_signals, leaving(for_good=last) as ended:
            self._life.own_process(os_signals.reader, announce, on_ready)
            return asyncio.run(self._run_to_the_end(burst, os_signals, ended))

    async def _run_to_the_end(self, burst: bool, os_signals: CaughtSignals, ended: Callable[[int, float], None]) -> int:
        # The loop is up, and one of uvloop has taken the descriptor to itself.
        os_signals.hear_at_once()
        try:
            code = await (self.run_until_idle() if burst else self.run())
        except StemError as error:
            if isinstance(error, WorkerFailed):
                # The command line shows the message of an error and no more.
                logger.critical("the worker fails with this error", exc_info=error.__cause__)
            if not self._life.abandoned:
                ended(error.exit_code, self._life.time_left)
                raise
            logger.critical("%s", error)
            code = error.exit_code
        if self._life.abandoned:
            # What could not be stopped was handed back; the end of the loop or of the interpreter would wait for it.
            leave(code)
        ended(code, self._life.time_left)
        return code

    def _begin(self) -> asyncio.Task[None]:
        if self._task is not None:
            raise StemError(
                f"the worker {self.id} {'has ended' if self._task.done() else 'runs'} already: a worker lives once",
                hint="make another one: Worker(app)",
            )
        return asyncio.create_task(self._life.live(), name=f"stem-worker-{self.id}")

    async def _abort(self, task: asyncio.Task[None]) -> None:
        """Who runs the worker was cancelled and wants it gone: hand back and leave; then the cancellation goes on."""
        if self._life.ready.is_set():
            self.stop("hard", reason="cancelled")
        else:
            task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            # The loop complains of errors that nobody looked at.
            task.exception()

    async def _finish(self, task: asyncio.Task[None]) -> int:
        try:
            await task
        except StemError:
            self._exit_code = FAILED
            raise
        except Exception as error:
            self._exit_code = FAILED
            raise WorkerFailed(
                f"worker {self.id} failed: {type(error).__name__}: {error}",
                hint="the cause is chained to this error; deliveries that it held are delivered again",
            ) from error
        self._exit_code = HANDED_BACK if self._life.interrupted else DRAINED
        return self._exit_code
