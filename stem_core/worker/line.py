"""The straight line of deliveries, put together: intake, slots with gate and executor, settler, announcer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from stem_core.contracts import ConcurrencyStrategy
from stem_core.model import HandedBack
from stem_core.tasks import TaskContext
from stem_core.worker.announce import Announcer
from stem_core.worker.autoscaler import Autoscaler
from stem_core.worker.broadcasts import Copies, Service, listen
from stem_core.worker.cancellation import Deadlines, interrupt, kill
from stem_core.worker.executor import Executor
from stem_core.worker.gate import Gate
from stem_core.worker.inflight import PREFETCHED, RUNNING, Entry, InFlight
from stem_core.worker.intake import Intake
from stem_core.worker.lanes import LaneClaims, Lanes
from stem_core.worker.leases import confirmer
from stem_core.worker.limits import Enforcer
from stem_core.worker.remote import WorkerInvoker, child_plan
from stem_core.worker.settle import Settler
from stem_core.worker.slots import Slots
from stem_core.worker.steering import Spawn, Steering
from stem_core.worker.waiting import LaneWaiting

if TYPE_CHECKING:
    from stem_core.client.session import Session
    from stem_core.settings import Settings
    from stem_core.worker.plan import Plan
    from stem_core.worker.revocations import Revocations
    from stem_core.worker.view import WorkerView


@attrs.frozen(kw_only=True, eq=False)
class Line:
    """What one delivery passes through, and the few things that are done to all of them at once."""

    inflight: InFlight
    intake: Intake
    slots: Slots
    settler: Settler
    announcer: Announcer
    deadlines: Deadlines
    strategies: Mapping[str, ConcurrencyStrategy]
    steering: Steering
    #: What goes on beside the claims, and ends with them: each is started once, and cancelled when a stop begins.
    services: tuple[Service, ...] = ()
    #: What listens to broadcasts, from when the line is made; None: the worker listens to none.
    copies: Copies | None = None

    def stop_claiming(self) -> None:
        """Claim nothing more, and hand back at once what has not started."""
        self.intake.close()
        for entry in self.slots.close():
            self.settler.take(entry, HandedBack(reason="shutdown"))

    async def finished(self) -> None:
        """Return when nothing runs and everything is written."""
        await self.slots.drained()
        await self.settler.settled()

    async def returned(self) -> None:
        """Return when no claim is under way any more, and everything is written: also what the last one brought."""
        await self.intake.claimed()
        await self.settler.settled()

    def interrupt_all(self) -> None:
        """Ask everything that runs to stop at its next checkpoint or await."""
        for entry in self.inflight.snapshot():
            interrupt(entry, "shutdown")

    def hand_back_all(self) -> bool:
        """Hand back everything, run to its end or not. Returns whether something still ran."""
        running = False
        for entry in self.inflight.snapshot():
            if entry.stage is RUNNING:
                running = True
                interrupt(entry, "shutdown")
                kill(entry, "shutdown")
            self.settler.take(entry, HandedBack(reason="shutdown"))
        return running

    def on_interrupt(self, entry: Entry) -> None:
        """The pulse thread marked an entry: let go of it, or cancel what runs."""
        reason = entry.interrupt
        if entry.stage is PREFETCHED:
            if reason == "lease-lost":
                self.settler.lose(entry)
            else:
                # Revoked before its start: the gate sees it when its turn comes.
                entry.interrupt = None
        elif entry.stage is RUNNING and reason is not None:
            # Only the mark was set so far; here the coroutine itself is cancelled.
            entry.interrupt = None
            interrupt(entry, reason, entry.interrupted_detail)


def build_line(
    session: Session,
    settings: Settings,
    plan: Plan,
    revocations: Revocations,
    *,
    state: object,
    view: WorkerView,
    spawn: Spawn,
) -> Line:
    """Put a line together on the running loop. ``state`` is what the app's lifespan yielded, ``spawn`` runs handlers
    of signals that nobody waits for."""
    inflight, clock, app = view.inflight, session.clock, session.app
    announcer = Announcer(app.signals, clock, plan.worker, max_message_size=settings.app.max_message_size)
    deadlines = Deadlines(asyncio.get_running_loop())
    on_life = _on_life(view)
    invoker = WorkerInvoker(
        app.tasks,
        clock,
        on_life=on_life,
        plan=lambda: child_plan(app, settings, plan, owns_process=view.owns_process),
    )
    strategies = {name: provider.open(invoker, plan.concurrency) for name, provider in plan.providers.items()}
    settler = Settler(session, inflight, announcer, worker=plan.worker, result_ttl=settings.app.result_ttl)
    executor = _executor(session, settings, plan, strategies, deadlines, state=state, view=view, on_life=on_life)
    invoker.on_begin = _begun(executor, view)
    running, claims = _lanes(plan, inflight)
    slots = Slots(
        inflight,
        gate=_gate(session, settings, revocations),
        executor=executor,
        settler=settler,
        announcer=announcer,
        signals=app.signals,
        confirm=confirmer(view, session),
        concurrency=plan.concurrency,
        lanes=running,
    )
    deadlines.on_overrun = Enforcer(executor, slots, settler).overrun
    intake = _intake(session, settings, plan, claims, inflight=inflight, slots=slots, settler=settler, told=announcer)
    settler.on_released = intake.released
    steering = Steering(plan, app.signals, clock, inflight, intake, slots, settler, running, strategies, spawn)
    autoscaler = Autoscaler(session, settings.worker, inflight=inflight, intake=intake, steering=steering)
    copies = listen(session, plan.broadcasts, inflight, slots=slots, settler=settler, announcer=announcer)
    return Line(
        inflight=inflight,
        intake=intake,
        slots=slots,
        settler=settler,
        announcer=announcer,
        deadlines=deadlines,
        strategies=strategies,
        steering=steering,
        services=(
            *(() if copies is None else copies.services),
            *(() if plan.autoscale is None else (autoscaler.run,)),
        ),
        copies=copies,
    )


def _gate(session: Session, settings: Settings, revocations: Revocations) -> Gate:
    return Gate(
        session.app.tasks,
        revocations,
        session.clock,
        max_message_size=settings.app.max_message_size,
        max_crashes=settings.worker.max_crashes,
        unknown_task_grace=settings.worker.unknown_task_grace,
    )


def _lanes(plan: Plan, inflight: InFlight) -> tuple[Lanes | None, LaneClaims | None]:
    """What counts by queue; nothing of it where every slot is for every queue."""
    if not plan.lanes:
        return None, None
    running = Lanes(plan.lanes, plan.concurrency)
    widened = plan.lanes.widened(plan.concurrency, plan.prefetch)
    inflight.lanes = Lanes(widened, plan.concurrency + plan.prefetch)
    inflight.waiting = LaneWaiting(running)
    return running, LaneClaims(running, inflight.lanes)


def _intake(
    session: Session,
    settings: Settings,
    plan: Plan,
    lanes: LaneClaims | None,
    *,
    inflight: InFlight,
    slots: Slots,
    settler: Settler,
    told: Announcer,
) -> Intake:
    return Intake(
        session.broker,
        plan.subscription,
        inflight,
        slots=slots,
        settler=settler,
        announcer=told,
        signals=session.app.signals,
        clock=session.clock,
        prefetch=plan.prefetch,
        lease=settings.worker.lease,
        call_timeout=settings.worker.call_timeout,
        lanes=lanes,
    )


def _on_life(view: WorkerView) -> Callable[[TaskContext], None]:
    """What a context calls when its task gives a sign of life; any thread."""

    def alive(ctx: TaskContext) -> None:
        entry = view.inflight.get(ctx.id, ctx.header.channel)
        if entry is not None and entry.ctx is ctx:
            ctx.alive_at = view.clock.now()
            view.dirty.add(entry)

    return alive


def _begun(executor: Executor, view: WorkerView) -> Callable[[TaskContext], None]:
    def begun(ctx: TaskContext) -> None:
        entry = view.inflight.get(ctx.id, ctx.header.channel)
        if entry is not None and entry.ctx is ctx:
            executor.start_clocks(entry)

    return begun


def _executor(
    session: Session,
    settings: Settings,
    plan: Plan,
    strategies: Mapping[str, ConcurrencyStrategy],
    deadlines: Deadlines,
    *,
    state: object,
    view: WorkerView,
    on_life: Callable[[TaskContext], None],
) -> Executor:
    return Executor(
        {task: strategies[strategy] for task, strategy in plan.strategy_of.items()},
        session.middleware,
        deadlines,
        session.clock,
        isolated=plan.isolated,
        lease=settings.worker.lease,
        worker=plan.worker,
        state=state,
        default_max_retries=settings.app.default_max_retries,
        on_life=on_life,
        on_started=view.dirty.add if settings.worker.track_started else None,
    )
