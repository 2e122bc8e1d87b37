"""Messages go out: promotion of what is due, claims, and when to look again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from stem_core.model import Delivery, Message, Receipt, Subscription, constructor
from stem_sqlite.transaction import Transaction, numbers, texts

_delivery, _message, _receipt = constructor(Delivery), constructor(Message), constructor(Receipt)

#: The most messages that one claim makes ready, so that its transaction stays short.
_PROMOTED = 2_000

_DUE = """
SELECT ifnull((SELECT min(at) FROM messages WHERE state = 1 AND ns = ?1 AND queue = ?2) <= ?3, 0),
    ifnull((SELECT min(at) FROM messages WHERE state = 2 AND ns = ?1 AND queue = ?2) <= ?3, 0)
"""
_PROMOTE_DELAYED = """
UPDATE messages SET state = 0, suspect = (crashes > 0) WHERE seq IN (
    SELECT seq FROM messages WHERE state = 1 AND ns = ? AND queue = ? AND at <= ? ORDER BY at LIMIT ?)
"""
# The token stays: until the next claim the old receipt is good. That claim counts the crash.
_PROMOTE_LAPSED = """
UPDATE messages SET state = 0, suspect = 1 WHERE seq IN (
    SELECT seq FROM messages WHERE state = 2 AND ns = ? AND queue = ? AND at <= ? ORDER BY at LIMIT ?)
"""

# One step, one row: why, says stem_sqlite.transaction.
_PICK = """
SELECT json_group_array(json_array(
    seq, id, queue, sealed_queue, priority, attempt, crashes + (token IS NOT NULL), run + 1, first_at,
    length(header), length(payload), length(signature)))
FROM (
    SELECT picked.*, header, payload, signature
    FROM (
        SELECT * FROM (SELECT * FROM messages WHERE state = 0 AND ns = ?1 AND queue = ?2 AND suspect = 0
            ORDER BY priority DESC, at, seq LIMIT ?3)
        UNION ALL
        SELECT * FROM (SELECT * FROM messages WHERE state = 0 AND ns = ?1 AND queue = ?2 AND suspect = 1
            ORDER BY priority DESC, at, seq LIMIT min(?3, ?4))
        ORDER BY priority DESC, at, seq LIMIT ?3) picked
    JOIN bodies ON bodies.seq = picked.seq
    ORDER BY priority DESC, at, picked.seq)
"""
_GRANT = """
UPDATE messages SET state = 2, at = ?, run = run + 1, crashes = crashes + (token IS NOT NULL), token = ?,
    first_at = ifnull(first_at, ?)
WHERE seq IN (SELECT value FROM json_each(?))
"""
# Suspects are given as "seq.run", since a run is granted once: the same message, given back by another, is a new one.
_SUSPECTS = """
SELECT json_group_object(wanted.value, json((
    SELECT json_group_array(name) FROM (
        SELECT seq || '.' || run AS name FROM messages
        WHERE state = 0 AND ns = ?1 AND queue = wanted.value AND suspect = 1 LIMIT 1000))))
FROM json_each(?2) wanted
"""
_SOON = """
SELECT min(soon) FROM (
    SELECT (SELECT min(at) FROM messages WHERE state = 1 AND ns = ?1 AND queue = wanted.value) AS soon
    FROM json_each(?2) wanted
    UNION ALL
    SELECT (SELECT min(at) FROM messages WHERE state = 2 AND ns = ?1 AND queue = wanted.value) FROM json_each(?2) wanted
    UNION ALL
    SELECT 0 FROM json_each(?2) wanted
    WHERE EXISTS (SELECT 1 FROM messages WHERE state = 0 AND ns = ?1 AND queue = wanted.value AND suspect = 0)
    UNION ALL
    SELECT 0 FROM json_each(?2) wanted
    WHERE EXISTS (SELECT 1 FROM messages WHERE state = 0 AND ns = ?1 AND queue = wanted.value AND suspect = 1
        AND (queue, seq || '.' || run) NOT IN (
            SELECT line.key, name.value FROM json_each(?3) line CROSS JOIN json_each(line.value) name)))
"""

_Picked = tuple[int, str, str, str | None, int, int, int, int, float | None, int, int, int | None]
_picked: Callable[[bytes | str], list[_Picked]] = msgspec.json.Decoder(list[_Picked], strict=False).decode
_suspects: Callable[[bytes | str], dict[str, list[str]]] = msgspec.json.Decoder(dict[str, list[str]]).decode


def next_ready(
    transaction: Transaction, namespace: str, queues: Sequence[str], passed: Mapping[str, Sequence[str]]
) -> float | None:
    """When something in the queues can be received: a time by the store's clock, 0 for now, None for unknown.

    ``passed``: suspects that do not count, as :func:`suspects_in` returned them.
    """
    soon: float | None = transaction.row(_SOON, (namespace, texts(queues), msgspec.json.encode(passed).decode()))[0]
    return soon


def suspects_in(transaction: Transaction, namespace: str, queues: Sequence[str]) -> dict[str, list[str]]:
    """Names of the suspects that are ready, by queue; at most 1,000 of each."""
    return _suspects(transaction.row(_SUSPECTS, (namespace, texts(queues)))[0])


def promote(transaction: Transaction, namespace: str, queue: str, now: float) -> None:
    """Make ready what is due: delays that are over, leases that have ended."""
    delayed, lapsed = transaction.row(_DUE, (namespace, queue, now))
    if delayed:
        transaction.change(_PROMOTE_DELAYED, (namespace, queue, now, _PROMOTED))
    if lapsed:
        transaction.change(_PROMOTE_LAPSED, (namespace, queue, now, _PROMOTED))


def claim(
    transaction: Transaction,
    namespace: str,
    subscription: Subscription,
    *,
    limit: int,
    suspects: int,
    lease: float,
    now: float,
) -> list[Delivery]:
    """Grant up to ``limit`` ready messages, at most ``suspects`` of them with crashes."""
    picked: list[_Picked] = []
    empty: set[str] = set()
    token = 0
    for queue in subscription.queues:
        promote(transaction, namespace, queue, now)
    for queue, most in subscription.plan(limit):
        wanted = min(most, limit - len(picked))
        if wanted <= 0:
            break
        if queue in empty:
            continue
        found = _picked(transaction.row(_PICK, (namespace, queue, wanted, max(0, suspects)))[0])
        if len(found) < wanted:
            empty.add(queue)
        if not found:
            continue
        token = token or transaction.count("claim")
        transaction.change(_GRANT, (now + lease, token, now, numbers(one[0] for one in found)))
        suspects -= sum(1 for one in found if one[6])
        picked += found
    return _deliveries(transaction, picked, token, now)


def _deliveries(transaction: Transaction, picked: list[_Picked], token: int, now: float) -> list[Delivery]:
    bodies = transaction.bodies([(one[0], one[9], one[10], one[11]) for one in picked])
    deliveries: list[Delivery] = []
    for one, (header, payload, signature) in zip(picked, bodies, strict=True):
        seq, id, queue, sealed_queue, priority, attempt, crashes, run, first_at, *_ = one
        deliveries.append(
            _delivery(
                message=_message(
                    id=id,
                    queue=sealed_queue or queue,
                    priority=priority,
                    header=header,
                    payload=payload,
                    signature=signature,
                ),
                receipt=_receipt(id=id, queue=queue, run=run, token=f"{run}.{token}.{seq}"),
                attempt=attempt,
                crashes=crashes,
                first_delivered_at=now if first_at is None else first_at,
                now=now,
            )
        )
    return deliveries
