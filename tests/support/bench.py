"""The inside of a worker on stores that fail on demand: the line of deliveries with its services, no pulse thread."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import attrs

from stem_core import Stem
from stem_core.client.session import Session
from stem_core.clock import SYSTEM_CLOCK, Clock
from stem_core.model import Delivery, Heartbeat, QueueDepth, Subscription, TaskStatus
from stem_core.testing.flaky import Faults
from stem_core.testing.flaky_stores import faults_of
from stem_core.worker.inflight import Entry, InFlight
from stem_core.worker.line import Line, build_line
from stem_core.worker.plan import Plan, make_plan
from stem_core.worker.revocations import Revocations
from stem_core.worker.stopping import StopMachine
from stem_core.worker.view import WorkerView
from stem_core.worker.watchdog import Watchdog

_numbers = itertools.count(1)


def flaky_app(*, clock: Clock = SYSTEM_CLOCK, **given: Any) -> Stem:
    """An app on stores of its own, which ``faults_of_app`` makes fail."""
    name = f"bench-{next(_numbers)}"
    return Stem("bench", clock=clock, broker_url=f"flaky://{name}", plugins=["stem_core.testing.flaky_stores"], **given)


def faults_of_app(app: Stem) -> Faults:
    """What is to go wrong with the stores of a :func:`flaky_app`."""
    return faults_of(app.runtime.urls().broker.location)


@attrs.define(kw_only=True, eq=False)
class Bench:
    """A line at work. The test claims by hand, or lets the intake run."""

    app: Stem
    session: Session
    plan: Plan
    line: Line
    view: WorkerView
    faults: Faults
    #: The claiming service; None until :meth:`start_intake`.
    intake: asyncio.Task[None] | None = None

    @property
    def inflight(self) -> InFlight:
        """What the worker holds."""
        return self.line.inflight

    def start_intake(self) -> None:
        """Let the worker claim by itself."""
        self.intake = asyncio.create_task(self.line.intake.run())

    async def idle(self) -> None:
        """Return when the running intake finds nothing to do and nothing is held."""
        self.line.intake.idle.clear()
        self.line.intake.wake()
        async with asyncio.timeout(10):
            await self.line.intake.idle.wait()

    async def claim(self, limit: int = 100, *, queues: tuple[str, ...] = ("default",)) -> list[Delivery]:
        """Claim as another worker would, without handing it to the line."""
        return await self.session.broker.receive(Subscription.of(*queues), limit, self.view.lease, suspects=limit)

    async def take(self, limit: int = 100) -> list[Entry]:
        """Claim, and hand it to the line."""
        deliveries = await self.claim(limit)
        now = self.view.clock.monotonic()
        entries = [Entry(delivery, now, now + self.view.lease) for delivery in deliveries]
        for entry in entries:
            self.inflight.add(entry)
            self.inflight.waiting.append(entry)
        self.line.slots.start_waiting()
        return entries

    async def finished(self) -> None:
        """Return when nothing runs and everything is settled."""
        async with asyncio.timeout(10):
            await self.line.finished()

    async def status(self, id: str) -> TaskStatus | None:
        """What the result backend holds."""
        assert self.session.backend is not None
        return (await self.session.backend.get([id])).get(id)

    async def depth(self, queue: str = "default") -> QueueDepth:
        """What the queue holds."""
        return (await self.session.broker.depth([queue]))[queue]


@asynccontextmanager
async def bench(app: Stem, *, state: object = None, **options: Any) -> AsyncIterator[Bench]:
    """Open the app and put a line together; ``options`` are settings of the section ``worker``."""
    clock, loop = app.clock, asyncio.get_running_loop()
    settings = app.runtime.settings.overlay(code={f"worker.{name}": given for name, given in options.items()})
    plan = make_plan(settings, app.tasks, app.runtime.strategies)
    machine = StopMachine(clock, loop, shutdown_timeout=25, soft_margin=5, hard_margin=2)
    view = WorkerView(
        worker=plan.worker,
        clock=clock,
        loop=loop,
        inflight=InFlight(),
        machine=machine,
        revocations=Revocations(clock),
        watchdog=Watchdog(loop, clock, stall_limit=settings.worker.stall_limit),
        lease=settings.worker.lease,
        heartbeat_interval=settings.worker.heartbeat_interval,
        call_timeout=settings.worker.call_timeout,
        wedge_timeout=settings.worker.wedge_timeout,
        result_ttl=settings.app.result_ttl,
        owns_process=False,
        heartbeat=_no_heartbeat,
        on_interrupt=_ignore,
        on_heartbeat=_ignore,
        on_progress=_ignore,
        on_failure=_ignore,
    )
    async with app.open(producer=False) as session:
        spawned: set[asyncio.Task[None]] = set()

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            spawned.add(asyncio.create_task(work))

        line = build_line(session, settings, plan, view.revocations, state=state, view=view, spawn=spawn)
        view.on_interrupt = line.on_interrupt
        made = Bench(app=app, session=session, plan=plan, line=line, view=view, faults=faults_of_app(app))
        services = [asyncio.create_task(line.settler.run()), asyncio.create_task(line.announcer.run())]
        try:
            yield made
        finally:
            line.intake.close()
            line.slots.close()
            line.deadlines.close()
            if made.intake is not None:
                services.append(made.intake)
            running = [entry.asyncio_task for entry in line.inflight.snapshot() if entry.asyncio_task is not None]
            for task in (*running, *services):
                task.cancel()
            await asyncio.gather(*running, *services, return_exceptions=True)
            for strategy in line.strategies.values():
                await strategy.close("abandon")


def _ignore(news: object) -> None:
    """There is no worker to tell."""


def _no_heartbeat() -> Heartbeat:
    raise AssertionError("a bench has no pulse thread")
