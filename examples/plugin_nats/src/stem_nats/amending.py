"""Changing records that others change too: decide on what is there, write on the condition that it still is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs

from stem_core.errors import StoreError, StoreUnavailable
from stem_nats.link import Conflict
from stem_nats.store import Change, Record, Stream

R = TypeVar("R")

#: How often a change is decided anew because somebody else was faster.
_ROUNDS = 50


@attrs.frozen
class Amendment(Generic[R]):
    """What is to become of one record."""

    id: str
    #: From the record, None where there is none, to the change and what to answer once it is stored; a change of
    #: None leaves the record as it is.
    decide: Callable[[Record | None], tuple[Change | None, R]]


async def amend(
    stream: Stream,
    amendments: Sequence[Amendment[R]],
    *,
    known: Mapping[int, Record] | None = None,
    stored: Callable[[Change, int], None] | None = None,
) -> list[R | StoreError]:
    """Apply each amendment as one atomic step: its answer, or why it could not be stored.

    Args:
        stream: Where the records are.
        amendments: Several of one id are applied one after another.
        known: Records that need not be read, by the position of their amendment. Only a change is believed on
            their word; a decision to change nothing is taken on what the server has.
        stored: Told of every change that was stored, and of its number in the stream.

    Raises:
        StoreError: the records could not be read.
    """
    known = dict(known or {})
    answers: dict[int, R | StoreError] = {}
    todo = list(range(len(amendments)))
    for _ in range(_ROUNDS):
        # One change of an id at a time: the next one has to see what it did.
        turn = list({amendments[position].id: position for position in reversed(todo)}.values())
        turn.sort()
        written: list[tuple[int, Change, R]] = []
        unread: list[int] = []
        for position in turn:
            record = known.pop(position, None)
            change, answer = amendments[position].decide(record) if record is not None else (None, None)
            if change is None:
                unread.append(position)
            else:
                written.append((position, change, answer))  # type: ignore[arg-type]  # a change has its answer
        records = await stream.read(amendments[position].id for position in unread)
        for position in unread:
            change, answer = amendments[position].decide(records.get(amendments[position].id))
            if change is None:
                answers[position] = answer
            else:
                written.append((position, change, answer))
        results = await stream.write([change for _, change, _ in written])
        for (position, change, answer), result in zip(written, results, strict=True):
            if isinstance(result, StoreError):
                answers[position] = result
            elif not isinstance(result, Conflict):
                answers[position] = answer
                if stored is not None:
                    stored(change, result)
        todo = [position for position in todo if position not in answers]
        if not todo:
            break
    for position in todo:
        answers[position] = StoreUnavailable(f"the record of {amendments[position].id} changes all the time")
    return [answers[position] for position in range(len(amendments))]
