"""One life of a worker: what is entered, in which order, and how it is left."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from stem_core.client.session import open_session
from stem_core.clock import Clock
from stem_core.errors import ConfigurationError, StoreError, WorkerFailed
from stem_core.model import HEARTBEATS, Heartbeat, WorkerPhase
from stem_core.tasks import import_tasks
from stem_core.worker.banner import banner, warnings
from stem_core.worker.draining import Draining
from stem_core.worker.identity import claim_identity
from stem_core.worker.inflight import Entry, InFlight
from stem_core.worker.lifespan import StoppedAtStart, enter_lifespan
from stem_core.worker.line import Line, build_line
from stem_core.worker.news import News
from stem_core.worker.outfit import locate
from stem_core.worker.plan import make_plan
from stem_core.worker.pulse import FINAL, Pulse
from stem_core.worker.racing import first
from stem_core.worker.revocations import Revocations
from stem_core.worker.starting import start_strategies
from stem_core.worker.steering import Steering
from stem_core.worker.stopping import StopMachine, StopMode
from stem_core.worker.view import WorkerView
from stem_core.worker.vitals import Vitals
from stem_core.worker.watchdog import Watchdog

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.client.session import Session
    from stem_core.settings import Settings

logger = logging.getLogger("stem_core.worker")

#: A worker that has lost more than this part of its slots ends, to be started anew by whoever looks after it.
MAX_LOST = 0.25


class Life:
    """Everything between the start and the end of a worker. :class:`Worker` is its face."""

    def __init__(
        self, app: Stem, clock: Clock, *, code: Mapping[str, Any], code_origin: str, command_line: Mapping[str, Any]
    ) -> None:
        import_tasks(app.include)
        runtime = app.runtime
        runtime.require_usable()
        self._app = app
        self._clock = clock
        self._settings = runtime.settings.overlay(command_line=command_line, code=code, code_origin=code_origin)
        _refuse_replicas(self._settings)
        self.plan = make_plan(self._settings, app.tasks, runtime.strategies)
        if self.plan.isolated:
            # Better here than in the first child.
            locate(app, self._settings.app.app)
        self._inflight = InFlight()
        self._vitals = Vitals(
            plan=self.plan, clock=clock, inflight=self._inflight, interval=self._settings.worker.heartbeat_interval
        )
        self._revocations = Revocations(clock)
        self._os_signals: socket.socket | None = None
        self._announce: Callable[[str], None] = logger.info
        self._on_ready: Callable[[], None] | None = None
        self._machine: StopMachine | None = None
        #: A stop that was asked for before the worker began to live.
        self._early_stop: tuple[StopMode, str, float | None] | None = None
        self._view: WorkerView | None = None
        self._line: Line | None = None
        #: What is to be changed, in the order it was asked for.
        self._steered: deque[Callable[[Steering], Coroutine[Any, Any, None]]] = deque()
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._news = News(app.signals, clock, self.plan)
        #: Set when the first claim comes next, or the worker has ended.
        self.ready = asyncio.Event()
        self._draining: Draining | None = None
        #: Why the worker ends to be started anew; empty when it does not.
        self._worn = ""

    @property
    def phase(self) -> WorkerPhase:
        """Where the worker is in its life."""
        return "starting" if self._machine is None else self._machine.phase

    @property
    def interrupted(self) -> bool:
        """Whether started work was handed back."""
        return self._draining is not None and self._draining.interrupted

    @property
    def abandoned(self) -> bool:
        """Whether something runs on that could not be stopped."""
        return self._draining is not None and self._draining.abandoned

    @property
    def time_left(self) -> float:
        """How many seconds are left of the stop; what is always granted when there was none."""
        hard_at = None if self._machine is None else self._machine.hard_at
        return FINAL if hard_at is None else max(0.0, hard_at - self._clock.monotonic()) + FINAL

    def own_process(
        self,
        os_signals: socket.socket,
        announce: Callable[[str], None] | None,
        on_ready: Callable[[], None] | None,
    ) -> None:
        """The worker is the main thing of its process: its signals are the worker's, and it may end it."""
        self._os_signals = os_signals
        self._on_ready = on_ready
        if announce is not None:
            self._announce = announce

    def request_stop(self, mode: StopMode, reason: str, timeout: float | None) -> None:
        """Begin to stop, from any thread."""
        if self._machine is None:
            self._early_stop = (mode, reason, timeout)
        else:
            self._machine.request(mode, reason, timeout)

    def heartbeat(self) -> Heartbeat:
        """The record of this moment; any thread."""
        return self._vitals.heartbeat(self.phase)

    def steer(self, action: Callable[[Steering], Coroutine[Any, Any, None]]) -> None:
        """Change something of the worker, from any thread; what comes too early is done when it is ready."""
        self._steered.append(action)
        if self._view is None:
            return
        try:
            here = asyncio.get_running_loop() is self._view.loop
        except RuntimeError:
            here = False
        if here:
            # Before anything that the caller does next: what is enqueued behind a pause does not start.
            self._do_steer()
        else:
            self._view.post(self._do_steer)

    def _do_steer(self) -> None:
        if self._line is not None:
            while self._steered:
                self._news.spawn(self._steered.popleft()(self._line.steering))

    async def idle(self, *, wait_for_delayed: bool) -> None:
        """Return when there is nothing to do, or the worker stops."""
        while self._line is not None and self._machine is not None:
            if await first(self._line.intake.idle.wait(), self._machine.reached("quiet")) == 1:
                return
            if not wait_for_delayed or not await self._anything_queued():
                return
            await asyncio.sleep(0.05)

    async def live(self) -> None:
        """Start, run until a stop was asked for, drain, end.

        Raises:
            StemError: it could not start.
            Exception: an error of the worker itself; what it held is handed back where that is possible.
        """
        options = self._settings.worker
        loop = asyncio.get_running_loop()
        self._machine = machine = StopMachine(
            self._clock,
            loop,
            shutdown_timeout=options.shutdown_timeout,
            soft_margin=options.soft_margin,
            hard_margin=options.hard_margin,
        )
        self._view = self._vitals.view = view = self._make_view(loop, machine)
        failed = True
        try:
            await self._news.init()
            async with AsyncExitStack() as stack:
                session = await stack.enter_async_context(self._app.open(producer=False))
                await session.deadline("state store: revocations", self._revocations.refresh(session.state))
                await session.deadline(
                    "state store: heartbeat", claim_identity(session.state, self.heartbeat(), self._clock)
                )
                stack.push_async_callback(self._sign_off, session)
                # Before the app's own resources and after them: what they hold up can be stopped, and the record of
                # this worker stays fresh meanwhile.
                pulse = Pulse(view, lambda: open_session(self._app), os_signals=self._os_signals)
                await stack.enter_async_context(pulse)
                state = await enter_lifespan(self._app, stack, machine)
                self._line = self._vitals.line = line = build_line(
                    session,
                    self._settings,
                    self.plan,
                    self._revocations,
                    state=state,
                    view=view,
                    spawn=self._news.spawn,
                )
                if line.copies is not None:
                    stack.push_async_callback(line.copies.close)
                line.slots.on_lost = self._on_lost
                await start_strategies(line.strategies, self.plan.on_demand, machine)
                self._do_steer()
                await self._serve(line, machine, session)
            if self._worn:
                raise WorkerFailed(
                    f"worker {self.plan.worker} has to be started anew: {self._worn}",
                    hint="the log names the tasks; a coroutine that ignores its cancellation, or a thread that never "
                    "looks at ctx.check(), can be stopped with strategy='processes' only",
                )
            failed = False
        except StoppedAtStart:
            failed = False
        finally:
            machine.end()
            self.ready.set()
            await self._news.shutdown(1 if failed else 4 if self.interrupted else 0)

    async def _serve(self, line: Line, machine: StopMachine, session: Session) -> None:
        draining = self._draining = Draining(line, machine, self._news)
        try:
            async with asyncio.TaskGroup() as services:
                failure = services.create_task(self._raise_failure())
                ending = (
                    services.create_task(line.settler.run()),
                    services.create_task(line.announcer.run()),
                )
                for text in banner(self._app, self._settings, self.plan):
                    self._announce(text)
                for text in warnings(self._app, self.plan):
                    logger.warning("%s", text)
                machine.begin()
                await self._news.ready()
                if self._early_stop is not None:
                    machine.request(*self._early_stop)
                    line.intake.close()
                intake = services.create_task(line.intake.run())
                beside = [services.create_task(service()) for service in line.services]
                self.ready.set()
                if self._on_ready is not None:
                    self._on_ready()
                await draining.drain(intake, beside)
                intake.cancel()
                failure.cancel()
                line.settler.close()
                line.announcer.close()
                await draining.let_end(ending)
        except BaseException as error:
            await draining.give_back(session)
            if isinstance(error, BaseExceptionGroup):
                # One service failed and the group ended the others: the failure is what matters.
                raise error.exceptions[0] from error
            raise
        finally:
            line.deadlines.close()
            for strategy in line.strategies.values():
                await strategy.close("abandon" if draining.abandoned else "drain")

    async def _anything_queued(self) -> bool:
        session = self._app.session
        depths = await session.deadline("broker: depth", session.broker.depth(self.plan.subscription.queues))
        return any(depth.ready or depth.delayed or depth.leased for depth in depths.values())

    async def _sign_off(self, session: Session) -> None:
        try:
            await session.deadline(
                "state store: heartbeat", session.state.delete(HEARTBEATS, self.plan.worker), seconds=1.0
            )
        except StoreError:
            logger.debug("the heartbeat record could not be removed and will expire", exc_info=True)

    async def _raise_failure(self) -> None:
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure

    def _make_view(self, loop: asyncio.AbstractEventLoop, machine: StopMachine) -> WorkerView:
        options, settings = self._settings.worker, self._settings.app
        return WorkerView(
            worker=self.plan.worker,
            clock=self._clock,
            loop=loop,
            inflight=self._inflight,
            machine=machine,
            revocations=self._revocations,
            watchdog=Watchdog(loop, self._clock, stall_limit=options.stall_limit),
            lease=options.lease,
            heartbeat_interval=options.heartbeat_interval,
            call_timeout=options.call_timeout,
            wedge_timeout=options.wedge_timeout,
            result_ttl=settings.result_ttl,
            owns_process=self._os_signals is not None,
            heartbeat=self.heartbeat,
            on_interrupt=self._on_interrupt,
            on_heartbeat=self._news.heartbeat,
            on_progress=self._on_progress,
            on_failure=self._on_failure,
        )

    def _on_interrupt(self, entry: Entry) -> None:
        if self._line is not None:
            self._line.on_interrupt(entry)

    def _on_progress(self, entries: Sequence[Entry]) -> None:
        if self._app.signals.task_progress and self._line is not None:
            for entry in entries:
                self._news.spawn(self._line.announcer.progress(entry))

    def _on_lost(self, lost: int) -> None:
        slots = self._line.slots.concurrency if self._line is not None else self.plan.concurrency
        if lost > slots * MAX_LOST and self._machine is not None and not self._worn:
            self._worn = f"{lost} of {slots} slots are lost to tasks that do not end"
            self._machine.request("warm", self._worn)

    def _on_failure(self, error: BaseException) -> None:
        self._failure = error
        self._failed.set()


def _refuse_replicas(settings: Settings) -> None:
    """Who starts several workers has to know it before the app is imported; elsewhere it is a setting for others."""
    origin = settings.origin("worker.replicas")
    if origin.kind == "code" and settings.worker.replicas > 1:
        raise ConfigurationError(
            f"{origin}: replicas={settings.worker.replicas}: this is one worker, in the process that made it",
            hint="start several with 'stem worker --replicas N', STEM_WORKER_REPLICAS or replicas in stem.toml",
        )
