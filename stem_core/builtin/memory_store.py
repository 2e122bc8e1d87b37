"""What stands behind ``memory://``: one store a name, shared by everything in this process, behind one lock.

The hot verbs run in whole batches under the lock and never await, so a store is as safe between threads and event
loops as between tasks. The broker, backend and state classes beside this module are thin faces of it.

In batches of 100 a job costs 2.8 us on one core of a small server: 0.6 to publish, 1.3 to receive, 0.9 to settle and
record (CPython 3.11; ``tests/unit/builtin/test_memory_speed.py`` prints it anew). What makes it so: one lock and one
look at the clock a batch; one item in the lease heap a claim instead of one a message; a marker is a token in a
dictionary and not a kept entry; a receipt that comes back is known by identity before its token is compared.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Iterable, Sequence

from stem_core.builtin.expiring import Expiring
from stem_core.builtin.memory_channels import Channels
from stem_core.builtin.memory_queue import LAPSED, LEASED, Entry, Queue
from stem_core.builtin.waiter import Waiter
from stem_core.contracts import Record, StoreContext
from stem_core.errors import StoreRefused
from stem_core.model import (
    DONE,
    LOST,
    Ack,
    DeadLetter,
    Delivery,
    Message,
    Receipt,
    Retry,
    Settlement,
    Subscription,
    TaskStatus,
    Verdict,
    constructor,
    supersedes,
)

# One counter for all stores of the process: a token is never handed out twice.
_TOKENS = itertools.count(1)

_receipt, _delivery = constructor(Receipt), constructor(Delivery)

_stores: dict[tuple[str, str], MemoryStore] = {}
_stores_lock = threading.Lock()


def store_for(context: StoreContext) -> MemoryStore:
    """The store of this URL and namespace; made at first use, kept until the process ends."""
    key = (context.namespace, context.url.location)
    with _stores_lock:
        store = _stores.get(key)
        if store is None:
            store = _stores[key] = MemoryStore()
        return store


def _start_empty() -> None:
    """A forked child must not work on copies of its parent's jobs, nor wait for a lock its parent held."""
    global _stores_lock
    _stores.clear()
    _stores_lock = threading.Lock()


os.register_at_fork(after_in_child=_start_empty)


