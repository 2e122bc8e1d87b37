"""Messages come in."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.model import Message
from stem_sqlite.doorbell import WORK
from stem_sqlite.housekeeping import DEAD_KEPT
from stem_sqlite.schema import DELAYED, READY
from stem_sqlite.transaction import Bulk, Transaction, texts

# An id is passed over while it is in the queues, dead, or marked as finished. The run goes on from what is known of it.
_MESSAGES = Bulk(
    """
    WITH const (ns, now) AS (SELECT ?1, ?2), new (seq, id, queue, priority, state, at) AS (VALUES @rows)
    INSERT INTO messages (seq, ns, id, queue, priority, state, at, run)
    SELECT new.seq, const.ns, new.id, new.queue, new.priority, new.state, new.at,
        ifnull(max(known.last_run, known.run), 0)
    FROM new CROSS JOIN const LEFT JOIN outcomes known ON known.ns = const.ns AND known.id = new.id
    WHERE ifnull(known.marker_until, 0) <= const.now
    ON CONFLICT (ns, id) DO NOTHING
    """,
    columns=6,
)
_BODIES = Bulk(
    """
    WITH new (seq, header, payload, signature) AS (VALUES @rows)
    INSERT INTO bodies (seq, header, payload, signature)
    SELECT seq, header, payload, signature FROM new WHERE EXISTS (SELECT 1 FROM messages WHERE messages.seq = new.seq)
    """,
    columns=4,
)

# Those that housekeeping has not come to yet must not stand in the way.
_OVERDUE = "SELECT EXISTS (SELECT 1 FROM messages WHERE state = 3 AND at <= ?)"
_CLEAR = """
DELETE FROM messages WHERE ns = ? AND id IN (SELECT value FROM json_each(?)) AND state = 3 AND at <= ?
"""


def publish(transaction: Transaction, namespace: str, now: float, messages: Sequence[Message]) -> None:
    """Store the messages whose ids are new."""
    if transaction.row(_OVERDUE, (now - DEAD_KEPT,))[0]:
        transaction.change(_CLEAR, (namespace, texts([message.id for message in messages]), now - DEAD_KEPT))
    first = transaction.row("SELECT ifnull(max(seq), 0) + 1 FROM messages")[0]
    rows = [
        (
            seq,
            message.id,
            message.queue,
            message.priority,
            DELAYED if message.delay > 0 else READY,
            now + max(0.0, message.delay),
        )
        for seq, message in enumerate(messages, first)
    ]
    stored = _MESSAGES.run(transaction, (namespace, now), rows)
    if stored:
        _BODIES.run(
            transaction,
            (),
            [(seq, message.header, message.payload, message.signature) for seq, message in enumerate(messages, first)],
        )
        transaction.news.add(WORK)
