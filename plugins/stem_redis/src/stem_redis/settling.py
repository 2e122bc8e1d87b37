"""Workers report back: settlements and extensions, one script call a queue and 500 items."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from stem_core.model import (
    DONE,
    LOST,
    Ack,
    Action,
    DeadLetter,
    Receipt,
    Release,
    Retry,
    Settlement,
    TaskState,
    TaskStatus,
    Verdict,
)
from stem_core.wire.records import encode_status
from stem_redis.bodies import milliseconds, why
from stem_redis.connection import Argument
from stem_redis.keys import Keys
from stem_redis.store import Store, together

#: The most items of one script call.
PORTION = 500
#: Dead letters are kept this long, in milliseconds, and no queue keeps more of them.
DEAD_KEPT, DEAD_LIMIT = 30 * 86_400_000, 100_000


class Settler:
    """Settles and extends for one session."""

    def __init__(self, store: Store, keys: Keys, window: float) -> None:
        self._store = store
        self._keys = keys
        self._window = math.ceil(window * 1000)

    async def settle(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None] | None
    ) -> list[Verdict]:
        """One verdict each, in order."""
        verdicts: list[Verdict] = [LOST] * len(settlements)
        queues: dict[str, list[int]] = {}
        for position, settlement in enumerate(settlements):
            if error := _unfit(settlement.action):
                verdicts[position] = Verdict(kind="refused", error=error)
            else:
                queues.setdefault(settlement.receipt.queue, []).append(position)
        await together(
            [
                self._settle_some(queue, positions[start : start + PORTION], settlements, statuses, verdicts)
                for queue, positions in queues.items()
                for start in range(0, len(positions), PORTION)
            ]
        )
        return verdicts

    async def _settle_some(
        self,
        queue: str,
        positions: Sequence[int],
        settlements: Sequence[Settlement],
        statuses: Sequence[TaskStatus | None] | None,
        verdicts: list[Verdict],
    ) -> None:
        arguments: list[Argument] = [queue, self._window, DEAD_KEPT, DEAD_LIMIT]
        ids: list[str] = []
        for position in positions:
            settlement = settlements[position]
            receipt, action = settlement.receipt, settlement.action
            ids.append(receipt.id)
            status = statuses[position] if statuses is not None else None
            if status is not None and status.id != receipt.id:
                raise ValueError(f"a status of {status.id} beside the settlement of {receipt.id}")
            if isinstance(action, Ack):
                order = _ack() if status is None else _ack(status.run, status.state, status.ttl)
            else:
                order = f"{_verb(action)}|{'||' if status is None else head(status)}|"
                if isinstance(action, DeadLetter):
                    order += why(action.reason, action.detail)
            arguments += (receipt.id, f"{receipt.token}|", order, encode_status(status) if status is not None else "")
        keys = (*self._keys.head(queue), self._keys.waiters, *self._keys.outcomes(ids))
        answers: list[int] = await self._store.run("settle", keys, arguments, urgent=True)
        for position, answer in zip(positions, answers, strict=True):
            if answer:
                verdicts[position] = DONE

    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        """One verdict each, in order."""
        verdicts: list[Verdict] = [LOST] * len(receipts)
        queues: dict[str, list[int]] = {}
        for position, receipt in enumerate(receipts):
            queues.setdefault(receipt.queue, []).append(position)

        async def some(queue: str, positions: Sequence[int]) -> None:
            arguments: list[Argument] = [queue, math.ceil(lease * 1000)]
            for position in positions:
                arguments += (receipts[position].id, receipts[position].token)
            answers: list[Any] = await self._store.run("extend", self._keys.head(queue), arguments)
            for position, answer in zip(positions, answers, strict=True):
                if answer:
                    verdicts[position] = DONE

        await together(
            [
                some(queue, positions[start : start + PORTION])
                for queue, positions in queues.items()
                for start in range(0, len(positions), PORTION)
            ]
        )
        return verdicts


def _unfit(action: Action) -> str:
    if isinstance(action, Retry | Release) and not action.delay < math.inf:
        return f"a delay of {action.delay} seconds"
    return ""


@functools.lru_cache(maxsize=256)
def _ack(run: int | None = None, state: TaskState = TaskState.SUCCEEDED, ttl: float = 0.0) -> str:
    return "A|||||" if run is None else f"A||{_head(run, state, ttl)}|"


def _verb(action: Action) -> str:
    match action:
        case Retry(delay=delay):
            return f"T|{milliseconds(delay)}"
        case Release(delay=delay, charge=charge):
            return f"R|{milliseconds(delay)},{int(charge)}"
        case DeadLetter():
            return "X|"
    raise TypeError(f"{action!r} is no action of a settlement")


def head(status: TaskStatus) -> str:
    """What the scripts need to know of a status: run, kind and milliseconds to keep, with bars between them."""
    return _head(status.run, status.state, status.ttl)


def _head(run: int, state: TaskState, ttl: float) -> str:
    kind = "t" if state.terminal else "r" if state is TaskState.RUNNING else "o"
    return f"{run}|{kind}|{math.ceil(ttl * 1000)}"
