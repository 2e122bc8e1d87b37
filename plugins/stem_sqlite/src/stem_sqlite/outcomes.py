"""What is kept of an id: its status, the marker against repeats, and its last run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from stem_core.model import TaskStatus
from stem_core.wire.records import encode_status
from stem_sqlite.doorbell import RESULT
from stem_sqlite.transaction import Bulk, Transaction, texts

# The WHERE of the upsert is stem_core.model.supersedes, in SQL; a status whose time is over counts as none.
_RECORD = Bulk(
    """
    WITH const (ns, now) AS (SELECT ?1, ?2),
        new (id, run, state, terminal, task, expires_at, body, settled, marker_until, last_run, keep_until)
        AS (VALUES @rows)
    INSERT INTO outcomes (
        ns, id, run, state, terminal, task, expires_at, body, settled, marker_until, last_run, keep_until)
    SELECT const.ns, new.* FROM new CROSS JOIN const WHERE true
    ON CONFLICT (ns, id) DO UPDATE SET
        run = excluded.run, state = excluded.state, terminal = excluded.terminal, task = excluded.task,
        expires_at = excluded.expires_at, body = excluded.body, settled = ifnull(excluded.settled, settled),
        marker_until = max(marker_until, excluded.marker_until), last_run = max(last_run, excluded.last_run),
        keep_until = max(keep_until, excluded.keep_until)
    WHERE outcomes.body IS NULL OR outcomes.expires_at <= ?2
        OR excluded.run > outcomes.run OR (excluded.run = outcomes.run AND NOT outcomes.terminal)
    """,
    columns=11,
)
_MARK = Bulk(
    """
    WITH const (ns) AS (SELECT ?1), new (id, settled, marker_until, last_run, keep_until) AS (VALUES @rows)
    INSERT INTO outcomes (ns, id, settled, marker_until, last_run, keep_until)
    SELECT const.ns, new.* FROM new CROSS JOIN const WHERE true
    ON CONFLICT (ns, id) DO UPDATE SET
        settled = ifnull(excluded.settled, settled), marker_until = max(marker_until, excluded.marker_until),
        last_run = max(last_run, excluded.last_run), keep_until = max(keep_until, excluded.keep_until)
    """,
    columns=5,
)


@attrs.define(kw_only=True)
class Marker:
    """What the broker keeps of an id that left the queues."""

    id: str
    #: The last run that was granted; a later publication of the id goes on from it.
    run: int
    #: The receipt that acked it.
    settled: str | None = None
    #: Until when a publication of the id changes nothing.
    until: float = 0.0
    #: Until when the run is remembered.
    keep_until: float


def mark(transaction: Transaction, namespace: str, markers: Sequence[Marker]) -> None:
    """Keep the markers."""
    rows = [(one.id, one.settled, one.until, one.run, one.keep_until) for one in markers]
    _MARK.run(transaction, (namespace,), rows)


def record(
    transaction: Transaction,
    namespace: str,
    now: float,
    statuses: Sequence[TaskStatus],
    markers: Sequence[Marker | None],
) -> None:
    """Store each status that supersedes what is stored, and the marker beside it."""
    rows: list[tuple[Any, ...]] = []
    terminal = False
    for status, marker in zip(statuses, markers, strict=True):
        final = status.state.terminal
        terminal = terminal or final
        expires_at = now + status.ttl
        rows.append(
            (
                status.id,
                status.run,
                status.state.value,
                final,
                status.task,
                expires_at,
                encode_status(status),
                None if marker is None else marker.settled,
                0.0 if marker is None else marker.until,
                0 if marker is None else marker.run,
                expires_at if marker is None else max(expires_at, marker.keep_until),
            )
        )
    stored = _RECORD.run(transaction, (namespace, now), rows)
    if stored < len(rows):
        # A status that was refused took its marker along.
        mark(transaction, namespace, [marker for marker in markers if marker is not None])
    if terminal and stored:
        transaction.news.add(RESULT)


def acked(transaction: Transaction, namespace: str, ids: Sequence[str], now: float) -> set[str]:
    """The receipts' tokens that acked any of these ids and are still remembered."""
    rows = transaction.rows(
        """SELECT settled FROM json_each(?3) wanted CROSS JOIN outcomes
        WHERE ns = ?1 AND outcomes.id = wanted.value AND marker_until > ?2 AND settled IS NOT NULL""",
        (namespace, now, texts(ids)),
    )
    return {row[0] for row in rows}
