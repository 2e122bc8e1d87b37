"""Every way to stop a worker, under every strategy, whatever it does: how long it takes, and that nothing is lost.

The workers of one mode are stopped together, and each cell looks at its own. Those of ``warm`` have a budget of 3 s,
the others the settings that users have.
"""

import asyncio
import itertools
import signal
from contextlib import AsyncExitStack

import attrs
import pytest

from stem_core.contracts import Broker
from stem_core.model import TaskState
from support.proc_table import family, marked, open_files
from support.until import until
from support.worker_proc import Site, Stopwatch, WorkerProc, site

STRATEGIES = ("event_loop", "threads", "processes")
#: ``finishing`` ends by itself while the worker drains; ``busy`` ends when it is interrupted; ``blocked`` sleeps in C.
LOADS = ("idle", "finishing", "busy", "blocked")


@attrs.frozen
class Mode:
    signals: tuple[signal.Signals, ...]
    #: The worker has ended after so many seconds.
    most: float
    settings: dict[str, str] = attrs.field(factory=dict)


BUDGET = {"shutdown_timeout": "3s", "soft_margin": "2s", "hard_margin": "1s"}
MODES = {
    "warm": Mode((signal.SIGTERM,), 3 + 2, BUDGET),
    "soft": Mode((signal.SIGINT,), 7),
    "hard": Mode((signal.SIGQUIT,), 3),
    "double Ctrl-C": Mode((signal.SIGINT, signal.SIGINT), 3),
}
#: What finishes while it drains shows nothing new where nobody waits for it.
CELLS = [
    (mode, strategy, load)
    for mode, strategy, load in itertools.product(MODES, STRATEGIES, LOADS)
    if mode == "warm" or load != "finishing"
]

SLOTS, PREFETCH, JOBS = 2, 3, 6


@attrs.define(eq=False)
class Cell:
    """One worker, told to stop, and what came of it."""

    site: Site
    strategy: str
    load: str
    worker: WorkerProc
    watch: Stopwatch = attrs.field(factory=Stopwatch)
    ids: list[str] = attrs.field(factory=list)
    started: set[str] = attrs.field(factory=set)
    children: set[int] = attrs.field(factory=set)
    #: What two processes of this worker both hold, though it is none of their standard streams.
    shared_files: set[str] = attrs.field(factory=set)
    #: How many messages could be claimed by others before anything that runs was interrupted.
    ready_at_once: int = 0
    took: float = 0.0
    exit_code: int = -1
    orphans: set[int] = attrs.field(factory=set)
    succeeded: set[str] = attrs.field(factory=set)
    #: Attempt and crashes of what is in the queue, by id.
    back: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    #: Whatever else the queue and the dead letters hold.
    rest: int = 0

    @property
    def blocks_the_loop(self) -> bool:
        return (self.strategy, self.load) == ("event_loop", "blocked")

    @property
    def runs(self) -> int:
        """How many jobs have begun when the worker is told to stop."""
        return 0 if self.load == "idle" else 1 if self.blocks_the_loop else SLOTS

    @property
    def door(self) -> str:
        return str(self.site.folder / "go")

    def heard(self, phase: str) -> bool:
        return any(line["message"].startswith(f"stopping: {phase}") for line in self.worker.lines)

    async def set_to_work(self, broker: Broker) -> None:
        """Return when the slots are full, the prefetched are held, and one message is left in the queue."""
        if self.load == "idle":
            return
        task = f"{self.load}_coroutine" if self.strategy == "event_loop" else self.load
        self.ids = await self.site.enqueue(task, self.door, count=JOBS)
        self.started = {event["id"] for event in self.site.ledger.wait_for("start", self.runs)}
        async with asyncio.timeout(10):
            while (await broker.depth(["default"]))["default"].leased < SLOTS + PREFETCH:  # noqa: ASYNC110 - another process brings it about
                await asyncio.sleep(0.01)

    def look_at_the_processes(self) -> None:
        self.children = family(self.worker.pid)
        own = set(open_files(self.worker.pid).values())
        streams = {file for number, file in open_files(self.worker.pid).items() if number < 3}
        seen = set(own)
        for child in self.children:
            files = {file for file in open_files(child).values() if file.startswith(("socket:", "pipe:"))} - streams
            self.shared_files |= files & seen
            seen |= files

    async def wait_for_what_has_not_started(self, broker: Broker) -> None:
        """What was never in a slot is back while the running jobs still run."""
        async with asyncio.timeout(10):
            while not self.heard("soft") and self.worker.alive:
                self.ready_at_once = (await broker.depth(["default"]))["default"].ready
                if self.ready_at_once == JOBS - self.runs:
                    return
                await asyncio.sleep(0.01)

    async def settle_up(self, broker: Broker) -> None:
        """Look at what is left, once the worker has ended."""
        self.exit_code = self.worker.wait()
        mark = str(self.site.ledger.path)
        try:
            await until(lambda: not marked(mark), 1.0)
        except TimeoutError:
            self.orphans = marked(mark)
        self.succeeded = {id for id in self.ids if (await self.site.status(id)).state is TaskState.SUCCEEDED}
        back = await self.site.claim(len(self.ids) - len(self.succeeded))
        self.back = {delivery.message.id: (delivery.attempt, delivery.crashes) for delivery in back}
        depth = (await broker.depth(["default"]))["default"]
        self.rest = depth.ready + depth.delayed + depth.leased - len(back) + depth.dead