class MemoryStore:
    """Queues, results, records and channels of one name. Whoever touches an attribute holds ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.queues: dict[str, Queue] = {}
        #: Everything that is ready, delayed or leased, by id.
        self.entries: dict[str, Entry] = {}
        #: The queue whose dead letter an id is.
        self.dead: dict[str, Queue] = {}
        #: Ids that are finished, with the token that finished them.
        self.markers: Expiring[str] = Expiring()
        #: Tokens of settlements that were applied and left no marker.
        self.settled: Expiring[None] = Expiring()
        #: The run that an id had when it was purged; the next life of the id goes on from there.
        self.runs: Expiring[int] = Expiring()
        self.results: Expiring[TaskStatus] = Expiring()
        self.result_waiters: dict[str, set[Waiter]] = {}
        self.records: dict[str, Expiring[Record]] = {}
        self.version = 0
        self.channels = Channels()

    def queue(self, name: str, now: float) -> Queue:
        """The queue, up to date."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name)
        elif queue.delayed or queue.grants:
            queue.turn(now)
        return queue

    def publish(self, messages: Sequence[Message], now: float) -> None:
        """As :meth:`stem_core.contracts.Broker.publish`."""
        entries, dead = self.entries, self.dead
        self.sweep(now, len(messages))
        markers, runs, results = self.markers.entries, self.runs.entries, self.results.entries
        queue: Queue | None = None
        for message in messages:
            job = message.id
            if job in entries or job in dead:
                continue
            if (marker := markers.get(job)) is not None and marker[0] > now:
                continue
            if queue is None or queue.name != message.queue:
                queue = self.queue(message.queue, now)
            delay = message.delay
            if delay and not delay < math.inf:
                raise StoreRefused(f"message {job} has a delay of {delay} seconds", hint="give a finite number")
            # A run above that of the stored result, or the new life of the id could not replace it.
            run = (results[job][1].run if job in results else 0) if results else 0
            if runs and (floor := runs.get(job)) is not None:
                run = max(run, floor[1])
            entry = entries[job] = Entry(message, queue, run, now)
            queue.add(entry, delay, now)

    def receive(
        self, subscription: Subscription, limit: int, lease: float, suspects: int, now: float
    ) -> list[Delivery]:
        """As :meth:`stem_core.contracts.Broker.receive`."""
        deliveries: list[Delivery] = []
        end = now + lease
        for name, most in subscription.plan(limit):
            room = min(most, limit - len(deliveries))
            if room <= 0:
                break
            queue = self.queues.get(name)
            if queue is None:
                continue
            if queue.delayed or queue.grants:
                queue.turn(now)
            granted: dict[str, Entry] = {}
            for priority in queue.priorities:
                for entry in queue.levels[priority].take(room - len(granted), suspects):
                    granted[entry.message.id] = entry
                    delivery = _deliver(entry, granted, now, end)
                    if delivery.crashes:
                        suspects -= 1
                    deliveries.append(delivery)
            if granted:
                queue.grant(granted, end)
        return deliveries

    def settle(
        self, settlements: Sequence[Settlement], statuses: Iterable[TaskStatus | None], now: float, window: float
    ) -> list[Verdict]:
        """As :meth:`stem_core.contracts.SettlesWithResults.settle_with_results`."""
        entries = self.entries
        self.sweep(now, len(settlements))
        verdicts: list[Verdict] = []
        for settlement, status in zip(settlements, statuses, strict=False):
            receipt = settlement.receipt
            job = receipt.id
            entry = entries.get(job)
            if entry is None or (entry.receipt is not receipt and not _holds(entry, receipt)):
                verdicts.append(self._verdict_on_old(receipt, now))
                continue
            if type(settlement.action) is Ack:
                entry.queue.end_lease(entry)
                del entries[job]
                self.markers.put(job, receipt.token, now + window)
            else:
                verdict = self._settle_unfinished(entry, settlement, now, window)
                if verdict is not DONE:
                    verdicts.append(verdict)
                    continue
            verdicts.append(DONE)
            if status is not None:
                self.record(status, now)
        return verdicts

    def _settle_unfinished(self, entry: Entry, settlement: Settlement, now: float, window: float) -> Verdict:
        """Apply an action that does not finish the message, with a receipt that is good."""
        action = settlement.action
        queue = entry.queue
        if isinstance(action, DeadLetter):
            queue.turn(now)
            queue.end_lease(entry)
            del self.entries[entry.message.id]
            self.dead[entry.message.id] = queue
            for job in queue.bury(entry, action, now):
                del self.dead[job]
        else:
            assert not isinstance(action, Ack)
            if not action.delay < math.inf:
                return Verdict(kind="refused", error=f"a delay of {action.delay} seconds")
            queue.turn(now)
            queue.end_lease(entry)
            if isinstance(action, Retry):
                entry.attempt += 1
                entry.first_delivered_at = None
            elif action.charge:
                entry.crashes += 1
            queue.add(entry, action.delay, now)
        self.settled.put(settlement.receipt.token, None, now + window)
        return DONE

    def _verdict_on_old(self, receipt: Receipt, now: float) -> Verdict:
        """On a receipt that is good no more: done when it was itself what settled, else lost."""
        if self.markers.get(receipt.id, now) == receipt.token:
            return DONE
        settled = self.settled.entries.get(receipt.token)
        return DONE if settled is not None and settled[0] > now else LOST

    def extend(self, receipts: Sequence[Receipt], lease: float, now: float) -> list[Verdict]:
        """As :meth:`stem_core.contracts.Broker.extend`."""
        verdicts: list[Verdict] = []
        grants: dict[str, dict[str, Entry]] = {}
        for receipt in receipts:
            entry = self.entries.get(receipt.id)
            if entry is None or not _holds(entry, receipt):
                verdicts.append(LOST)
                continue
            verdicts.append(DONE)
            grant = grants.setdefault(entry.queue.name, {})
            if receipt.id in grant:
                # The same receipt twice in one call.
                continue
            entry.queue.end_lease(entry)
            grant[receipt.id] = entry
            entry.grant = grant
            entry.state = LEASED
            entry.at = now + lease
        for name, grant in grants.items():
            self.queues[name].grant(grant, now + lease)
        return verdicts

    def record(self, status: TaskStatus, now: float) -> None:
        """Keep the status where it supersedes what is there, and tell who waits for a terminal one."""
        old = self.results.entries.get(status.id)
        if old is not None and old[0] > now and not supersedes(status, old[1]):
            return
        self.results.put(status.id, status, now + status.ttl)
        if self.result_waiters and status.state.terminal:
            for waiter in self.result_waiters.pop(status.id, ()):
                waiter.wake()

    def sweep(self, now: float, count: int) -> None:
        """Free room of what is over: more than ``count`` new entries take, so that it never piles up."""
        limit = 2 * count + 8
        self.markers.sweep(now, limit)
        self.settled.sweep(now, limit)
        self.runs.sweep(now, limit)
        self.results.sweep(now, limit)


def _holds(entry: Entry, receipt: Receipt) -> bool:
    return entry.receipt is not None and entry.receipt.token == receipt.token


def _deliver(entry: Entry, granted: dict[str, Entry], now: float, end: float) -> Delivery:
    """Grant the entry anew: from here on older receipts are lost."""
    if entry.state == LAPSED:
        entry.crashes += 1
    if entry.first_delivered_at is None:
        entry.first_delivered_at = now
    entry.state = LEASED
    entry.at = end
    entry.grant = granted
    entry.run = run = entry.run + 1
    message = entry.message
    receipt = entry.receipt = _receipt(id=message.id, queue=entry.queue.name, run=run, token=f"{run}.{next(_TOKENS)}")
    return _delivery(
        message=message,
        receipt=receipt,
        attempt=entry.attempt,
        crashes=entry.crashes,
        first_delivered_at=entry.first_delivered_at,
        now=now,
    )
