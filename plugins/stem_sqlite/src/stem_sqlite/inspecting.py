"""Looking at queues, and moving or removing what lies in them. A lease that is over counts as ready everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from stem_core.errors import StoreRefused
from stem_core.model import DeadMessage, Message, QueueDepth, StoredMessage
from stem_sqlite.doorbell import WORK
from stem_sqlite.housekeeping import DEAD_KEPT
from stem_sqlite.schema import DEAD, DELAYED, LEASED, READY
from stem_sqlite.transaction import Row, Transaction, numbers, texts

#: Rows that one transaction moves or removes; the caller goes on until it does less.
PORTION = 2_000

_PRIORITIES = "(VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))"
_DEPTH = f"""
SELECT
    (SELECT count(*) FROM messages WHERE state = 0 AND ns = ?1 AND queue = ?2),
    (SELECT count(*) FROM messages WHERE state = 1 AND ns = ?1 AND queue = ?2 AND at <= ?3),
    (SELECT count(*) FROM messages WHERE state = 2 AND ns = ?1 AND queue = ?2 AND at <= ?3),
    (SELECT count(*) FROM messages WHERE state = 1 AND ns = ?1 AND queue = ?2 AND at > ?3),
    (SELECT count(*) FROM messages WHERE state = 2 AND ns = ?1 AND queue = ?2 AND at > ?3),
    (SELECT count(*) FROM messages WHERE state = 3 AND ns = ?1 AND queue = ?2 AND at > ?4),
    (SELECT min(oldest) FROM (
        SELECT (SELECT min(at) FROM messages
            WHERE state = 0 AND ns = ?1 AND queue = ?2 AND suspect = suspects.column1 AND priority = levels.column1)
            AS oldest
        FROM (VALUES (0), (1)) suspects CROSS JOIN {_PRIORITIES} levels
        UNION ALL SELECT (SELECT min(at) FROM messages WHERE state = 1 AND ns = ?1 AND queue = ?2 AND at <= ?3)
        UNION ALL SELECT (SELECT min(at) FROM messages WHERE state = 2 AND ns = ?1 AND queue = ?2 AND at <= ?3)))
"""  # noqa: S608 - made of constants

# The next name is found by a seek in the index, so the number of messages does not matter.
_QUEUES = " UNION ".join(
    f"""
    SELECT name FROM (
        WITH RECURSIVE found (name) AS (
            SELECT min(queue) FROM messages WHERE state = {state} AND ns = ?1
            UNION ALL
            SELECT (SELECT min(queue) FROM messages WHERE state = {state} AND ns = ?1 AND queue > found.name)
            FROM found WHERE found.name IS NOT NULL)
        SELECT name FROM found WHERE name IS NOT NULL)
    """  # noqa: S608 - made of constants
    for state in (READY, DELAYED, LEASED, DEAD)
)

_COLUMNS = """id, ifnull(sealed_queue, queue), priority, header, payload, signature, state, attempt, crashes,
    run, at, reason, detail, queue"""
# Clean messages and suspects stand in two ranges of the index; the page is merged from the head of both.
_READY_HEAD = """
SELECT * FROM (SELECT * FROM messages WHERE state = 0 AND ns = ?1 AND queue = ?2 AND suspect = {suspect}
    AND (?4 IS NULL OR (-priority, at, seq) > (SELECT -priority, at, seq FROM messages
        WHERE ns = ?1 AND id = ?4 AND state = 0 AND queue = ?2))
    ORDER BY priority DESC, at, seq LIMIT ?3)
"""
_READY_PAGE = f"""
SELECT {_COLUMNS} FROM (
    {_READY_HEAD.format(suspect=0)} UNION ALL {_READY_HEAD.format(suspect=1)}
    ORDER BY priority DESC, at, seq LIMIT ?3) page
CROSS JOIN bodies ON bodies.seq = page.seq ORDER BY priority DESC, at, page.seq
"""  # noqa: S608 - made of constants
_PAGE = """
SELECT {columns} FROM messages CROSS JOIN bodies ON bodies.seq = messages.seq
WHERE state = {state} AND ns = ?1 AND queue = ?2 AND at > ?5 AND (?4 IS NULL OR (at, messages.seq) > (
    SELECT at, seq FROM messages WHERE ns = ?1 AND id = ?4 AND state = {state} AND queue = ?2))
