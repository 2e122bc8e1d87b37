"""The broker of ``nats://``."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from functools import partial

import msgspec

from stem_core.contracts import Broker
from stem_core.errors import StoreError, StoreRefused, StoreUnavailable
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
from stem_nats.store import Change, Record, Stream
from stem_nats.view import Entry, View, state_of

#: The longest nap of a waiter, in seconds: a consumer that died in silence is noticed then.
_NAP = 5.0
#: Room in a message of the server for the record's own header, which grows with the settlements it remembers.
_OVERHEAD = 16_384


class NatsBroker(NatsFacets, Broker):
    """One session on the messages of one namespace.

    Every verb changes records on the condition that they are those it has read or written itself, so it is the server
    that decides who was first; see :mod:`stem_nats.records`.
    """

    def __init__(self, stream: Stream, dedupe_window: float) -> None:
        super().__init__(stream, dedupe_window)
        #: What tells the tokens of this session from those of all others, and from each other.
        self._session = os.urandom(6).hex()
        self._nonces = 0
        #: The tick of the view at which this session claimed last of each queue.
        self._seen: dict[str, int] = {}
        #: Claims whose answer was lost, by id: they may have been stored.
        self._unsure: dict[str, Change] = {}

    @property
    def max_message_size(self) -> int:
        """What the server takes in one message, less the room for what is written beside it."""
        return self._stream.link.client.max_payload - _OVERHEAD

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
        amendments = [Amendment(change.id, partial(self._revive, change)) for change in known]
        answers = await amend(self._stream, amendments)
        raise_first(answers)

    def _revive(self, new: Change, old: Record | None) -> tuple[Change | None, int]:
        if old is None:
            return new, 0
        if not old.meta.over(self._stream.time.passed()):
            return None, 0
        # The run never goes down, so that the results of the former life are replaced.
        meta = msgspec.structs.replace(new.meta, run=old.meta.run, settled=old.meta.settled)
        return Change(new.id, old.sequence, meta, new.body), 0

    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        """Three round trips: what is there, the bodies, and the claims; once more when others were faster."""
        deliveries: list[Delivery] = []
        while len(deliveries) < limit:
            try:
                view = await self._follower.current()
                self._seen.update(dict.fromkeys(subscription.queues, view.ticks))
                room = limit - len(deliveries)
                again = self._found_again(view, subscription, room, suspects)
                held = sum(entry.meta.crashes > 0 for entry in again)
                taken = self._take(view, subscription, room - len(again), suspects - held)
                granted = await self._grant(view, again, taken, lease)
            except StoreError:
                if deliveries:
                    break
                raise
            deliveries += granted
            suspects -= sum(delivery.crashes > 0 for delivery in granted)
            if len(granted) == len(again) + len(taken):
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

    def _found_again(self, view: View, subscription: Subscription, limit: int, suspects: int) -> list[Entry]:
        """What this session holds without having been told: else it would lie until its lease ends, and count as a
        crash."""
        unsure, self._unsure = self._unsure, {}
        found: list[Entry] = []
        for id, change in unsure.items():
            entry = view.entries.get(id)
            if entry is None or entry.meta.token != change.meta.token:
                continue
            fits = len(found) < limit and entry.meta.queue in subscription.queues
            if fits and (not entry.meta.crashes or suspects > 0):
                suspects -= entry.meta.crashes > 0
                found.append(entry)
            else:
                self._unsure[id] = change
        return found

    async def _grant(self, view: View, again: list[Entry], taken: list[Entry], lease: float) -> list[Delivery]:
        """Claim what was taken; what could not be claimed is put back, or was changed by another. What was found
        again is claimed already, and gets its whole lease."""
        deliveries: list[Delivery] = []
        returned = dict.fromkeys(taken)
        now = self._stream.time.now()
        try:
            changes = await self._claims(view, again, taken, lease, now)
            results = await self._stream.write(list(changes.values()))
            for (entry, change), result in zip(changes.items(), results, strict=True):
                if isinstance(result, int):
                    returned.pop(entry, None)
                    self._learn(change, result)
                    deliveries.append(records.delivery(records.decode_body(change.id, change.body), change.meta, now))
                elif isinstance(result, StoreUnavailable):
                    self._unsure[change.id] = change
            if not deliveries:
                raise_first(results)
        finally:
            for entry in returned:
                view.put_back(entry)
        return deliveries

    async def _claims(
        self, view: View, again: list[Entry], taken: list[Entry], lease: float, now: float
    ) -> dict[Entry, Change]:
        """What to write for each claim; entries that the server has no longer, or not like that, are left out."""
        found = await self._stream.read(entry.id for entry in (*again, *taken) if entry.body is None)
        end = now + self._stream.time.error + lease
        changes: dict[Entry, Change] = {}
        for entry in (*again, *taken):
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
            if entry in again:
                meta = records.extended(entry.meta, end)
            else:
                meta = records.granted(entry.meta, now=now, end=end, nonce=self._nonce())
            changes[entry] = Change(entry.id, entry.sequence, meta, body)
        return changes

    def _nonce(self) -> str:
        self._nonces += 1
        return f"{self._session}{self._nonces:x}"

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
        amendments = [Amendment(one.receipt.id, partial(self._settle, one.receipt, one.action)) for one in good]
        verdicts = await self._amend_held(amendments, [one.receipt for one in good])
        for position, error in refused.items():
            verdicts.insert(position, Verdict(kind="refused", error=error))
        await self._keep_few_dead(settlements)
        return verdicts

    def _settle(self, receipt: Receipt, action: Action, record: Record | None) -> tuple[Change | None, Verdict]:
        time = self._stream.time
        if record is None or record.meta.state != LEASED or record.meta.token != receipt.token:
            meta = record.meta if record is not None else None
            return None, records.verdict_on_old(meta, receipt.token, time.passed())
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

        amendments = [Amendment(receipt.id, partial(longer, receipt)) for receipt in receipts]
        return await self._amend_held(amendments, receipts)

    async def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """Counted in the view."""
        if not queues:
            return {}
        view, now = await self._follower.current(), self._stream.time.passed()
        counted = {queue: _Count() for queue in queues}
        for entry in view.entries.values():
            if (count := counted.get(entry.meta.queue)) is not None and not entry.meta.over(now):
                count.add(entry, now)
        return {queue: count.depth(now) for queue, count in counted.items()}

    async def purge(self, queue: str) -> int:
        """One atomic step each."""
        view, now = await self._follower.current(), self._stream.time.passed()
        doomed = [entry.id for entry in view.of(queue) if state_of(entry.meta, now) in {READY, DELAYED}]
        return len(await self._take_away(queue, doomed, PURGED))

    async def queues(self) -> list[str]:
        """From the view."""
        view = await self._follower.current()
        return sorted(view.names(self._stream.time.passed()))


class _Count:
    """The messages of one queue, by state."""

    def __init__(self) -> None:
        self._states = {READY: 0, DELAYED: 0, LEASED: 0, DEAD: 0}
        self._oldest = math.inf

    def add(self, entry: Entry, now: float) -> None:
        state = state_of(entry.meta, now)
        self._states[state] += 1
        if state == READY:
            self._oldest = min(self._oldest, entry.meta.at)

    def depth(self, now: float) -> QueueDepth:
        return QueueDepth(
            ready=self._states[READY],
            delayed=self._states[DELAYED],
            leased=self._states[LEASED],
            dead=self._states[DEAD],
            oldest_ready_age=max(0.0, now - self._oldest) if self._oldest < math.inf else None,
        )


def _unfit(action: Action) -> str:
    if isinstance(action, Retry | Release) and not action.delay < math.inf:
        return f"a delay of {action.delay} seconds"
    return ""
