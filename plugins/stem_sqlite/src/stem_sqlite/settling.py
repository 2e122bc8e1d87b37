"""Workers report back: settlements and extensions, each guarded by the receipt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import msgspec

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
    TaskStatus,
    Verdict,
)
from stem_sqlite import outcomes
from stem_sqlite.doorbell import WORK
from stem_sqlite.outcomes import Marker
from stem_sqlite.schema import DEAD, DELAYED, READY
from stem_sqlite.transaction import Bulk, Transaction, numbers, texts

# READY with a token: the lease is over, but nobody else has it yet.
_HELD = """
SELECT json_group_array(json_array(seq, messages.id, run, token))
FROM json_each(?2) wanted CROSS JOIN messages
WHERE seq = wanted.value AND ns = ?1 AND state IN (0, 2) AND token IS NOT NULL
"""
_MOVE_ON = Bulk(
    """
    WITH new (seq, state, at, tried, charged, reason, detail) AS (VALUES @rows)
    UPDATE messages SET state = new.state, at = new.at, attempt = attempt + new.tried,
        crashes = crashes + new.charged, suspect = (crashes + new.charged > 0), token = NULL,
        first_at = CASE WHEN new.tried THEN NULL ELSE first_at END, reason = new.reason, detail = new.detail
    FROM new WHERE messages.seq = new.seq
    """,
    columns=7,
)
_EXTEND = "UPDATE messages SET state = 2, at = ? WHERE seq IN (SELECT value FROM json_each(?))"
_REMEMBER = Bulk("INSERT INTO settled (token, until) VALUES @rows ON CONFLICT (token) DO NOTHING", columns=2)
_REMEMBERED = """
SELECT token FROM json_each(?2) wanted CROSS JOIN settled WHERE token = wanted.value AND until > ?1
"""

_held: Callable[[bytes | str], list[tuple[int, str, int, int]]] = msgspec.json.Decoder(
    list[tuple[int, str, int, int]]
).decode


def _parts(receipt: Receipt) -> tuple[int, int, int] | None:
    """Run, claim and row of a receipt's token; None when it is none of ours."""
    try:
        run, claim, seq = map(int, receipt.token.split("."))
    except ValueError:
        return None
    return (run, claim, seq) if run == receipt.run else None


def _holds(transaction: Transaction, namespace: str, receipts: Sequence[Receipt]) -> list[int | None]:
    """For each receipt the row that it still holds, or None."""
    parts = [_parts(receipt) for receipt in receipts]
    wanted = numbers(part[2] for part in parts if part is not None)
    held = {(run, claim, seq): id for seq, id, run, claim in _held(transaction.row(_HELD, (namespace, wanted))[0])}
    return [
        part[2] if part is not None and held.get(part) == receipt.id else None
        for part, receipt in zip(parts, receipts, strict=True)
    ]


def _settled_before(transaction: Transaction, namespace: str, receipts: Sequence[Receipt], now: float) -> set[str]:
    acked = outcomes.acked(transaction, namespace, [receipt.id for receipt in receipts], now)
    tokens = texts([receipt.token for receipt in receipts])
    return acked | {row[0] for row in transaction.rows(_REMEMBERED, (now, tokens))}


@attrs.define(kw_only=True)
class Settling:
    """One call of ``settle``, with or without statuses."""

    namespace: str
    now: float
    #: Seconds that a settlement is remembered.
    window: float
    _acked: list[int] = attrs.field(factory=list)
    _moved: list[tuple[Any, ...]] = attrs.field(factory=list)
    _remembered: list[tuple[str, float]] = attrs.field(factory=list)
    _markers: list[Marker] = attrs.field(factory=list)
    _recorded: list[tuple[TaskStatus, Marker | None]] = attrs.field(factory=list)

    def settle(
        self,
        transaction: Transaction,
        settlements: Sequence[Settlement],
        statuses: Sequence[TaskStatus | None] | None = None,
    ) -> list[Verdict]:
        """One verdict each, in order; the statuses of those that are done now are recorded."""
        rows = _holds(transaction, self.namespace, [one.receipt for one in settlements])
        verdicts = [LOST] * len(settlements)
        unheld: list[int] = []
        used: set[int] = set()
        for position, (settlement, seq) in enumerate(zip(settlements, rows, strict=True)):
            if seq is None:
                unheld.append(position)
                continue
            verdicts[position] = DONE
            if seq not in used:
                # The same receipt twice in one call is a repetition like any other.
                used.add(seq)
                self._apply(transaction, seq, settlement, statuses[position] if statuses else None)
        if unheld:
            before = _settled_before(transaction, self.namespace, [settlements[n].receipt for n in unheld], self.now)
            for position in unheld:
                if settlements[position].receipt.token in before:
                    verdicts[position] = DONE
        self._write(transaction)
        return verdicts

    def _apply(self, transaction: Transaction, seq: int, settlement: Settlement, status: TaskStatus | None) -> None:
        receipt = settlement.receipt
        marker = None
        if isinstance(settlement.action, Ack):
            until = self.now + self.window
            marker = Marker(id=receipt.id, run=receipt.run, settled=receipt.token, until=until, keep_until=until)
            self._acked.append(seq)
        else:
            self._moved.append((seq, *self._placed(settlement.action)))
            self._remembered.append((receipt.token, self.now + self.window))
            if isinstance(settlement.action, DeadLetter):
                transaction.buried.add((self.namespace, receipt.queue))
            else:
                transaction.news.add(WORK)
        if status is not None and status.id == receipt.id:
            # One row holds both.
            self._recorded.append((status, marker))
            return
        if status is not None:
            self._recorded.append((status, None))
        if marker is not None:
            self._markers.append(marker)

    def _placed(self, action: Action) -> tuple[Any, ...]:
        """``state, at, tried, charged, reason, detail`` after the action."""
        match action:
            case Retry(delay=delay):
                return (DELAYED if delay > 0 else READY, self.now + max(0.0, delay), 1, 0, None, None)
            case Release(delay=delay, charge=charge):
                return (DELAYED if delay > 0 else READY, self.now + max(0.0, delay), 0, int(charge), None, None)
            case DeadLetter(reason=reason, detail=detail):
                return (DEAD, self.now, 0, 0, reason, detail)
        raise TypeError(f"{action!r} is no action of a settlement")

    def _write(self, transaction: Transaction) -> None:
        # What is to be kept first, what goes away last.
        if self._recorded:
            statuses = [status for status, _ in self._recorded]
            outcomes.record(transaction, self.namespace, self.now, statuses, [marker for _, marker in self._recorded])
        if self._markers:
            outcomes.mark(transaction, self.namespace, self._markers)
        if self._remembered:
            _REMEMBER.run(transaction, (), self._remembered)
        if self._moved:
            _MOVE_ON.run(transaction, (), self._moved)
        if self._acked:
            transaction.change(
                "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))", (numbers(self._acked),)
            )


def extend(transaction: Transaction, namespace: str, receipts: Sequence[Receipt], until: float) -> list[Verdict]:
    """Let the leases that are still held end at ``until``; one verdict each, in order."""
    rows = _holds(transaction, namespace, receipts)
    held = [seq for seq in rows if seq is not None]
    if held:
        transaction.change(_EXTEND, (until, numbers(held)))
    return [LOST if seq is None else DONE for seq in rows]
