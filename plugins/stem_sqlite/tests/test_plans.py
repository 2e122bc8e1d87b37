"""How SQLite looks things up: by ranges of the indexes, never by reading a table from end to end."""

from __future__ import annotations

import re

import pytest

from stem_core.model import ACK, DeadLetter, Retry, Settlement, Subscription
from stem_core.testing.contracts.base import messages
from stem_sqlite.backend import SqliteBackend
from stem_sqlite.broker import SqliteBroker
from stem_sqlite.database import Database
from stem_sqlite.state import SqliteState

#: What may be read from end to end: parameters of the call, rows that a limit has picked, and a table of one row.
_SMALL = r"(wanted|json_each|new|const|picked|page|found|suspects|levels|\(subquery|\d+|CONSTANT|sqlite_sequence)"
_SCAN = re.compile(rf"SCAN (?!{_SMALL}\b)(?!.*VIRTUAL TABLE)(\w.*)")


async def every_verb(database: Database) -> None:
    broker, backend, state = SqliteBroker(database, "t", 1.0), SqliteBackend(database, "t"), SqliteState(database, "t")
    await broker.publish(messages(9))
    await broker.publish(messages(3, queue="later", prefix="later"))
    subscription = Subscription.of("default", "later")
    deliveries = await broker.receive(subscription, 8, 30.0)
    actions = [ACK, Retry(delay=0), Retry(delay=9), DeadLetter(reason="x"), ACK, DeadLetter(reason="y"), ACK]
    settlements = [
        Settlement(receipt=one.receipt, action=action) for one, action in zip(deliveries, actions, strict=False)
    ]
    await broker.settle(settlements)
    await broker.settle(settlements)
    await broker.extend([deliveries[7].receipt], 0.0)
    await broker.receive(subscription, 8, 0.0)
    await broker.receive(subscription, 8, 0.0, suspects=0)
    await broker.wait_for_work(subscription, 0.0)
    await broker.depth(["default"])
    await broker.queues()
    for queue_state in ("ready", "delayed", "leased"):
        await broker.peek("default", queue_state, after="job-0001")
    await broker.find(["a"])
    await broker.dead_letters("default", after="job-0003")
    await broker.dead_letter("job-0003")
    await broker.replay(["job-0003"])
    await broker.remove(["job-0003"])
    await broker.purge_dead("default", ["job-0005"])
    await broker.purge_dead("default")
    await broker.move("default", "other")
    await broker.purge("other")
    await backend.get(["a"])
    await backend.wait("a", 0.0)
    await backend.list(limit=10)
    await backend.forget(["a"])
    await state.put("c", "k", b"v", ttl=1.0, if_version=0)
    await state.get("c", "k")
    await state.list("c")
    await state.delete("c", "k")
    listener = broker.listen(["news"], since=0.0)
    await broker.send("news", b"x", 1.0)
    await anext(listener)


async def test_nothing_is_read_from_end_to_end(database: Database) -> None:
    said: dict[str, None] = {}
    await database.read(lambda tx: tx.connection.set_trace_callback(said.setdefault))
    await every_verb(database)
    await database.read(lambda tx: tx.connection.set_trace_callback(None))
    looked = [text for text in said if re.match(r"\s*(WITH|SELECT|UPDATE|DELETE|INSERT)\b", text)]
    assert len(looked) > 60
    scans = {}
    for text in looked:
        plan = await database.read(lambda tx, text=text: tx.rows("EXPLAIN QUERY PLAN " + text))  # type: ignore[misc]
        for *_, step in plan:
            if _SCAN.match(step):
                scans[step] = text
    assert scans == {}


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("SELECT count(*) FROM messages WHERE state = 0 AND ns = 't' AND queue = 'q'", "messages_ready"),
        ("SELECT count(*) FROM messages WHERE state = 1 AND ns = 't' AND queue = 'q' AND at > 1", "messages_delayed"),
        ("SELECT count(*) FROM messages WHERE state = 2 AND ns = 't' AND queue = 'q' AND at > 1", "messages_leased"),
        ("SELECT min(at) FROM messages WHERE state = 1 AND ns = 't' AND queue = 'q'", "messages_delayed"),
        (
            "SELECT seq FROM messages WHERE state = 2 AND ns = 't' AND queue = 'q' AND at <= 9 ORDER BY at LIMIT 5",
            "messages_leased",
        ),
    ],
)
async def test_counting_and_sweeping_read_the_index_alone(database: Database, sql: str, index: str) -> None:
    (step,) = [row[-1] for row in await database.read(lambda tx: tx.rows("EXPLAIN QUERY PLAN " + sql))]
    assert step.startswith(f"SEARCH messages USING COVERING INDEX {index} (state=? AND ns=? AND queue=?")


async def test_a_claim_sorts_nothing(database: Database) -> None:
    """The head of the queue stands at the head of the index, however long the queue is."""
    plan = await database.read(
        lambda tx: tx.rows(
            """EXPLAIN QUERY PLAN SELECT * FROM messages WHERE state = 0 AND ns = 't' AND queue = 'q' AND suspect = 0
            ORDER BY priority DESC, at, seq LIMIT 5"""
        )
    )
    assert [row[-1] for row in plan] == [
        "SEARCH messages USING INDEX messages_ready (state=? AND ns=? AND queue=? AND suspect=?)"
    ]
