"""The broker of ``nats://``."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence

from stem_core.contracts import Broker
from stem_core.errors import StoreError, StoreRefused
from stem_core.model import (
    DONE,
    LOST,
    Action,
    DeadLetter,
    Delivery,
    Message,
    QueueDepth,
    Receipt,
    Release,
    Retry,
    Settlement,
    Subscription,
    Verdict,
)
from stem_nats import records
from stem_nats.amending import Amendment, amend
from stem_nats.facets import NatsFacets
from stem_nats.link import Conflict, raise_first
from stem_nats.records import DEAD, DEAD_LIMIT, DELAYED, FINISHED, LEASED, PURGED, READY, Meta
from stem_nats.store import Change, Record
from stem_nats.view import Entry, View, state_of

#: The longest nap of a waiter, in seconds: a consumer that died in silence is noticed then.
_NAP = 5.0


class NatsBroker(NatsFacets, Broker):
    """One session on the messages of one namespace.

    Every verb changes records on the condition that they are those it has read or written itself, so it is the server
    that decides who was first; see :mod:`stem_nats.records`.
    """

    _nonces = 0
    #: The tick of the view at which this session claimed last.
    _seen = 0

    async def publish(self, messages: Sequence[Message]) -> None:
        """All in one go; ids that are known take a second. Refuses a delay that is no finite number."""
        time, now = self._stream.time, self._stream.time.now()
        changes: list[Change] = []
        for message in messages:
            if not message.delay < math.inf:
                raise StoreRefused(
                    f"message {message.id} has a delay of {message.delay} seconds", hint="give a finite number"
                )
            meta = Meta(state=READY, queue=message.queue, priority=message.priority, at=now)
            meta = records.waiting(meta, message.delay, now, time.error)
            changes.append(Change(message.id, 0, meta, records.encode_body(message)))
        results = await self._stream.write(changes)
        known = [change for change, result in zip(changes, results, strict=True) if isinstance(result, Conflict)]
        raise_first(results)
        amendments = [Amendment(change.id, lambda old, new=change: self._revive(new, old)) for change in known]
        raise_first(await amend(self._stream, amendments))

    def _revive(self, new: Change, old: Record | None) -> tuple[Change | None, int]:
        if old is None:
            return new, 0
        if not old.meta.over(self._stream.time.passed()):
            return None, 0
        # The run never goes down, so that the results of the former life are replaced.
        meta = Meta(
            state=new.meta.state, queue=new.meta.queue, priority=new.meta.priority, at=new.meta.at, run=old.meta.run
        )
        return Change(new.id, old.sequence, meta, new.body), 0

    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        """Three round trips: what is there, the bodies, and the claims; once more when others were faster."""
        deliveries: list[Delivery] = []
        while len(deliveries) < limit:
            try:
                view = await self._follower.current()
                self._seen = view.ticks
                taken = self._take(view, subscription, limit - len(deliveries), suspects)
                granted = await self._grant(view, taken, lease)
            except StoreError:
                if deliveries:
                    break
                raise
            deliveries += granted
            suspects -= sum(delivery.crashes > 0 for delivery in granted)
            if len(granted) == len(taken):
                break
        return deliveries

    def _take(self, view: View, subscription: Subscription, limit: int, suspects: int) -> list[Entry]:
        now = self._stream.time.passed()
        taken: list[Entry] = []
        for queue, most in subscription.plan(limit):
            entries = view.take(queue, min(most, limit - len(taken)), suspects, now)
            suspects -= sum(entry.meta.is_suspect() for entry in entries)
            taken += entries
        return taken

    async def _grant(self, view: View, taken: list[Entry], lease: float) -> list[Delivery]:
        """Claim what was taken; what could not be claimed is put back, or was changed by another."""
        deliveries: list[Delivery] = []
        open_entries = dict.fromkeys(taken)
        try:
            found = await self._stream.read(entry.id for entry in taken if entry.body is None)
            now = self._stream.time.now()
            end = now + self._stream.time.error + lease
            changes: dict[Entry, Change] = {}
            for entry in taken:
                body = entry.body
                if body is None:
                    record = found.get(entry.id)
                    if record is None:
                        view.forget(entry)
                        continue
                    if record.sequence != entry.sequence:
                        self._follower.learn(record.id, record.sequence, record.meta)
                        continue
                    body = record.body
                meta = records.granted(entry.meta, now=now, end=end, nonce=self._nonce())
                changes[entry] = Change(entry.id, entry.sequence, meta, body)
            results = await self._stream.write(list(changes.values()))
            for (entry, change), result in zip(changes.items(), results, strict=True):
                if isinstance(result, int):
                    del open_entries[entry]
                    self._learn(change, result)
                    deliveries.append(records.delivery(records.decode_body(change.id, change.body), change.meta, now))
            if not deliveries:
                raise_first(results)
        finally:
            for entry in open_entries:
                view.put_back(entry)
        return deliveries

    def _nonce(self) -> str:
        self._nonces += 1
        return f"{self._session}{self._nonces:x}"

    def _learn(self, change: Change, sequence: int) -> None:
        if self._follower.started:
            self._follower.learn(change.id, sequence, change.meta, change.body or None)

    async def wait_for_work(self, subscription: Subscription, timeout: float) -> None:
        """Every session hears of every record, so no wake has to be passed on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if timeout <= 0:
            return
        view = await self._follower.current()
        while not view.has_news(subscription.queues, self._seen, self._stream.time.passed()):
            until = view.next_time(subscription.queues) - self._stream.time.passed()
            left = min(deadline - loop.time(), until, _NAP)
            started = loop.time()
            await self._follower.change(subscription.queues, left)
            if loop.time() >= deadline or loop.time() - started >= left or not self._follower.started:
                return

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """One round trip where this session holds the message and nobody extended it, else two."""
        refused = {position: error for position, one in enumerate(settlements) if (error := _unfit(one.action))}
        good = [one for position, one in enumerate(settlements) if position not in refused]
        amendments = [
            Amendment(one.receipt.id, lambda record, one=one: self._settle(one.receipt, one.action, record))
            for one in good
        ]
        verdicts = await self._amend_held(amendments, [one.receipt for one in good])
        for position, error in refused.items():
            verdicts.insert(position, Verdict(kind="refused", error=error))
        await self._keep_few_dead(settlements)
        return verdicts

    def _settle(self, receipt: Receipt, action: Action, record: Record | None) -> tuple[Change | None, Verdict]:
        time = self._stream.time
        if record is None or record.meta.state != LEASED or record.meta.token != receipt.token:
            return None, records.verdict_on_old(record and record.meta, receipt.token, time.passed())
        meta = records.settled(record.meta, action, now=time.now(), error=time.error, window=self._window)
        return Change(record.id, record.sequence, meta, b"" if meta.state == FINISHED else record.body), DONE

    async def _amend_held(self, amendments: Sequence[Amendment[Verdict]], receipts: Sequence[Receipt]) -> list[Verdict]:
        known: dict[int, Record] = {}
        for position, receipt in enumerate(receipts):
            entry = self._follower.view.entries.get(receipt.id)
            if entry is not None and entry.body is not None and entry.meta.token == receipt.token:
                known[position] = Record(entry.id, entry.sequence, entry.meta, entry.body)
        verdicts: list[Verdict] = []
        unknown: StoreError | None = None
        for answer in await amend(self._stream, amendments, known=known, stored=self._learn):
            if isinstance(answer, StoreRefused):
                verdicts.append(Verdict(kind="refused", error=answer.message))
            elif isinstance(answer, StoreError):
                unknown = answer
            else:
                verdicts.append(answer)
        if unknown is not None:
            # Nobody knows whether it was stored. All may be asked for again: what was done is done then, too.
            raise unknown
        return verdicts

    async def _keep_few_dead(self, settlements: Sequence[Settlement]) -> None:
        """Make room for dead letters. A session that never claimed does not know how many there are; it need not:
        whoever claims next does."""
        for queue in {one.receipt.queue for one in settlements if isinstance(one.action, DeadLetter)}:
            surplus = self._follower.view.count_dead(queue) - DEAD_LIMIT
            if surplus > 0:
                oldest = self._follower.view.dead(queue, -math.inf)[:surplus]
                await self.purge_dead(queue, [entry.id for entry in oldest])

    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        """Two round trips, or one where this session holds the messages; each is written once more as a whole."""

        def longer(receipt: Receipt, record: Record | None) -> tuple[Change | None, Verdict]:
            if record is None or record.meta.state != LEASED or record.meta.token != receipt.token:
                return None, LOST
            end = self._stream.time.now() + self._stream.time.error + lease
            return Change(record.id, record.sequence, records.extended(record.meta, end), record.body), DONE

        amendments = [
            Amendment(receipt.id, lambda record, receipt=receipt: longer(receipt, record)) for receipt in receipts
        ]
        return await self._amend_held(amendments, receipts)

    async def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """Counted in the view."""
        if not queues:
            return {}
        view, now = await self._follower.current(), self._stream.time.passed()
        return {queue: _depth(view, queue, now) for queue in queues}

    async def purge(self, queue: str) -> int:
        """One atomic step each."""
        view, now = await self._follower.current(), self._stream.time.passed()
        doomed = [entry.id for entry in view.of(queue) if state_of(entry.meta, now) in {READY, DELAYED}]
        return len(await self._take_away(queue, doomed, PURGED))

    async def queues(self) -> list[str]:
        """From the view."""
        view = await self._follower.current()
        return sorted(view.names(self._stream.time.passed()))


def _depth(view: View, queue: str, now: float) -> QueueDepth:
    counts = {READY: 0, DELAYED: 0, LEASED: 0, DEAD: 0}
    oldest = math.inf
    for entry in view.of(queue):
        if entry.meta.over(now):
            continue
        state = state_of(entry.meta, now)
        counts[state] += 1
        if state == READY:
            oldest = min(oldest, entry.meta.at)
    return QueueDepth(
        ready=counts[READY],
        delayed=counts[DELAYED],
        leased=counts[LEASED],
        dead=counts[DEAD],
        oldest_ready_age=max(0.0, now - oldest) if oldest < math.inf else None,
    )


def _unfit(action: Action) -> str:
    if isinstance(action, Retry | Release) and not action.delay < math.inf:
        return f"a delay of {action.delay} seconds"
    return ""


def new_session() -> str:
    """What tells the tokens of one session from those of all others."""
    return os.urandom(6).hex()