ORDER BY at, messages.seq LIMIT ?3
"""
_DELAYED_PAGE = _PAGE.format(columns=_COLUMNS, state=DELAYED)
_LEASED_PAGE = _PAGE.format(columns=_COLUMNS, state=LEASED)
_DEAD_PAGE = _PAGE.format(columns=_COLUMNS, state=DEAD)
_FIND = f"""
SELECT {_COLUMNS} FROM (SELECT value FROM json_each(?2)) wanted
CROSS JOIN messages CROSS JOIN bodies ON bodies.seq = messages.seq
WHERE ns = ?1 AND id = wanted.value
"""  # noqa: S608 - made of constants

_WAITING = """
SELECT json_group_array(seq) FROM (
    SELECT * FROM (SELECT seq FROM messages WHERE state = 0 AND ns = ?1 AND queue = ?2 LIMIT ?4)
    UNION ALL
    SELECT * FROM (SELECT seq FROM messages WHERE state = 1 AND ns = ?1 AND queue = ?2 LIMIT ?4)
    UNION ALL
    SELECT * FROM (SELECT seq FROM messages WHERE state = 2 AND ns = ?1 AND queue = ?2 AND at <= ?3 LIMIT ?4)
    LIMIT ?4)
"""
_KEEP_RUNS = """
INSERT INTO outcomes (ns, id, last_run, marker_until, keep_until)
SELECT ns, id, run, ?2, ?3 FROM messages WHERE seq IN (SELECT value FROM json_each(?1)) AND (run > 0 OR ?2 > 0)
ON CONFLICT (ns, id) DO UPDATE SET last_run = max(last_run, excluded.last_run),
    marker_until = max(marker_until, excluded.marker_until), keep_until = max(keep_until, excluded.keep_until)
"""
_DELETE = "DELETE FROM messages WHERE seq IN (SELECT value FROM json_each(?))"
_MOVE = """
UPDATE messages SET queue = ?2, sealed_queue = ifnull(sealed_queue, queue)
WHERE seq IN (SELECT value FROM json_each(?1))
"""
_REPLAY = """
UPDATE messages SET state = 0, at = ?2, suspect = 0, attempt = 1, crashes = 0, first_at = NULL, reason = NULL,
    detail = NULL
