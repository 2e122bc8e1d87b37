"""Dead letters by choice: found page by page, put back or removed in small steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import attrs

from stem_core.contracts import Inspectable
from stem_core.control.inspector import PAGE, Inspector, TasksByQueue, keeps_dead_letters
from stem_core.control.views import DeadLetterView, dead_letter_view
from stem_core.errors import NotFound
from stem_core.model import DeadMessage
from stem_core.model._value import value

if TYPE_CHECKING:
    from stem_core.client.session import Session

#: How many are put back or removed in one step; what is begun ends whole.
STEP = 200


@value
class Selection:
    """Which dead letters: those of these ids, or those that all of the rest applies to."""

    ids: tuple[str, ...] = ()
    #: Empty: all queues.
    queues: tuple[str, ...] = ()
    #: Given up within the last so many seconds, by the broker's clock.
    within: float | None = None
    #: A pattern for the name of the task, with ``*`` and ``?``.
    task: str | None = None

    def matches(self, letter: DeadLetterView, now: float) -> bool:
        """Whether a letter of the right queue is meant; ``now`` is the broker's time."""
        if self.within is not None and letter.died_at < now - self.within:
            return False
        return self.task is None or fnmatchcase(letter.task, self.task)


@attrs.define(kw_only=True)
class Selected:
    """What a selection found, without the letters themselves: there may be a hundred thousand."""

    #: Ids by queue, oldest first.
    ids: dict[str, list[str]] = attrs.field(factory=dict)
    #: How many by queue, task and reason.
    groups: Counter[tuple[str, str, str]] = attrs.field(factory=Counter)
    #: The ids that were asked for and are no dead letters.
    missing: list[str] = attrs.field(factory=list)
    #: How many would be cancelled as expired if they were put back.
    expired: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return self.groups.total()

    def add(self, letter: DeadLetterView, now: float) -> None:
        """Take one more in."""
        self.ids.setdefault(letter.queue, []).append(letter.id)
        self.groups[letter.queue, letter.task, letter.reason] += 1
        header = letter.header
        self.expired += header is not None and header.expires_at is not None and header.expires_at <= now


class DeadLetters:
    """The dead letters of an opened app.

    Raises:
        ConfigurationError: when made: the broker keeps none that could be looked at.
    """

    def __init__(self, session: Session, tasks: TasksByQueue | None = None) -> None:
        self._session = session
        self._inspector = Inspector(session, tasks)
        self._broker = keeps_dead_letters(session)

    async def now(self) -> float:
        """As :meth:`Inspector.now <stem_core.control.inspector.Inspector.now>`."""
        return await self._inspector.now()

    async def get(self, id: str) -> DeadLetterView:
        """One dead letter, with what its task raised where the result backend knows.

        Raises:
            NotFound: it is none.
        """
        session = self._session
        letter = await self._letter(id)
        if letter is None:
            raise NotFound(
                f"there is no dead letter {id}",
                hint=f"`stem result {id}` shows what became of the job, `stem dlq list` what there is",
            )
        error = None
        if session.backend is not None:
            status = (await session.deadline("result backend: get", session.backend.get([id]))).get(id)
            # A status of another run is not about this death.
            error = status.error if status is not None and status.run == letter.run else None
        return dead_letter_view(letter, error)

    async def find(self, selection: Selection) -> AsyncIterator[DeadLetterView]:
        """The letters of a selection by queue and age, read page by page. Ids that are none are left out.

        Raises:
            NotFound: a queue that was asked for is not known.
        """
        if selection.ids:
            for id in dict.fromkeys(selection.ids):
                dead = await self._letter(id)
                if dead is not None:
                    yield dead_letter_view(dead)
            return
        now = await self.now()
        for queue in await self._queues(selection.queues):
            async for letter in self._of_queue(queue):
                if selection.matches(letter, now):
                    yield letter

    async def select(self, selection: Selection) -> Selected:
        """What the selection finds, to be acted on."""
        found = Selected()
        now = await self.now()
        async for letter in self.find(selection):
            found.add(letter, now)
        if selection.ids:
            there = {id for ids in found.ids.values() for id in ids}
            found.missing = [id for id in dict.fromkeys(selection.ids) if id not in there]
        return found

    async def replay(self, selected: Selected) -> AsyncIterator[tuple[int, int]]:
        """Put the letters back into their queues: attempt 1, crashes 0, the same ids.

        After each step gives how many were taken on, and how many of them were put back; the others are gone since.
        Whoever stops between two steps leaves the rest as it was, and may select and begin anew.
        """
        for ids in selected.ids.values():
            for step in _steps(ids):
                await self._forget_outcomes(step)
                done = await self._session.deadline("broker: replay", self._broker.replay(step))
                yield len(step), len(done)

    async def purge(self, selected: Selected) -> AsyncIterator[tuple[int, int]]:
        """Remove the letters for good; in steps, as :meth:`replay`."""
        for queue, ids in selected.ids.items():
            for step in _steps(ids):
                yield (
                    len(step),
                    await self._session.deadline("broker: purge_dead", self._broker.purge_dead(queue, step)),
                )

    async def _forget_outcomes(self, ids: Sequence[str]) -> None:
        """Who asks for a result from now on waits for the new run: the outcome of the old one is no answer any more.

        Before the replay, since a run may end at once; what is still dead meanwhile is told by the broker.
        """
        session, broker = self._session, self._session.broker
        if session.backend is None or not isinstance(broker, Inspectable):
            return
        found = await session.deadline("broker: find", broker.find(ids))
        # Those that somebody else has put back may have a new outcome.
        dead = [id for id, message in found.items() if message.state == "dead"]
        await session.deadline("result backend: forget", session.backend.forget(dead))

    async def _letter(self, id: str) -> DeadMessage | None:
        return await self._session.deadline("broker: dead_letter", self._broker.dead_letter(id))

    async def _queues(self, wanted: Collection[str]) -> list[str]:
        if wanted:
            return [(await self._inspector.queue(name)).queue for name in dict.fromkeys(wanted)]
        return [view.queue for view in await self._inspector.queues() if view.dead]

    async def _of_queue(self, queue: str) -> AsyncIterator[DeadLetterView]:
        seen: set[str] = set()
        last: str | None = None
        while True:
            call = self._broker.dead_letters(queue, limit=PAGE, after=last)
            page = await self._session.deadline("broker: dead_letters", call)
            for letter in page:
                if letter.message.id not in seen:
                    seen.add(letter.message.id)
                    yield dead_letter_view(letter)
            if page:
                last = page[-1].message.id
            elif last is None or await self._letter(last) is not None:
                return
            else:
                # Somebody took away the letter that marked the place, and so the page was empty: from the start.
                last = None


def _steps(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + STEP] for start in range(0, len(ids), STEP)]
