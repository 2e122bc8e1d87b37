"""Looking into the broker and working on it by hand: dead letters, peeking, moving."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from stem_core.contracts import Inspectable, KeepsDeadLetters, TellsTime
from stem_core.errors import StoreError, StoreRefused
from stem_core.model import DeadMessage, StoredMessage
from stem_nats import records
from stem_nats.amending import Amendment, amend
from stem_nats.follower import Follower
from stem_nats.records import DEAD, DELAYED, FINISHED, LEASED, READY, Meta
from stem_nats.store import Change, Record, Stream
from stem_nats.view import Entry, state_of


class NatsFacets(KeepsDeadLetters, Inspectable, TellsTime):
    """The facets of the broker that are for people and tools."""

    def __init__(self, stream: Stream, dedupe_window: float) -> None:
        self._stream = stream
        self._window = dedupe_window
        self._follower = Follower(stream)

    async def close(self) -> None:
        """End what reads along."""
        await self._follower.close()

    async def now(self) -> float:
        """The server's clock, to half a round trip."""
        return await self._stream.now()

    def _now(self) -> float:
        return self._stream.time.passed()

    async def dead_letters(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[DeadMessage]:
        """An ``after`` that is there no more gives nothing."""
        view = await self._follower.current()
        found = await self._bodies(_page(view.dead(queue, self._now()), limit, after))
        return [letter for record in found if (letter := self._letter(record)) is not None]

    async def dead_letter(self, id: str) -> DeadMessage | None:
        """Read by id."""
        return self._letter((await self._stream.read([id])).get(id))

    def _letter(self, record: Record | None) -> DeadMessage | None:
        if record is None or record.meta.state != DEAD or record.meta.over(self._now()):
            return None
        return records.dead_message(records.decode_body(record.id, record.body), record.meta)

    async def _bodies(self, entries: Sequence[Entry]) -> list[Record]:
        found = await self._stream.read(entry.id for entry in entries)
        return [found[entry.id] for entry in entries if entry.id in found]

    async def replay(self, ids: Sequence[str]) -> list[str]:
        """All in one go."""

        def alive(record: Record | None) -> tuple[Change | None, bool]:
            if record is None or self._letter(record) is None:
                return None, False
            meta = records.replayed(record.meta, now=self._stream.time.now())
            return Change(record.id, record.sequence, meta, record.body), True

        return await self._change(dict.fromkeys(ids), alive)

    async def purge_dead(self, queue: str, ids: Sequence[str] | None = None) -> int:
        """Those of ``ids`` that are dead letters of another queue stay."""
        if ids is None:
            view = await self._follower.current()
            ids = [entry.id for entry in view.dead(queue, self._now())]

        def gone(record: Record | None) -> tuple[Change | None, bool]:
            if record is None or record.meta.queue != queue or self._letter(record) is None:
                return None, False
            return self._purged(record), True

        return len(await self._change(dict.fromkeys(ids), gone))

    async def _change(
        self, ids: Iterable[str], decide: Callable[[Record | None], tuple[Change | None, bool]]
    ) -> list[str]:
        """Change each record as ``decide`` says; the ids of those that were changed.

        Raises:
            StoreError: one of them could not be stored; the same may be asked for again.
        """
        amendments = [Amendment(id, decide) for id in ids]
        changed: list[str] = []
        answers = await amend(self._stream, amendments, stored=self._learn)
        for amendment, answer in zip(amendments, answers, strict=True):
            if isinstance(answer, StoreError):
                raise answer
            if answer:
                changed.append(amendment.id)
        return changed

    def _learn(self, change: Change, sequence: int) -> None:
        if self._follower.started:
            self._follower.learn(change.id, sequence, change.meta, change.body or None)

    def _purged(self, record: Record) -> Change:
        meta = records.purged(record.meta, now=self._stream.time.now(), window=self._window)
        return Change(record.id, record.sequence, meta, b"")

    def _waits(self, meta: Meta) -> bool:
        return state_of(meta, self._now()) in {READY, DELAYED}

    async def _take_away(self, queue: str | None, ids: Iterable[str], state: str) -> list[str]:
        """Let ready and delayed messages become markers, of one queue or of any; the ids of those that did."""

        def gone(record: Record | None) -> tuple[Change | None, bool]:
            if record is None or not self._waits(record.meta) or queue not in {None, record.meta.queue}:
                return None, False
            if state != FINISHED:
                return self._purged(record), True
            meta = records.finished(record.meta, now=self._stream.time.now(), window=self._window)
            return Change(record.id, record.sequence, meta, b""), True

        return await self._change(dict.fromkeys(ids), gone)

    async def peek(
        self, queue: str, state: str = "ready", *, limit: int = 100, after: str | None = None
    ) -> list[StoredMessage]:
        """An ``after`` that is in that state no more gives nothing."""
        if state not in {READY, DELAYED, LEASED}:
            raise StoreRefused(f"{state!r} is no state to peek at", hint="use ready, delayed or leased")
        view, now = await self._follower.current(), self._now()
        found = await self._bodies(_page(view.in_state(queue, state, now), limit, after))
        return [self._stored(record) for record in found if state_of(record.meta, now) == state]

    def _stored(self, record: Record) -> StoredMessage:
        return records.stored_message(records.decode_body(record.id, record.body), record.meta, self._now())

    async def find(self, ids: Sequence[str]) -> dict[str, StoredMessage]:
        """Read by id."""
        found = await self._stream.read(ids)
        return {
            id: self._stored(record)
            for id, record in found.items()
            if record.body and not record.meta.over(self._now())
        }

    async def remove(self, ids: Sequence[str]) -> list[str]:
        """Leased messages and dead letters stay."""
        return await self._take_away(None, ids, FINISHED)

    async def move(self, queue: str, other: str) -> int:
        """The messages keep the queue name that was sealed into them."""
        if queue == other:
            return 0
        view = await self._follower.current()

        def moved(record: Record | None) -> tuple[Change | None, bool]:
            if record is None or record.meta.queue != queue or not self._waits(record.meta):
                return None, False
            meta = msgspec.structs.replace(record.meta, queue=other)
            return Change(record.id, record.sequence, meta, record.body), True

        return len(await self._change([entry.id for entry in view.of(queue) if self._waits(entry.meta)], moved))


def _page(entries: list[Entry], limit: int, after: str | None) -> list[Entry]:
    """Up to ``limit`` entries after the one with that id; none when it is not among them."""
    if after is None:
        return entries[:limit]
    for place, entry in enumerate(entries):
        if entry.id == after:
            return entries[place + 1 : place + 1 + limit]
    return []
