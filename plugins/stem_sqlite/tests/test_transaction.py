"""Many rows in few steps: what goes in comes out, byte by byte."""

from __future__ import annotations

import pytest

from stem_core.model import Message
from stem_core.testing.contracts.base import claim
from stem_sqlite.broker import SqliteBroker, _portions
from stem_sqlite.database import Database
from stem_sqlite.transaction import Bulk, Transaction

ODD = [b"", b"\0", b"\xff\xfe\0\x80", b'{"a":"\xc3\xa9"}', "\u00e9\ud83d".encode("utf-8", "surrogatepass"), b"x" * 5000]


@pytest.mark.parametrize("portion", [16 * 2**20, 4000, 1])
async def test_bodies_come_back_byte_by_byte(database: Database, monkeypatch: pytest.MonkeyPatch, portion: int) -> None:
    monkeypatch.setattr("stem_sqlite.transaction._PORTION", portion)
    sent = [
        Message(id=f"{n:02}-{m}-{s}", queue="default", priority=5, header=ODD[n], payload=ODD[m], signature=signature)
        for n in range(len(ODD))
        for m in range(len(ODD))
        for s, signature in enumerate([None, b"", b"\0sig\xff"])
    ]
    broker = SqliteBroker(database, "test", 600.0)
    await broker.publish(sent)
    assert [one.message for one in await claim(broker, 1000)] == sent


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 1000])
async def test_bulk_takes_any_number_of_rows(database: Database, count: int) -> None:
    bulk = Bulk(
        "WITH const (k) AS (SELECT ?1), new (n) AS (VALUES @rows)"
        " INSERT INTO counters (name, value) SELECT k || n, n FROM new CROSS JOIN const",
        columns=1,
    )

    def run(transaction: Transaction) -> tuple[int, int, int]:
        changed = bulk.run(transaction, ("n",), [(n,) for n in range(count)])
        return changed, *transaction.row("SELECT count(*), ifnull(sum(value), 0) FROM counters WHERE name LIKE 'n%'")

    assert await database.write(run) == (count, count, sum(range(count)))


def test_publishing_is_cut_by_number_and_by_size() -> None:
    def small(n: int) -> Message:
        return Message(id=str(n), queue="q", priority=5, header=b"", payload=b"")

    def large(n: int) -> Message:
        return Message(id=str(n), queue="q", priority=5, header=b"", payload=b"x" * 5 * 2**20)

    assert [len(cut) for cut in _portions([small(n) for n in range(6000)])] == [2500, 2500, 1000]
    assert [len(cut) for cut in _portions([large(n) for n in range(3)])] == [1, 1, 1]
    assert list(_portions([])) == []
