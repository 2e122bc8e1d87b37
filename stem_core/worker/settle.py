"""The one exit door: outcomes go in one by one and are written together."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stem_core.contracts import SettlesWithResults
from stem_core.errors import StoreError, StoreUnavailable
from stem_core.model import (
    Envelope,
    Failed,
    HandedBack,
    Outcome,
    Settlement,
    Succeeded,
    TaskStatus,
    Verdict,
    constructor,
)
from stem_core.model.delivery import LOST
from stem_core.worker.backoff import Backoff
from stem_core.worker.describing import describe
from stem_core.worker.inflight import GONE, SETTLING, Entry, InFlight
from stem_core.worker.settlement import action_of, status_of

if TYPE_CHECKING:
    from stem_core.client.session import Session
    from stem_core.worker.announce import Announcer

logger = logging.getLogger("stem_core.worker")

#: One write holds at most this many settlements.
MAX_BATCH = 500

_settlement = constructor(Settlement)

#: What finished, in order.
Batch = list[tuple[Entry, Outcome]]


class Settler:
    """Writes what finished: group commit, one flush a loop turn, one in flight.

    Slots do not wait for it; intake counts what is unsettled against its bound. A flush that fails is repeated with
    back-off: settlements are idempotent, and a lease that ended meanwhile makes them ``lost``, never wrong.
    """

    def __init__(
        self,
        session: Session,
        inflight: InFlight,
        announcer: Announcer,
        *,
        worker: str,
        result_ttl: float,
    ) -> None:
        self._session = session
        self._broker = session.broker
        self._backend = session.backend
        broker = session.broker
        self._together: SettlesWithResults | None = None
        if isinstance(broker, SettlesWithResults) and session.backend is not None:
            self._together = broker if broker.shares_store(session.backend) else None
        self._inflight = inflight
        self._announcer = announcer
        self._worker = worker
        self._result_ttl = result_ttl
        #: Called when entries are let go of: there may be room.
        self.on_released: Callable[[], None] = _nothing
        #: Takes out of a batch what no store has to be told of; None: there is no such thing.
        self.without_copies: Callable[[Batch], Batch] | None = None
        self._pending: deque[tuple[Entry, Outcome]] = deque()
        #: What the stores are asked to write now, and have not answered.
        self._writing: Sequence[Entry] = ()
        #: What :meth:`run` waits for when it has nothing to write: a bare future, 1.5 us less a flush than an event.
        self._wake: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        #: The stores do not take what is to be written; read by health.
        self.failing = False
        #: How many started runs were given back unfinished because the worker stops.
        self.interrupted = 0

    def take(self, entry: Entry, outcome: Outcome) -> None:
        """Settle this entry at the end of the loop turn."""
        if entry.stage is SETTLING or entry.stage is GONE:
            # A hard stop has given it back already, or its lease is lost.
            return
        entry.stage = SETTLING
        entry.outcome = outcome
        self._pending.append((entry, outcome))
        if len(self._pending) == 1:
            self._idle.clear()
            self._awake()

    async def run(self) -> None:
        """Flush until :meth:`close`; a service of the worker."""
        backoff, loop = Backoff(), asyncio.get_running_loop()
        while True:
            if not self._pending:
                self._idle.set()
                if self._closing:
                    return
                self._wake = loop.create_future()
                await self._wake
                continue
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_BATCH))]
            try:
                await self._flush(batch)
            except StoreUnavailable as error:
                self._pending.extendleft(reversed([item for item in batch if item[0].stage is not GONE]))
                if not self.failing:
                    logger.warning("cannot settle %d deliveries, trying on: %s", len(self._pending), error.message)
                self.failing = True
                await backoff.sleep()
            else:
                self.failing = False
                backoff.reset()

    async def settled(self) -> None:
        """Return when nothing waits to be written."""
        await self._idle.wait()

    def close(self) -> None:
        """Let :meth:`run` end once everything is written."""
        self._closing = True
        self._awake()

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _flush(self, batch: Batch) -> None:
        batch = await self._publish_outboxes(batch)
        if self.without_copies is not None:
            batch = self.without_copies(batch)
        now = self._session.clock.now()
        entries: list[Entry] = []
        settlements: list[Settlement] = []
        statuses: list[TaskStatus | None] = []
        for entry, outcome in batch:
            if entry.stage is GONE:
                continue
            entries.append(entry)
            settlements.append(_settlement(receipt=entry.delivery.receipt, action=action_of(outcome)))
            statuses.append(
                status_of(entry, outcome, worker=self._worker, now=now, default_ttl=self._result_ttl)
                if self._backend is not None
                else None
            )
        if not entries:
            return
        self._writing = entries
        try:
            verdicts = await self._write(settlements, statuses)
        except StoreUnavailable:
            raise
        except Exception as error:
            # Whatever a store makes of one item, it must not end the worker: the next would hold the same item.
            verdicts = await self._write_singly(settlements, statuses, error)
        finally:
            self._writing = ()
        quiet = self._announcer.quiet_success
        for entry, verdict in zip(entries, verdicts, strict=True):
            if quiet and verdict.kind == "done" and type(entry.outcome) is Succeeded:
                self._inflight.remove(entry)
            else:
                self.finish(entry, verdict)
        self.on_released()
        await self._announcer.room()

    async def _write(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None]
    ) -> Sequence[Verdict]:
        deadline = self._session.deadline
        if self._together is not None:
            return await deadline("broker: settle", self._together.settle_with_results(settlements, statuses))
        records = [status for status in statuses if status is not None]
        if self._backend is not None and records:
            # The result first: a crash between the two runs the task again, the other order would lose its result.
            await deadline("result backend: record", self._backend.record(records))
        return await deadline("broker: settle", self._broker.settle(settlements))

    async def _write_singly(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None], error: Exception
    ) -> list[Verdict]:
        """One item spoils the batch: find it, so that its neighbours are written all the same."""
        if len(settlements) == 1:
            return [Verdict(kind="refused", error=_told(error))]
        verdicts: list[Verdict] = []
        for settlement, status in zip(settlements, statuses, strict=True):
            try:
                verdicts.extend(await self._write([settlement], [status]))
            except StoreUnavailable:
                raise
            except Exception as single:
                verdicts.append(Verdict(kind="refused", error=_told(single)))
        return verdicts

    async def _publish_outboxes(self, batch: Batch) -> Batch:
        """Publish what successful tasks enqueued, before their ack. Ids are deterministic: again changes nothing."""
        envelopes: list[Envelope] = []
        for entry, outcome in batch:
            if isinstance(outcome, Succeeded) and entry.ctx is not None and entry.ctx.outbox:
                envelopes.extend(entry.ctx.outbox)
        if not envelopes:
            return batch
        try:
            await self._session.publish(envelopes)
        except StoreUnavailable:
            raise
        except Exception:
            return [(entry, await self._publish_one(entry, outcome)) for entry, outcome in batch]
        return batch

    async def _publish_one(self, entry: Entry, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Succeeded) or entry.ctx is None or not entry.ctx.outbox:
            return outcome
        try:
            await self._session.publish(entry.ctx.outbox)
        except StoreUnavailable:
            raise
        except Exception as error:
            entry.outcome = Failed(reason="outbox-refused", error=describe(error))
            return entry.outcome
        return outcome

    def finish(self, entry: Entry, verdict: Verdict) -> None:
        """Let go of an entry whose end is known to whoever had to be told, and tell of it."""
        self._inflight.remove(entry)
        if entry.started and isinstance(entry.outcome, HandedBack) and entry.outcome.reason == "shutdown":
            self.interrupted += 1
        if verdict.kind == "refused":
            logger.error(
                "%s refused to settle %s: %s; its lease will end and it will be delivered again",
                type(self._broker).__name__,
                entry.delivery.message.id,
                verdict.error,
            )
        self._announcer.settled(entry, verdict)

    def lose(self, entry: Entry) -> None:
        """Let go of an entry whose lease is known to be lost; nothing of it is written."""
        if entry in self._writing:
            # Its settlement may be what let go of it: the verdict decides, and is told of.
            return
        if entry.stage is not GONE:
            self._inflight.remove(entry)
            self._announcer.settled(entry, LOST)
            self.on_released()


def _nothing() -> None:
    """Until an intake wants to know."""


def _told(error: Exception) -> str:
    return error.message if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
