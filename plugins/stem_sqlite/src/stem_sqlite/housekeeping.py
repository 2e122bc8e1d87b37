"""Clearing away what is over, in small transactions beside the writes of the day."""

from __future__ import annotations

from stem_core.clock import Clock
from stem_sqlite.transaction import Transaction

#: Dead letters are kept this long, in seconds.
DEAD_KEPT = 30 * 86_400.0
#: No queue keeps more dead letters than this.
DEAD_LIMIT = 100_000
#: Rows of one kind removed in one transaction.
PORTION = 1_000
#: Seconds between two looks.
_INTERVAL = 1.0

_OLD = """
SELECT EXISTS (SELECT 1 FROM outcomes WHERE keep_until <= ?1) OR EXISTS (SELECT 1 FROM settled WHERE until <= ?1)
    OR EXISTS (SELECT 1 FROM state WHERE expires_at <= ?1) OR EXISTS (SELECT 1 FROM broadcasts WHERE expires_at <= ?1)
    OR EXISTS (SELECT 1 FROM messages WHERE state = 3 AND at <= ?2)
"""

# The second parameter is the portion.
_REMOVALS = (
    """DELETE FROM outcomes WHERE seq IN
        (SELECT seq FROM outcomes WHERE keep_until <= ? ORDER BY keep_until LIMIT ?)""",
    "DELETE FROM settled WHERE token IN (SELECT token FROM settled WHERE until <= ? ORDER BY until LIMIT ?)",
    """DELETE FROM state WHERE (ns, collection, key) IN
        (SELECT ns, collection, key FROM state WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)""",
    """DELETE FROM broadcasts WHERE seq IN
        (SELECT seq FROM broadcasts WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)""",
)

_AGED = """
DELETE FROM messages WHERE seq IN (SELECT seq FROM messages WHERE state = 3 AND at <= ? ORDER BY at LIMIT ?)
"""

_SURPLUS = """
DELETE FROM messages WHERE seq IN (
    SELECT seq FROM messages WHERE state = 3 AND ns = ?1 AND queue = ?2 ORDER BY at, seq
    LIMIT (SELECT max(0, min(?4, count(*) - ?3)) FROM messages WHERE state = 3 AND ns = ?1 AND queue = ?2))
"""


class Housekeeper:
    """Knows when to look, and what to remove. Belongs to the thread of the connection."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = clock.monotonic()
        #: ``(namespace, queue)`` that got dead letters since the last look.
        self.buried: set[tuple[str, str]] = set()
        #: Whether the last transaction left something to do.
        self.behind = False

    def wanted(self, *, wrote: bool) -> bool:
        """Whether to look now: with the writes, once a second, and again soon while there is much to do."""
        if self.behind:
            return True
        return wrote and self._clock.monotonic() >= self._next

    def finds_work(self, transaction: Transaction) -> bool:
        """Whether anything is over. Only reads."""
        self._next = self._clock.monotonic() + _INTERVAL
        now = self._clock.now()
        found = bool(self.buried) or bool(transaction.row(_OLD, (now, now - DEAD_KEPT))[0])
        self.behind = self.behind and found
        return found

    def work(self, transaction: Transaction) -> None:
        """Remove a portion of everything that is over."""
        now = self._clock.now()
        removed = [transaction.change(sql, (now, PORTION)) for sql in _REMOVALS]
        removed.append(transaction.change(_AGED, (now - DEAD_KEPT, PORTION)))
        crowded = set()
        for namespace, queue in self.buried:
            surplus = transaction.change(_SURPLUS, (namespace, queue, DEAD_LIMIT, PORTION))
            removed.append(surplus)
            if surplus == PORTION:
                crowded.add((namespace, queue))
        self.buried = crowded
        self.behind = any(count >= PORTION for count in removed)