async def stopped(mode: Mode, folder) -> dict[tuple[str, str], Cell]:
    """Start a worker for each cell of this mode, tell all to stop, and wait for their ends."""
    async with AsyncExitStack() as stack:
        cells = []
        for strategy, load in itertools.product(STRATEGIES, LOADS):
            if load != "finishing" or mode is MODES["warm"]:
                place = folder / f"{strategy}-{load}"
                place.mkdir()
                cells.append(begun(stack.enter_context(site(place)), strategy, load, mode.settings))
        brokers = {}
        for cell in cells:
            cell.worker.ready()
            brokers[cell] = (await stack.enter_async_context(cell.site.producer().open())).broker
            await cell.set_to_work(brokers[cell])
            cell.look_at_the_processes()
        for cell in cells:
            cell.watch = Stopwatch()
            cell.worker.signal(mode.signals[0])
        for number in mode.signals[1:]:
            for cell in cells:
                cell.worker.wait_for_message("stopping: ")
                cell.worker.signal(number)
        for cell in cells:
            if mode is MODES["warm"] and cell.runs and not cell.blocks_the_loop:
                await cell.wait_for_what_has_not_started(brokers[cell])
        for cell in cells:
            (cell.site.folder / "go").touch()
        living = set(cells)
        async with asyncio.timeout(30):
            while living:
                for cell in [cell for cell in living if not cell.worker.alive]:
                    cell.took = cell.watch.seconds
                    living.discard(cell)
                await asyncio.sleep(0.005)
        for cell in cells:
            await cell.settle_up(brokers[cell])
        return {(cell.strategy, cell.load): cell for cell in cells}


def begun(place: Site, strategy: str, load: str, settings: dict[str, str]) -> Cell:
    place.app = "support.stop_jobs:app"
    arguments = ("-P", strategy, "-c", str(SLOTS), "--prefetch", str(PREFETCH), "--processes", str(SLOTS))
    return Cell(place, strategy, load, place.worker(*arguments, ready=False, **settings))


@pytest.fixture(scope="module")
def done():
    """The modes that have been tried, each with its cells; shown at the end."""
    watch, done = Stopwatch(), {}
    yield done
    print(f"\n\n{'stopped by':14} {'strategy':11}" + "".join(f"{load:>11}" for load in LOADS) + f"{'at most':>10}")
    for mode, strategy in itertools.product(done, STRATEGIES):
        times = [done[mode].get((strategy, load)) for load in LOADS]
        shown = "".join(f"{'' if cell is None else f'{cell.took:.2f} s':>11}" for cell in times)
        print(f"{mode:14} {strategy:11}{shown}{MODES[mode].most:>8} s")
    print(f"the stop matrix: {sum(len(cells) for cells in done.values())} workers in {watch.seconds:.0f} s")


@pytest.fixture
async def cell(done, mode, strategy, load, tmp_path_factory):
    if mode not in done:
        done[mode] = await stopped(MODES[mode], tmp_path_factory.mktemp("matrix"))
    return done[mode][strategy, load]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("mode", "strategy", "load"), CELLS)
async def test_a_worker_ends_in_time_and_loses_nothing(cell, mode, strategy, load):
    log = cell.worker.text()
    assert cell.took <= MODES[mode].most, log
    assert cell.exit_code == (0 if load in ("idle", "finishing") else 4), log
    # Each job has succeeded or is in the queue as if nobody had ever touched it.
    assert cell.succeeded == (cell.started if load == "finishing" else set())
    assert cell.back == {id: (1, 0) for id in cell.ids if id not in cell.succeeded}
    assert cell.rest == 0
    assert len(cell.site.ledger.events("start")) == cell.runs
    assert "Traceback" not in log
    # Nothing that was started lives on, and no process held what was another's.
    assert cell.orphans == set()
    assert bool(cell.children) == (strategy == "processes")
    assert cell.shared_files == set()
    # What takes its interruption is not waited for until the hard stop; what does not is not waited for any longer.
    if load == "blocked" or mode in ("warm", "soft"):
        assert cell.heard("hard") == (load == "blocked")
    assert ("exiting with 4" in log) == cell.blocks_the_loop, "the last resort is for loops that do not turn"
    if mode == "warm" and cell.runs:
        if not cell.blocks_the_loop:
            assert cell.ready_at_once == JOBS - cell.runs
        if load != "finishing":
            assert cell.took >= 1, "interrupted before its time"
