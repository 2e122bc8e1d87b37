"""Looking into the memory broker and working on it by hand: dead letters, peeking, moving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

from stem_core.builtin.memory_queue import DELAYED, LEASED, READY, Entry, Queue
from stem_core.builtin.memory_store import MemoryStore
from stem_core.clock import Clock
from stem_core.contracts import Inspectable, KeepsDeadLetters
from stem_core.errors import StoreRefused
from stem_core.model import DeadMessage, StoredMessage

T = TypeVar("T")


class MemoryInspection(KeepsDeadLetters, Inspectable):
    """The facets of the memory broker that are for people and tools."""

    def __init__(self, store: MemoryStore, clock: Clock, dedupe_window: float) -> None:
        self._store = store
        self._clock = clock
        self._window = dedupe_window

    def _queue(self, name: str, now: float) -> Queue:
        """The queue, up to date and without the dead letters whose time is over."""
        queue = self._store.queue(name, now)
        self._forget(queue.forget_dead(now))
        return queue

    def _forget(self, ids: Iterable[str]) -> None:
        for job in ids:
            del self._store.dead[job]

    async def dead_letters(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[DeadMessage]:
        """Oldest first; an ``after`` that is there no more gives nothing."""
        with self._store.lock:
            letters = self._queue(queue, self._clock.now()).dead
            return _page(letters.values(), (letter.message.id for letter in letters.values()), limit, after)

    async def dead_letter(self, id: str) -> DeadMessage | None:
        """Looked up by id."""
        with self._store.lock:
            return self._dead_letter(id, self._clock.now())

    def _dead_letter(self, id: str, now: float) -> DeadMessage | None:
        queue = self._store.dead.get(id)
        return self._queue(queue.name, now).dead.get(id) if queue is not None else None

    async def replay(self, ids: Sequence[str]) -> list[str]:
        """All under one hold of the lock."""
        store, now = self._store, self._clock.now()
        replayed: list[str] = []
        with store.lock:
            for job in ids:
                letter = self._dead_letter(job, now)
                if letter is None:
                    continue
                queue = store.dead.pop(job)
                del queue.dead[job]
                store.markers.pop(job, now)
                entry = store.entries[job] = Entry(letter.message, queue, letter.run, now)
                queue.add(entry, 0.0, now)
                replayed.append(job)
        return replayed

    async def purge_dead(self, queue: str, ids: Sequence[str] | None = None) -> int:
        """Those of ``ids`` that are dead letters of another queue stay."""
        now = self._clock.now()
        with self._store.lock:
            letters = self._queue(queue, now).dead
            doomed = [job for job in dict.fromkeys(ids if ids is not None else letters) if job in letters]
            for job in doomed:
                self._remember_run(job, letters.pop(job).run, now)
            self._forget(doomed)
            return len(doomed)

    def _remember_run(self, id: str, run: int, now: float) -> None:
        if run:
            self._store.runs.put(id, run, now + self._window)

    async def peek(
        self, queue: str, state: str = "ready", *, limit: int = 100, after: str | None = None
    ) -> list[StoredMessage]:
        """An ``after`` that is in that state no more gives nothing."""
        if state not in {READY, DELAYED, LEASED}:
            raise StoreRefused(f"{state!r} is no state to peek at", hint="use ready, delayed or leased")
        with self._store.lock:
            entries = list(self._queue(queue, self._clock.now()).in_state(state))
            return [e.stored() for e in _page(entries, (e.message.id for e in entries), limit, after)]

    async def find(self, ids: Sequence[str]) -> dict[str, StoredMessage]:
        """Looked up by id."""
        store, now = self._store, self._clock.now()
        found: dict[str, StoredMessage] = {}
        with store.lock:
            for job in ids:
                entry = store.entries.get(job)
                if entry is not None:
                    entry.queue.turn(now)
                    found[job] = entry.stored()
                elif (letter := self._dead_letter(job, now)) is not None:
                    found[job] = StoredMessage(
                        message=letter.message,
                        state="dead",
                        attempt=letter.attempt,
                        crashes=letter.crashes,
                        run=letter.run,
                        at=letter.died_at,
                    )
        return found

    async def remove(self, ids: Sequence[str]) -> list[str]:
        """Leased messages and dead letters stay."""
        store, now = self._store, self._clock.now()
        with store.lock:
            doomed: dict[str, Entry] = {}
            for job in ids:
                entry = store.entries.get(job)
                if entry is not None:
                    entry.queue.turn(now)
                    if entry.state != LEASED:
                        doomed[job] = entry
            self._take_out(doomed.values())
            for job in doomed:
                # No receipt has this token: whoever held the message before it came back is lost.
                store.markers.put(job, "", now + self._window)
            return list(doomed)

    def _take_out(self, entries: Iterable[Entry]) -> None:
        """Remove ready and delayed entries, each queue in one go."""
        queues: dict[str, list[Entry]] = {}
        for entry in entries:
            queues.setdefault(entry.queue.name, []).append(entry)
            del self._store.entries[entry.message.id]
        for name, removed in queues.items():
            self._store.queues[name].take_out(removed)

    async def purge(self, queue: str) -> int:
        """Leaves no markers: the ids may be published again."""
        now = self._clock.now()
        with self._store.lock:
            doomed = list(self._queue(queue, now).waiting())
            self._take_out(doomed)
            for entry in doomed:
                self._remember_run(entry.message.id, entry.run, now)
            return len(doomed)

    async def move(self, queue: str, other: str) -> int:
        """The messages keep the queue name that was sealed into them."""
        now = self._clock.now()
        with self._store.lock:
            source, target = self._queue(queue, now), self._queue(other, now)
            moved = list(source.waiting())
            source.take_out(moved)
            target.take_in(moved)
            return len(moved)


def _page(items: Iterable[T], ids: Iterable[str], limit: int, after: str | None) -> list[T]:
    """Up to ``limit`` of the items after the one whose id is ``after``; nothing when that one is not among them."""
    if after is None:
        return list(islice(items, limit))
    for place, job in enumerate(ids):
        if job == after:
            return list(islice(items, place + 1, place + 1 + limit))
    return []
