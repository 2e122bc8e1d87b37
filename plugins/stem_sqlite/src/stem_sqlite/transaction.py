"""What runs inside a transaction, and how many rows go in and out of it in few steps.

Each step of a statement lets go of Python's lock and takes it again. Where a task computes in another thread, that
costs 5 ms a time: 200 rows fetched one by one take 140 ms, packed into one row 10 ms, and all that time the whole
machine waits for the write lock. So nothing here takes a step a row while it writes.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

#: The most rows of one statement; more are cut into powers of two, so that few texts stay prepared.
_WIDEST = 256
#: Bodies are fetched in portions of about this many bytes.
_PORTION = 16 * 2**20

Row = tuple[Any, ...]


class Transaction:
    """One connection at work, and what others have to be told once the work is committed."""

    __slots__ = ("buried", "connection", "news")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        #: Kinds of news, see :mod:`stem_sqlite.doorbell`.
        self.news: set[str] = set()
        #: ``(namespace, queue)`` of new dead letters, whose number has to be watched.
        self.buried: set[tuple[str, str]] = set()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        return self.connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Row:
        """The one row of a query that always has one."""
        found: Row = self.connection.execute(sql, parameters).fetchall()[0]
        return found

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement; the number of rows changed."""
        return self.connection.execute(sql, parameters).rowcount

    def count(self, name: str) -> int:
        """The next value of a counter of the database; no value is ever given twice."""
        return int(self.row("UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value", (name,))[0])

    def bodies(self, sizes: Sequence[tuple[int, int, int, int | None]]) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Header, payload and signature of each ``(seq, header size, payload size, signature size)``."""
        for portion in _portions(sizes):
            blob: bytes = self.row(_BODIES, (numbers(size[0] for size in portion),))[0]
            start = 0
            for _, header, payload, signature in portion:
                middle = start + header
                end = middle + payload
                stop = end + (signature or 0)
                yield blob[start:middle], blob[middle:end], None if signature is None else blob[end:stop]
                start = stop


# A blob cast to text keeps its bytes, whatever they are, and back.
_BODIES = """
SELECT CAST(ifnull(group_concat(body, ''), '') AS BLOB) FROM (
    SELECT CAST(header AS TEXT) || CAST(payload AS TEXT) || ifnull(CAST(signature AS TEXT), '') AS body
    FROM json_each(?) wanted CROSS JOIN bodies ON bodies.seq = wanted.value ORDER BY wanted.key)
"""


def _portions(
    sizes: Sequence[tuple[int, int, int, int | None]],
) -> Iterator[Sequence[tuple[int, int, int, int | None]]]:
    start = total = 0
    for position, (_, header, payload, signature) in enumerate(sizes):
        total += header + payload + (signature or 0)
        if total > _PORTION and position > start:
            yield sizes[start:position]
            start, total = position, header + payload + (signature or 0)
    if start < len(sizes):
        yield sizes[start:]


def numbers(values: Iterable[int]) -> str:
    """Whole numbers as the JSON text that ``json_each`` takes apart."""
    return "[" + ",".join(map(str, values)) + "]"


def texts(values: Sequence[str]) -> str:
    """Texts as the JSON text that ``json_each`` takes apart."""
    return json.dumps(list(values))


class Bulk:
    """A statement that takes many rows of parameters, ``@rows`` standing for them.

    Numbered parameters (``?1``) must all stand before ``@rows`` and are given as ``head``.
    """

    __slots__ = ("_columns", "_sql")

    def __init__(self, sql: str, columns: int) -> None:
        self._sql = sql
        self._columns = columns

    def run(self, transaction: Transaction, head: tuple[Any, ...], rows: Sequence[Sequence[Any]]) -> int:
        """Run it over the rows; the number of rows changed."""
        # The cursor's own count is -1 for a statement that begins with WITH.
        before = transaction.connection.total_changes
        start = 0
        left = len(rows)
        while left:
            width = min(_WIDEST, 1 << (left.bit_length() - 1))
            part = chain.from_iterable(rows[start : start + width])
            transaction.connection.execute(_widened(self._sql, self._columns, width), (*head, *part))
            start += width
            left -= width
        return transaction.connection.total_changes - before


@functools.cache
def _widened(sql: str, columns: int, width: int) -> str:
    one = "(" + ",".join("?" * columns) + ")"
    return sql.replace("@rows", ",".join([one] * width))
