"""Claiming: asks the broker for exactly what can be held, and hands it to the slots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from stem_core.clock import Clock
from stem_core.contracts import Broker
from stem_core.errors import StoreError
from stem_core.model import Delivery, HandedBack, Subscription
from stem_core.model._value import value
from stem_core.signals import Signals
from stem_core.worker.announce import Announcer
from stem_core.worker.backoff import Backoff
from stem_core.worker.cancellation import interrupt
from stem_core.worker.inflight import PREFETCHED, RUNNING, Entry, InFlight
from stem_core.worker.lanes import LaneClaims
from stem_core.worker.settle import Settler
from stem_core.worker.slots import Slots

logger = logging.getLogger("stem_core.worker")

#: Nothing to do and nobody wakes it: look again after this many seconds.
IDLE_WAIT = 1.0
#: One claim asks for a third of what can be held at most, so that while one third runs, the broker settles another and
#: grants the next: one process drains Redis at 40,000 jobs a second instead of 27,000. A worker that holds less than
#: this gains nothing by it.
_PARTS, _WORTH_PARTING = 3, 48


@value
class _Look:
    """What became of one claim."""

    #: How many there was room for (without any, nothing was claimed), how many it brought, how many were held before.
    room: int
    brought: int
    held: int
    #: What was wanted of what was read.
    wanted: Subscription
    reading: Subscription


class Intake:
    """Claims while the worker is open. Its bound counts what runs, what waits and what is not settled yet."""

    def __init__(
        self,
        broker: Broker,
        subscription: Subscription,
        inflight: InFlight,
        *,
        slots: Slots,
        settler: Settler,
        announcer: Announcer,
        signals: Signals,
        clock: Clock,
        prefetch: int,
        lease: float,
        call_timeout: float,
        lanes: LaneClaims | None = None,
    ) -> None:
        self._broker = broker
        self._subscription = subscription
        #: Queues that are not to be claimed for now.
        self.paused: frozenset[str] = frozenset()
        #: What is read now: the subscription without what is paused.
        self.reading = subscription
        #: What to ask for where queues have slots of their own; None: every slot is for every queue.
        self._lanes = lanes
        #: Queues that the last look left out, because their lanes have no room worth a claim.
        self._shut: tuple[str, ...] = ()
        self._inflight = inflight
        self._slots = slots
        self._settler = settler
        self._announcer = announcer
        self._signals = signals
        self._clock = clock
        self.prefetch = prefetch
        self._lease = lease
        self._call_timeout = call_timeout
        self._open = True
        self._turn = 0
        #: Monotonic time just before the last claim was sent: leases are counted from there.
        self._claimed_at = 0.0
        #: What :meth:`wake` ends, and whether it was called since the last look found nothing.
        self._sleeper: asyncio.Task[Any] | None = None
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        #: The broker does not answer; read by health.
        self.failing = False
        self._wants_room = False
        #: The last claim was not to bring a suspect, because one was held.
        self._left_suspects = False
        #: The look that is under way, or was last; and when it last asked, in the loop's time, without an answer yet.
        self._claiming: asyncio.Task[_Look] | None = None
        self._asked: float | None = None
        #: Set while the last claim found nothing and nothing is held: there is no work here now.
        self.idle = asyncio.Event()

    async def run(self) -> None:
        """Claim until :meth:`close`; ends with no claim under way."""
        backoff = Backoff()
        #: What to wait for before the next claim; None: nothing.
        waiting: Subscription | None = None
        while self._open:
            if waiting is None and self._wanted()[1] == 0:
                self._slots.start_waiting()
                if not len(self._inflight):
                    # There may be work, but none that this worker takes at present.
                    self.idle.set()
                await self._sleep_until_room()
                continue
            try:
                look = await self._watched(self._look(waiting))
            except StoreError as error:
                if not self.failing:
                    logger.warning("cannot reach the broker, trying on: %s", error)
                self.failing, waiting = True, None
                await self._sleep_on(asyncio.sleep(backoff.next()))
                continue
            waiting = None
            if look.room == 0:
                continue
            if self.failing:
                logger.info("the broker answers again")
                self.failing = False
            backoff.reset()
            if look.brought:
                continue
            if (look.held and not len(self._inflight)) or self._may_take_more() or look.reading is not self.reading:
                # What was held has ended since, and may have left work behind that this claim could not see; or
                # there is more to ask for than there was.
                continue
            if not look.held:
                self.idle.set()
            self._woken.clear()
            waiting = look.wanted

    def released(self) -> None:
        """The settler let go of deliveries: there may be room."""
        # Waiting for work is not disturbed: after every single job of a quiet queue it would be a claim for nothing.
        if self._wants_room or not len(self._inflight) or self._may_take_more():
            self.wake()

    def _may_take_more(self) -> bool:
        """Whether the next claim may bring what the last one had to leave: a suspect, or something of a full lane."""
        if self._left_suspects and not self._inflight.suspects:
            return True
        return bool(self._shut) and self._lanes is not None and any(map(self._lanes.worth, self._shut))

    def wake(self) -> None:
        """Look again now."""
        self._woken.set()
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            sleeper.cancel()

    def pause(self, queue: str) -> None:
        """Claim nothing of this queue until :meth:`resume`. What a claim under way brings of it is handed back."""
        self._read_all_but(self.paused | {queue})

    def resume(self, queue: str) -> None:
        """Claim of this queue again."""
        self._read_all_but(self.paused - {queue})

    def _read_all_but(self, paused: frozenset[str]) -> None:
        self.paused = paused
        self.reading = self._subscription.without(paused) if paused else self._subscription
        self.wake()

    def close(self) -> None:
        """Claim nothing more. What a claim under way brings is handed back: see :meth:`claimed`."""
        self._open = False
        self.wake()

    async def claimed(self) -> None:
        """Return when no claim is under way, and the settler has what it brought after :meth:`close`."""
        if self._claiming is not None:
            await asyncio.wait((self._claiming,))

    def _wanted(self) -> tuple[Subscription, int]:
        """What to claim now, and how much in all; 0 for nothing."""
        if self._lanes is None:
            return self.reading, self._room() if self.reading.queues else 0
        wanted = self._lanes.wanted(self.reading)
        self._shut = tuple(queue for queue in self.reading.queues if queue not in wanted.queues)
        return wanted, sum(wanted.caps)

    def _room(self) -> int:
        capacity = self._slots.concurrency + self.prefetch
        room = capacity - len(self._inflight) + self._inflight.copies
        if room <= 0:
            return 0
        # Few large claims: wait until a quarter is free, unless a slot would stay empty for it.
        if room * 4 < capacity and (self._inflight.waiting or self._slots.free <= 0):
            return 0
        return room if capacity < _WORTH_PARTING else min(room, -(-capacity // _PARTS))

    async def _watched(self, looking: Coroutine[Any, Any, _Look]) -> _Look:
        # A claim is never cancelled: what it had granted would be lost until the lease ends. It is watched instead.
        self._claiming = claim = self._loop.create_task(looking)
        # Behind the first step of the claim, which sends it.
        self._slots.start_waiting()
        try:
            while not claim.done():
                late = self._late()
                await asyncio.wait((claim,), timeout=-late if late < 0 else self._call_timeout)
                if self._late() >= 0 and not self.failing:
                    self.failing = True
                    logger.warning("the broker has not answered a claim for %g s, waiting on", self._call_timeout)
        except asyncio.CancelledError:
            self.close()
            raise
        return claim.result()

    def _late(self) -> float:
        """By how many seconds the answer to the claim under way is late; below zero while it may still come."""
        now = self._loop.time()
        return now - (now if self._asked is None else self._asked) - self._call_timeout

    async def _look(self, waiting: Subscription | None) -> _Look:
        """Wait for what may come, and claim it. All in one task: each in between is two turns of the loop for a job
        that a lone producer waits for."""
        if waiting is not None:
            await self._nap(waiting)
        reading, held = self.reading, len(self._inflight)
        wanted, room = self._wanted()
        brought = await self._claim(wanted, room) if room else 0
        return _Look(room=room, brought=brought, held=held, wanted=wanted, reading=reading)

    async def _nap(self, wanted: Subscription) -> None:
        """Return when there may be work, or :meth:`wake` is called."""
        if not self._open or self._woken.is_set():
            return
        self._sleeper = sleeper = asyncio.current_task()
        try:
            await self._broker.wait_for_work(wanted, IDLE_WAIT)
        except asyncio.CancelledError:
            if self._woken.is_set() and sleeper is not None:
                sleeper.uncancel()
            if _cancelled():
                raise
            # Woken, or the broker has cancelled something of its own.
        except Exception:
            # The hint failed; the next claim tells whether the broker did.
            await self._sleep_on(asyncio.sleep(0.1))
        finally:
            self._sleeper = None

    async def _claim(self, wanted: Subscription, room: int) -> int:
        """Ask, and admit what is granted; returns how much that was."""
        if not self._open:
            return 0
        self._turn += 1
        self._claimed_at = self._clock.monotonic()
        suspects = 0 if self._inflight.suspects else 1
        self._left_suspects = suspects == 0
        try:
            deliveries = await self._ask(wanted, room, suspects)
        finally:
            self._asked = None
        if deliveries:
            await self._admit(deliveries)
            if len(deliveries) < room or not self._open:
                self._slots.start_waiting()
            # Else there is more: what was granted starts when the next claim is on its way.
        return len(deliveries)

    async def _ask(self, wanted: Subscription, room: int, suspects: int) -> list[Delivery]:
        if self._lanes is None:
            return await self._receive(wanted, room, suspects)
        shared = min(room, self._lanes.shared)
        deliveries = await self._receive(wanted, shared, suspects) if shared else []
        # What is kept free for one queue is asked for by itself: a claim of several would give it to any of them.
        owed = self._lanes.owed(wanted, [delivery.receipt.queue for delivery in deliveries])
        if owed.queues and self._open:
            if any(delivery.crashes for delivery in deliveries):
                suspects = 0
                self._left_suspects = True
            try:
                deliveries = [*deliveries, *await self._receive(owed, sum(owed.caps), suspects)]
            except StoreError:
                # What the first has brought is held; the next claim will tell whether the broker answers.
                if not deliveries:
                    raise
        return deliveries

    async def _receive(self, wanted: Subscription, limit: int, suspects: int) -> list[Delivery]:
        self._asked = self._loop.time()
        return await self._broker.receive(wanted.turned(self._turn), limit, self._lease, suspects=suspects)

    async def _admit(self, deliveries: list[Delivery]) -> None:
        deadline = self._claimed_at + self._lease
        inflight = self._inflight
        heard = self._signals.task_received or self._signals.task_crashed
        self.idle.clear()
        # All are held, and their leases renewed, before a handler may take its time over the first.
        for entry in [self._hold(delivery, deadline) for delivery in deliveries]:
            if heard:
                await self._announcer.received(entry)
            if not self._open:
                self._settler.take(entry, HandedBack(reason="shutdown"))
            elif self.paused and entry.delivery.receipt.queue in self.paused:
                self._settler.take(entry, HandedBack(reason="paused"))
            elif entry.stage is PREFETCHED:
                inflight.waiting.append(entry)

    def _hold(self, delivery: Delivery, deadline: float) -> Entry:
        stale = self._inflight.get(delivery.message.id)
        if stale is not None:
            # The broker granted again what this worker still holds: its lease had run out unnoticed.
            interrupt(stale, "lease-lost", "the message was granted to this worker again")
            if stale.stage is not RUNNING:
                # What runs is let go of, and told of, when it has ended.
                self._settler.lose(stale)
        entry = Entry(delivery, self._claimed_at, deadline)
        self._inflight.add(entry)
        return entry

    async def _sleep_until_room(self) -> None:
        self._wants_room = True
        try:
            await self._sleep_on(asyncio.Event().wait())
        finally:
            self._wants_room = False

    async def _sleep_on(self, nap: Coroutine[Any, Any, object]) -> None:
        if not self._open:
            # Closed while the claim was under way: there was nothing to wake.
            nap.close()
            return
        self._sleeper = sleeper = self._loop.create_task(nap)
        try:
            # Not asyncio.wait(), which takes a turn of the loop more.
            await sleeper
        except asyncio.CancelledError:
            if not sleeper.cancelled() or _cancelled():
                raise
        finally:
            self._sleeper = None


def _cancelled() -> bool:
    """Whether somebody wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