WHERE seq IN (SELECT value FROM json_each(?1))
"""
_UNMARK = """
UPDATE outcomes SET marker_until = 0, settled = NULL WHERE ns = ?1 AND id IN (SELECT value FROM json_each(?2))
"""


def depth(transaction: Transaction, namespace: str, queue: str, now: float) -> QueueDepth:
    """How much the queue holds. Counts, but only in indexes."""
    ready, due, lapsed, delayed, leased, dead, oldest = transaction.row(
        _DEPTH, (namespace, queue, now, now - DEAD_KEPT)
    )
    return QueueDepth(
        ready=ready + due + lapsed,
        delayed=delayed,
        leased=leased,
        dead=dead,
        oldest_ready_age=None if oldest is None else max(0.0, now - oldest),
    )


def queues(transaction: Transaction, namespace: str) -> list[str]:
    """The names of the queues that hold a message, sorted."""
    return sorted(row[0] for row in transaction.rows(_QUEUES, (namespace,)))


def peek(
    transaction: Transaction, namespace: str, queue: str, state: str, *, limit: int, after: str | None
) -> list[StoredMessage]:
    """One page of a queue, which has to be promoted before.

    Raises:
        StoreRefused: another state than ready, delayed or leased.
    """
    if state == "ready":
        rows = transaction.rows(_READY_PAGE, (namespace, queue, limit, after))
    elif state in {"delayed", "leased"}:
        page = _DELAYED_PAGE if state == "delayed" else _LEASED_PAGE
        rows = transaction.rows(page, (namespace, queue, limit, after, 0.0))
    else:
        raise StoreRefused(f"{state!r} is no state to peek at", hint="use ready, delayed or leased")
    return [_stored(row, state) for row in rows]


def find(transaction: Transaction, namespace: str, ids: Sequence[str], now: float) -> dict[str, StoredMessage]:
    """The messages with these ids."""
    found: dict[str, StoredMessage] = {}
    for row in transaction.rows(_FIND, (namespace, texts(ids))):
        state, at = row[6], row[10]
        if state == DEAD and at <= now - DEAD_KEPT:
            continue
        words = {READY: "ready", DELAYED: "delayed", LEASED: "leased", DEAD: "dead"}
        word = "ready" if state in {DELAYED, LEASED} and at <= now else words[state]
        found[row[0]] = _stored(row, word)
    return found


def _message(row: Row) -> Message:
    return Message(id=row[0], queue=row[1], priority=row[2], header=row[3], payload=row[4], signature=row[5])


def _stored(row: Row, state: str) -> StoredMessage:
    return StoredMessage(message=_message(row), state=state, attempt=row[7], crashes=row[8], run=row[9], at=row[10])


def dead_letters(
    transaction: Transaction, namespace: str, queue: str, now: float, *, limit: int, after: str | None
) -> list[DeadMessage]:
    """One page of the dead letters, oldest first."""
    rows = transaction.rows(_DEAD_PAGE, (namespace, queue, limit, after, now - DEAD_KEPT))
    return [_dead(row) for row in rows]


def dead_letter(transaction: Transaction, namespace: str, id: str, now: float) -> DeadMessage | None:
    """One dead letter."""
    rows = transaction.rows(_FIND, (namespace, texts([id])))
    return _dead(rows[0]) if rows and rows[0][6] == DEAD and rows[0][10] > now - DEAD_KEPT else None


def _dead(row: Row) -> DeadMessage:
    return DeadMessage(
        message=_message(row),
        reason=row[11] or "",
        detail=row[12] or "",
        attempt=row[7],
        crashes=row[8],
        run=row[9],
        died_at=row[10],
        queue=row[13],
    )


def _delete(transaction: Transaction, seqs: str, *, marker_until: float, keep_until: float) -> int:
    """Remove the rows; their runs are remembered until ``keep_until``."""
    transaction.change(_KEEP_RUNS, (seqs, marker_until, keep_until))
    return transaction.change(_DELETE, (seqs,))


def purge(transaction: Transaction, namespace: str, queue: str, now: float, window: float) -> int:
    """Remove a portion of what is ready or delayed; how many."""
    seqs = transaction.row(_WAITING, (namespace, queue, now, PORTION))[0]
    return _delete(transaction, seqs, marker_until=0.0, keep_until=now + window)


def move(transaction: Transaction, namespace: str, queue: str, other: str, now: float) -> int:
    """Put a portion of what is ready or delayed into another queue; how many."""
    seqs = transaction.row(_WAITING, (namespace, queue, now, PORTION))[0]
    moved = transaction.change(_MOVE, (seqs, other))
    if moved:
        transaction.news.add(WORK)
    return moved


def remove(transaction: Transaction, namespace: str, ids: Sequence[str], now: float, window: float) -> list[str]:
    """Remove what is ready or delayed, and mark the ids; those removed."""
    rows = transaction.rows(
        """SELECT id, seq FROM messages WHERE ns = ?1 AND id IN (SELECT value FROM json_each(?2))
        AND (state IN (0, 1) OR state = 2 AND at <= ?3)""",
        (namespace, texts(ids), now),
    )
    removed: dict[str, int] = dict(rows)
    _delete(transaction, numbers(removed.values()), marker_until=now + window, keep_until=now + window)
    return [id for id in dict.fromkeys(ids) if id in removed]


def replay(transaction: Transaction, namespace: str, ids: Sequence[str], now: float) -> list[str]:
    """Put dead letters back into their queues; which."""
    rows = transaction.rows(
        """SELECT id, seq FROM messages WHERE ns = ?1 AND id IN (SELECT value FROM json_each(?2))
        AND state = 3 AND at > ?3""",
        (namespace, texts(ids), now - DEAD_KEPT),
    )
    dead: dict[str, int] = dict(rows)
    replayed = [id for id in dict.fromkeys(ids) if id in dead]
    if replayed:
        transaction.change(_REPLAY, (numbers(dead.values()), now))
        transaction.change(_UNMARK, (namespace, texts(replayed)))
        transaction.news.add(WORK)
    return replayed


def purge_dead(
    transaction: Transaction, namespace: str, queue: str, ids: Sequence[str] | None, *, now: float, window: float
) -> int:
    """Remove a portion of the dead letters of the queue, or those named; how many."""
    seqs = transaction.row(
        """SELECT json_group_array(seq) FROM (SELECT seq FROM messages WHERE state = 3 AND ns = ?1 AND queue = ?2
        AND at > ?5 AND (?3 IS NULL OR id IN (SELECT value FROM json_each(?3))) ORDER BY at, seq LIMIT ?4)""",
        (namespace, queue, None if ids is None else texts(ids), PORTION, now - DEAD_KEPT),
    )[0]
    return _delete(transaction, seqs, marker_until=0.0, keep_until=now + window)


def due(transaction: Transaction, namespace: str, queue: str, now: float) -> bool:
    """Whether :func:`stem_sqlite.claiming.promote` would change anything."""
    found: int = transaction.row(
        """SELECT EXISTS (SELECT 1 FROM messages WHERE state = 1 AND ns = ?1 AND queue = ?2 AND at <= ?3)
            OR EXISTS (SELECT 1 FROM messages WHERE state = 2 AND ns = ?1 AND queue = ?2 AND at <= ?3)""",
        (namespace, queue, now),
    )[0]
    return bool(found)
