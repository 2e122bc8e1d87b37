"""By the server's own clock, what is ready in a stream has its time from the number of its entry alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from stem_core.clock import SYSTEM_CLOCK
from stem_core.contracts import Broker
from stem_core.model import ACK, Message, Release, Settlement, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, OpenedStore, claim, ids, kinds, message, messages
from stem_redis.broker import RedisBroker
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]

DEFAULT = Subscription.of("default")
#: One message and several go by different scripts.
PUBLISHED = pytest.mark.parametrize("published", [[message("a")], [message("a"), message("b")]], ids=["one", "alike"])


@PUBLISHED
async def test_a_message_is_ready_since_it_was_published(broker: RedisBroker, published: list[Message]) -> None:
    before = SYSTEM_CLOCK.now()
    await broker.publish(published)
    after = SYSTEM_CLOCK.now()
    await asyncio.sleep(0.05)
    for stored in (await broker.find(["a"])).values():
        assert stored.state == "ready"
        assert before - 0.002 <= stored.at <= after + 0.002
    age = (await broker.depth(["default"]))["default"].oldest_ready_age
    assert age is not None
    assert 0.04 <= age <= SYSTEM_CLOCK.now() - before + 0.01


@PUBLISHED
async def test_it_keeps_that_time_in_another_queue(broker: RedisBroker, published: list[Message]) -> None:
    await broker.publish(published)
    at = (await broker.find(["a"]))["a"].at
    await asyncio.sleep(0.05)
    assert await broker.move("default", "other") == len(published)
    assert (await broker.find(["a"]))["a"].at == at
    age = (await broker.depth(["other"]))["other"].oldest_ready_age
    assert age is not None
    assert age >= 0.04


async def test_a_suspect_stands_by_its_time_among_others(broker: RedisBroker) -> None:
    await broker.publish([message("suspect")])
    assert ids(await broker.receive(DEFAULT, 1, 1.0)) == ["suspect"]
    await broker.publish(messages(2, prefix="early"))
    await asyncio.sleep(1.01)
    # The lease is over, and the suspect ready since then.
    assert (await broker.depth(["default"]))["default"].ready == 3
    await asyncio.sleep(0.01)
    await broker.publish([message("late")])
    page = [stored.message.id for stored in await broker.peek("default", limit=10)]
    assert page == ["early-0000", "early-0001", "suspect", "late"]
    assert ids(await broker.receive(DEFAULT, 10, LEASE, suspects=1)) == page


async def test_what_is_given_back_stands_behind_what_was_due_before(open_redis: OpenRedis) -> None:
    clock = FakeClock()
    async with open_redis(clock) as opened:
        broker = opened.broker
        await broker.publish([message("due", delay=5.0), message("first"), message("second")])
        held = await broker.receive(DEFAULT, 2, LEASE)
        assert ids(held) == ["first", "second"]
        clock.advance(6.0)
        await broker.settle([Settlement(receipt=one.receipt, action=Release()) for one in held])
        age = (await broker.depth(["default"]))["default"].oldest_ready_age
        assert age == pytest.approx(1.0, abs=0.01)
        assert ids(await claim(broker)) == ["due", "first", "second"]


async def _pages(broker: Broker, size: int, most: int) -> list[str]:
    """The ids of what is ready, a page at a time; a page more than there should be ends it."""
    found: list[str] = []
    while len(found) <= most:
        page = await broker.peek("default", limit=size, after=found[-1] if found else None)
        if not page:
            break
        found += [stored.message.id for stored in page]
    return found


@pytest.mark.parametrize("given", [False, True], ids=["its own clock", "a given clock"])
@pytest.mark.parametrize("published", [1, 3])
async def test_pages_go_on_behind_what_is_older_than_what_stands_before_it(
    open_redis: OpenRedis, given: bool, published: int
) -> None:
    clock = FakeClock() if given else SYSTEM_CLOCK

    async def later() -> None:
        clock.advance(0.3) if isinstance(clock, FakeClock) else await asyncio.sleep(0.3)

    async with open_redis(clock) as opened:
        broker = opened.broker
        await broker.publish(messages(2, prefix="moved", queue="other"))
        await broker.publish([message("suspect")])
        assert ids(await broker.receive(DEFAULT, 1, 0.2)) == ["suspect"]
        await broker.publish(messages(2, prefix="early"))
        await later()
        await broker.peek("default")
        await broker.publish(messages(published, prefix="late"))
        assert await broker.move("other", "default") == 2
        whole = [stored.message.id for stored in await broker.peek("default", limit=100)]
        assert (whole[2], whole[-2:]) == ("suspect", ["moved-0000", "moved-0001"])
        for size in range(1, 6):
            assert await _pages(broker, size, len(whole)) == whole
        assert ids(await broker.receive(DEFAULT, 100, LEASE)) == whole


async def test_a_lost_group_is_made_anew_behind_what_is_leased(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish(messages(3))
    (held,) = await broker.receive(DEFAULT, 1, LEASE)
    server.command("XGROUP", "DESTROY", "{test:default}:p5", "stem")
    assert ids(await claim(broker)) == ["job-0001", "job-0002"]
    assert kinds(await broker.settle([Settlement(receipt=held.receipt, action=Release())])) == ["done"]
    (again,) = await claim(broker)
    assert (again.message.id, again.receipt.run) == ("job-0000", 2)
    assert kinds(await broker.settle([Settlement(receipt=again.receipt, action=ACK)])) == ["done"]


async def test_pages_leave_out_what_is_leased_where_the_group_is_lost(broker: RedisBroker, server: RedisServer) -> None:
    for one in messages(5):
        await broker.publish([one])
    await broker.receive(DEFAULT, 3, LEASE)
    server.command("XGROUP", "DESTROY", "{test:default}:p5", "stem")
    for size in (1, 2, 5):
        assert await _pages(broker, size, 5) == ["job-0003", "job-0004"]
