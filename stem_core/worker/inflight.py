"""What a worker holds: one entry a delivery, from its claim until its settlement is confirmed."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final

from stem_core.contracts import Call, ConcurrencyStrategy
from stem_core.errors import InterruptReason
from stem_core.model import Delivery, Header, Outcome, Progress

if TYPE_CHECKING:
    from stem_core.tasks.context import TaskContext
    from stem_core.tasks.task import AnyTask
    from stem_core.worker.lanes import Lanes
    from stem_core.worker.waiting import LaneWaiting


class Stage(Enum):
    """How far an entry has come. It only moves forward."""

    PREFETCHED = 0
    RUNNING = 1
    #: Decided; the broker has not confirmed it yet.
    SETTLING = 2
    #: Confirmed, lost or abandoned: nothing that happens to it counts any more.
    GONE = 3


# Looking a member up through its class takes 15 times as long as a name of the module (CPython 3.11: the class of enums
# has a __getattr__), and every job does it ten times: 1.5 us of 16.
PREFETCHED: Final = Stage.PREFETCHED
RUNNING: Final = Stage.RUNNING
SETTLING: Final = Stage.SETTLING
GONE: Final = Stage.GONE


class Entry:
    """One delivery in the hands of this worker.

    A plain slotted class: one is made for every job. Who writes a field is said beside it; everybody may read.
    """

    __slots__ = (
        "asyncio_task",
        "call",
        "claimed_at",
        "ctx",
        "delivery",
        "header",
        "interrupt",
        "interrupted_detail",
        "lease_deadline",
        "leased",
        "outcome",
        "overran",
        "running_recorded",
        "runtime",
        "stage",
        "started_at",
        "strategy",
        "task",
        "told",
    )

    def __init__(self, delivery: Delivery, claimed_at: float, lease_deadline: float) -> None:
        self.delivery = delivery
        #: Intake. Monotonic time just before the claim was sent.
        self.claimed_at = claimed_at
        #: Intake, then the pulse thread. Monotonic time at which another may be granted this message; infinite for
        #: what is not leased.
        self.lease_deadline = lease_deadline
        #: Whether a broker holds it for this worker; not so the copy of a broadcast, which is nobody else's.
        self.leased = lease_deadline != math.inf
        #: Slots, executor, settler: each the step that is its own.
        self.stage = PREFETCHED
        #: Gate.
        self.header: Header | None = None
        self.task: AnyTask | None = None
        #: Executor.
        self.ctx: TaskContext | None = None
        self.asyncio_task: asyncio.Task[None] | None = None
        self.started_at = 0.0
        self.runtime = 0.0
        self.call: Call | None = None
        self.strategy: ConcurrencyStrategy | None = None
        #: Whether it was still running at its time limit.
        self.overran = False
        #: Whoever interrupts it first; from then on it does not change.
        self.interrupt: InterruptReason | None = None
        self.interrupted_detail = ""
        #: Slots.
        self.outcome: Outcome | None = None
        #: Pulse thread: whether the backend says ``running`` of this run, and the progress that was told of last.
        self.running_recorded = False
        self.told: Progress | None = None

    @property
    def started(self) -> bool:
        """Whether the task's code has run, so that giving it back gives back started work."""
        return self.started_at > 0.0

    @property
    def suspect(self) -> bool:
        """Whether a worker was lost with this message before."""
        return self.delivery.crashes > 0


class InFlight:
    """All entries of a worker, and those among them that wait for a slot.

    The copy of a broadcast may have the id of a job: it is kept by its channel and its id, the job by the id alone.

    Intake adds, the settler removes, the pulse thread takes snapshots: each is one step under the interpreter's lock.
    """

    def __init__(self) -> None:
        self._entries: dict[str | tuple[str, str], Entry] = {}
        #: Prefetched entries in the order of delivery: intake appends, the slots take from the left.
        self.waiting: deque[Entry] | LaneWaiting = deque()
        #: How many are in a slot now; kept by the slots.
        self.running = 0
        #: How many suspects are held; kept by add and remove.
        self.suspects = 0
        #: How many copies of broadcasts are held: no claim brings them, so they take no room of one; kept by add and
        #: remove.
        self.copies = 0
        #: What is claimed and held of each queue; kept by add and remove. None: no queue has slots of its own.
        self.lanes: Lanes | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    def get(self, id: str, channel: str | None = None) -> Entry | None:
        """The job of this id, or the copy of this id on the channel, if the worker holds it."""
        return self._entries.get(id if channel is None else (channel, id))

    def add(self, entry: Entry) -> None:
        """Hold a new delivery."""
        if entry.delivery.crashes:
            self.suspects += 1
        message = entry.delivery.message
        if not entry.leased:
            self._entries[message.queue, message.id] = entry
            self.copies += 1
            return
        self._entries[message.id] = entry
        if self.lanes is not None:
            self.lanes.enter(entry.delivery.receipt.queue)

    def remove(self, entry: Entry) -> None:
        """Let go of an entry; its end is confirmed or it was lost. The first time counts."""
        if entry.stage is GONE:
            return
        entry.stage = GONE
        if entry.delivery.crashes:
            self.suspects -= 1
        message = entry.delivery.message
        held = message.id if entry.leased else (message.queue, message.id)
        # A message that was lost may have been granted to this same worker again: only the own entry goes.
        if self._entries.get(held) is entry:
            del self._entries[held]
        if not entry.leased:
            self.copies -= 1
        elif self.lanes is not None:
            self.lanes.leave(entry.delivery.receipt.queue)

    def snapshot(self) -> list[Entry]:
        """All entries at this moment; safe from any thread."""
        return list(self._entries.values())
