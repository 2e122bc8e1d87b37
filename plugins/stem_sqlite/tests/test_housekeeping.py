"""What is over is cleared away, in portions; what is not over stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from stem_core.model import ACK, DeadLetter, Settlement
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import PATIENCE, OpenedStore, claim, message, messages, settle, status
from stem_sqlite.database import Database

OpenSqlite = Callable[..., AbstractAsyncContextManager[OpenedStore]]
TABLES = ("messages", "bodies", "outcomes", "settled", "state", "broadcasts")
DAY = 86_400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(open_sqlite: OpenSqlite, clock: FakeClock) -> AsyncIterator[OpenedStore]:
    async with open_sqlite(clock) as opened:
        yield opened


async def rows(store: OpenedStore) -> dict[str, int]:
    """How many rows each table has, the empty ones left out."""
    database: Database = store.broker._database  # type: ignore[attr-defined]
    counts = await database.read(lambda tx: {table: tx.row(f"SELECT count(*) FROM {table}")[0] for table in TABLES})
    return {table: count for table, count in counts.items() if count}


async def some_write(store: OpenedStore) -> None:
    """A write that leaves nothing, for housekeeping to ride on; done when housekeeping is, too."""
    await store.state.delete("none", "none")
    await store.state.get("none", "none")


async def cleared(store: OpenedStore, left: dict[str, int]) -> None:
    """Return when only this is left."""
    async with asyncio.timeout(PATIENCE):
        while await rows(store) != left:  # noqa: ASYNC110 - the thread of the database tells nobody of it
            await asyncio.sleep(0.01)


async def test_all_that_is_over_goes(store: OpenedStore, clock: FakeClock) -> None:
    broker = store.broker
    await broker.publish(messages(4))
    deliveries = await claim(broker)
    await broker.settle_with_results(  # type: ignore[attr-defined]
        [Settlement(receipt=deliveries[0].receipt, action=ACK)], [status("job-0000", ttl=3600.0)]
    )
    await settle(broker, deliveries[1], ACK)
    await settle(broker, deliveries[2], DeadLetter(reason="failed"))
    await settle(broker, deliveries[3], DeadLetter(reason="failed"))
    await store.state.put("things", "brief", b"value", ttl=60.0)
    await store.state.put("things", "for ever", b"value")
    await broker.send("news", b"hello", 60.0)  # type: ignore[attr-defined]
    assert await rows(store) == {"messages": 2, "bodies": 2, "outcomes": 2, "settled": 2, "state": 2, "broadcasts": 1}
    clock.advance(600.0)
    await some_write(store)
    assert await rows(store) == {"messages": 2, "bodies": 2, "outcomes": 1, "state": 1}
    clock.advance(3000.0)
    await some_write(store)
    assert await rows(store) == {"messages": 2, "bodies": 2, "state": 1}
    clock.advance(30 * DAY)
    await some_write(store)
    assert await rows(store) == {"state": 1}


async def test_much_goes_in_portions(store: OpenedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stem_sqlite.housekeeping.PORTION", 10)
    await store.backend.record([status(f"job-{n}", ttl=60.0) for n in range(95)])
    clock.advance(60.0)
    await some_write(store)
    assert (await rows(store)).get("outcomes", 0) < 95
    # It goes on by itself, without another write.
    await cleared(store, {})


async def test_no_queue_keeps_too_many_dead_letters(
    store: OpenedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stem_sqlite.housekeeping.DEAD_LIMIT", 10)
    monkeypatch.setattr("stem_sqlite.housekeeping.PORTION", 4)
    await store.broker.publish(messages(25))
    await store.broker.publish(messages(3, queue="other", prefix="other"))
    for queue in ("default", "other"):
        for delivery in await claim(store.broker, 30, queue=queue):
            clock.advance(1.0)
            await settle(store.broker, delivery, DeadLetter(reason="failed"))
    await cleared(store, {"messages": 13, "bodies": 13, "settled": 28})
    letters = await store.broker.dead_letters("default")  # type: ignore[attr-defined]
    assert [letter.message.id for letter in letters] == [f"job-{n:04}" for n in range(15, 25)]


async def test_a_dead_letter_past_its_time_stands_in_nobodys_way(store: OpenedStore, clock: FakeClock) -> None:
    await store.broker.publish([message("a")])
    (delivery,) = await claim(store.broker)
    await settle(store.broker, delivery, DeadLetter(reason="failed"))
    clock.advance(30 * DAY)
    # The very first write since: housekeeping has not been here.
    await store.broker.publish([message("a")])
    assert [one.message.id for one in await claim(store.broker)] == ["a"]
