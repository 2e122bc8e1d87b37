"""The signals come in the order that the reference page says, whatever the handlers do."""

import asyncio
import re
from pathlib import Path

import attrs
import pytest

from stem_core.signals import Signals
from stem_core.testing.clock import FakeClock
from support.bench import bench
from support.deliveries import sealed
from support.strategy_jobs import make_app
from support.until import until

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "signals.md"
DOCUMENTED = {
    what: re.findall(r"`(\w+)`", signals)
    for what, signals in re.findall(r"^\| (.+?) \| ((?:`task_\w+` ?)+) \|$", PAGE.read_text(), re.MULTILINE)
}


class Case:
    """One delivery on its way, claimed and told of as a worker does it."""

    def __init__(self, line, clock):
        self.line, self.clock = line, clock

    async def enqueue(self, name, what="nothing", **options):
        return await self.line.app.tasks[name].options(**options).enqueue(what)

    async def deliver(self):
        self.line.start_intake()
        await self.line.idle()

    async def running(self):
        """The entry, once its function runs."""
        await self.enqueue("run.coroutine", "")
        self.line.start_intake()
        await until(lambda: any(entry.ctx and entry.ctx.latest for entry in self.line.inflight.snapshot()))
        return self.line.inflight.snapshot()[0]

    async def crash(self, times):
        for _ in range(times):
            await self.line.claim()
            self.clock.advance(31)


async def success(case):
    await case.enqueue("fail.coroutine")
    await case.deliver()


async def retry(case):
    await case.enqueue("fail.thread", "value")
    await case.deliver()


async def failure(case):
    await case.enqueue("fail.coroutine", "value", max_retries=0)
    await case.deliver()


async def revoked_before(case):
    handle = await case.enqueue("fail.coroutine")
    case.line.view.revocations.known[handle.id] = ("", case.clock.now())
    await case.deliver()


async def revoked_while_running(case):
    entry = await case.running()
    await asyncio.to_thread(case.line.view.interrupt, entry, "revoked", "no more")


async def expired(case):
    await case.enqueue("fail.coroutine", expires=5)
    case.clock.advance(6)
    await case.deliver()


async def child_dies(case):
    await case.enqueue("fail.process", "exit")
    case.line.start_intake()
    # It comes back at once: this is about the first delivery.
    await until(lambda: case.line.line.slots.free == 0 or len(case.heard) >= 2)
    case.line.line.intake.close()
    await until(lambda: len(case.line.inflight) == 0)


async def comes_again(case):
    await case.enqueue("fail.coroutine")
    await case.crash(1)
    await case.deliver()


async def lost_too_often(case):
    await case.enqueue("fail.coroutine")
    await case.crash(3)
    await case.deliver()


async def unreadable(case):
    await case.line.session.broker.publish([attrs.evolve(sealed(), header=b"{}")])
    await case.deliver()


async def unknown(case):
    await case.line.session.broker.publish([sealed(task="nobody")])
    await case.deliver()


async def stops_while_running(case):
    await case.running()
    case.line.line.stop_claiming()
    case.line.line.interrupt_all()


async def lease_lost(case):
    entry = await case.running()
    case.line.line.intake.close()
    await asyncio.to_thread(case.line.view.interrupt, entry, "lease-lost", "granted to another")


CASES = {
    "it succeeds": success,
    "it fails and is tried again": retry,
    "it fails for good": failure,
    "it is revoked before it starts": revoked_before,
    "it is revoked while it runs": revoked_while_running,
    "it expires before it starts": expired,
    "its child process dies": child_dies,
    "it comes again after its worker or its process was lost": comes_again,
    "it was lost too often": lost_too_often,
    "it cannot be read, or is too large": unreadable,
    "nobody here knows the task, or the worker stops before it starts": unknown,
    "the worker stops while it runs": stops_while_running,
    "its lease is lost while it runs": lease_lost,
}


def test_every_documented_order_is_brought_about_and_every_task_signal_is_documented():
    assert list(DOCUMENTED) == list(CASES)
    told = {name for order in DOCUMENTED.values() for name in order} | {"task_progress"}
    assert told == {name for name in vars(Signals()) if name.startswith("task_")}


@pytest.mark.parametrize("handlers", ["plain", "coroutine", "raising"])
@pytest.mark.parametrize("what", CASES)
async def test_signals_come_in_the_documented_order(what, handlers, caplog):
    clock = FakeClock()
    app = make_app(clock)
    heard = []

    def plain(event):
        heard.append(event)

    async def coroutine(event):
        await asyncio.sleep(0)
        heard.append(event)

    def raising(event):
        heard.append(event)
        raise RuntimeError("a bug of the handler")

    for signal in app.signals.owned_by("plugin audit (shop-audit 1.0)"):
        if signal.name.startswith("task-"):
            signal.connect({"plain": plain, "coroutine": coroutine, "raising": raising}[handlers])
    async with bench(app, concurrency=1, prefetch=0) as line:
        case = Case(line, clock)
        case.heard = heard
        await CASES[what](case)
        await line.finished()
        await until(lambda: not line.line.announcer._ends)
        await until(lambda: len(heard) >= len(DOCUMENTED[what]))
        await asyncio.sleep(0.01)
        depth = await line.depth()
    names = [event.event_name for event in heard]
    assert names == [name.replace("_", "-") for name in DOCUMENTED[what]]
    assert depth.leased == (1 if what == "its lease is lost while it runs" else 0)
    if handlers == "raising":
        assert dict(app.signals.errors) == dict.fromkeys(names, 1)
        complaints = [record.getMessage() for record in caplog.records if record.name == "stem_core.signals"]
        who = f"the handler {raising.__qualname__} of plugin audit (shop-audit 1.0)"
        assert complaints == [f"{who} raised at {name}: RuntimeError: a bug of the handler" for name in names]
    else:
        assert not app.signals.errors


async def test_progress_is_not_told_after_the_end():
    app = make_app()
    told = []
    app.signals.task_progress.connect(lambda event: told.append(event.progress.percent))
    async with bench(app, concurrency=1) as line:
        await app.tasks["run.coroutine"].enqueue("")
        (entry,) = await line.take()
        await until(lambda: entry.ctx is not None and entry.ctx.latest is not None)
        await line.line.announcer.progress(entry)
        line.line.interrupt_all()
        await line.finished()
        await line.line.announcer.progress(entry)
    assert told == [1.0]
