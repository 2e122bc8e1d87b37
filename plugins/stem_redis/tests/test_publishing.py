"""Messages that are to run at once go by scripts of their own, which have to leave what the careful one would."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
import pytest

from stem_core.model import ACK, DeadLetter, Message
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    WINDOW,
    OpenedStore,
    claim,
    claim_one,
    ids,
    message,
    messages,
    settle,
    status,
)
from stem_redis.publishing import Publisher
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]

_DUMP = """
local keys = redis.call('KEYS', '*')
table.sort(keys)
for n, key in ipairs(keys) do
  local kind, found = redis.call('TYPE', key).ok, nil
  if kind == 'hash' then
    found = redis.call('HGETALL', key)
  elseif kind == 'set' then
    found = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then
    found = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'list' then
    found = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'stream' then
    found = redis.call('XRANGE', key, '-', '+')
  else
    found = redis.call('GET', key)
  end
  keys[n] = {key, found, redis.call('PTTL', key) > 0}
end
return cjson.encode(keys)
"""


def everything(server: RedisServer) -> list[object]:
    """All that the server holds; entries and sessions without their numbers, and bundles taken apart."""
    text = server.command("EVAL", _DUMP, 0).partition(b"\r\n")[2].decode("latin-1")
    text = re.sub(r"(?<=/)[0-9a-f]+(?=\.\d)", "SESSION", re.sub(r"\d{13}-\d+", "ENTRY", text))
    found = {key: (content, ends) for key, content, ends in json.loads(text)}
    surplus = 0
    for key, (entries, ends) in found.items():
        if re.search(r":p\d$", key):
            apart = [[number, fields[at : at + 2]] for number, fields in entries for at in range(0, len(fields), 2)]
            surplus += len(apart) - len(entries)
            found[key] = (apart, ends)
    counted, _ = found.pop("{test:default}:extra", ("0", False))
    assert int(counted) == surplus
    return list(found.items())


async def nothing(opened: OpenedStore, clock: FakeClock) -> None:
    pass


async def a_level_in_use(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish(messages(9))


async def another_level_in_use(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("low", priority=0)])


async def a_level_drained(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("done")])
    await settle(opened.broker, await claim_one(opened.broker), ACK)


async def others_delayed(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("later", delay=60.0)])


async def others_due(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("due", delay=5.0), message("urgent", delay=5.0, priority=9)])
    clock.advance(6.0)


async def it_waits(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("x")])


async def it_waits_elsewhere(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("x", queue="other")])


async def it_is_delayed(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("x", delay=60.0)])


async def it_is_leased(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.broker.publish([message("x")])
    await claim(opened.broker)


async def it_is_dead(opened: OpenedStore, clock: FakeClock) -> None:
    await it_waits(opened, clock)
    await settle(opened.broker, await claim_one(opened.broker), DeadLetter(reason="failed"))


async def it_is_done(opened: OpenedStore, clock: FakeClock) -> None:
    await it_waits(opened, clock)
    await settle(opened.broker, await claim_one(opened.broker), ACK)


async def it_was_done_long_ago(opened: OpenedStore, clock: FakeClock) -> None:
    await it_is_done(opened, clock)
    clock.advance(2 * WINDOW)


async def it_has_a_result(opened: OpenedStore, clock: FakeClock) -> None:
    await opened.backend.record([status("x")])


@pytest.mark.parametrize(
    "before",
    [
        nothing, a_level_in_use, another_level_in_use, a_level_drained, others_delayed, others_due, it_waits,
        it_waits_elsewhere, it_is_delayed, it_is_leased, it_is_dead, it_is_done, it_was_done_long_ago, it_has_a_result,
    ],
)  # fmt: skip
async def test_all_scripts_leave_the_same(
    open_redis: OpenRedis,
    server: RedisServer,
    before: Callable[[OpenedStore, FakeClock], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def left(some: list[Message]) -> tuple[list[object], Sequence[object]]:
        server.command("FLUSHALL")
        clock = FakeClock()
        async with open_redis(clock) as opened:
            await before(opened, clock)
            await opened.broker.publish(some)
            stored = everything(server)
            assert "{test}:queues" in dict(stored)
            granted = await claim(opened.broker)
            return stored, [(d.message, d.receipt.run, d.attempt, d.crashes) for d in granted]

    for priority in (5, 9):
        one, other = message("x", priority=priority), message("y", priority=priority)
        for some in ([one], [one, other], [other, one, other]):
            with monkeypatch.context() as patched:
                patched.setattr(Publisher, "_send_one", lambda *_: False)
                patched.setattr(Publisher, "_send_alike", lambda *_: False)
                whole = await left(some)
            assert await left(some) == whole


@pytest.mark.parametrize("before", [it_waits, it_is_leased, it_is_dead, it_is_done])
async def test_what_is_known_does_not_put_its_company_behind_others(open_redis, before) -> None:
    clock = FakeClock()
    async with open_redis(clock) as opened:
        await before(opened, clock)
        # Of three script calls that are under way together.
        some = messages(600)
        await opened.broker.publish([some[0], message("x"), *some])
        granted = [id for id in ids(await claim(opened.broker, 1000)) if id != "x"]
        assert granted == [one.id for one in some]


async def test_of_an_id_at_several_places_of_one_call_the_first_is_stored(broker) -> None:
    first = message("x", priority=9, payload=b"first")
    await broker.publish([message("y"), first, message("x"), message("x", queue="other"), message("x", delay=60.0)])
    assert (await broker.find(["x"]))["x"].message == first
    assert await broker.peek("default", "delayed") == []
    assert ids(await claim(broker, 5)) == ["x", "y"]
    await broker.publish([message("a"), message("b"), message("a")])
    assert ids(await claim(broker, 5)) == ["a", "b"]


async def test_a_message_that_cannot_be_sent_keeps_nobody_waiting(broker):
    spoiled = attrs.evolve(message("bad"), header=None)
    with pytest.raises(TypeError):
        await asyncio.wait_for(broker.publish([spoiled]), 5)
    # In the company of others, and behind one that is under way.
    published = [broker.publish([one]) for one in (message("first"), spoiled, message("beside"))]
    first, *others = await asyncio.wait_for(asyncio.gather(*published, return_exceptions=True), 5)
    assert first is None
    # What leaves together ends together.
    assert [type(one) for one in others] == [TypeError, TypeError]
    await asyncio.wait_for(broker.publish([message("after")]), 5)
    assert {"first", "after"} <= set(ids(await claim(broker, 5)))


@pytest.mark.parametrize("change", [list.clear, lambda some: some.__setitem__(0, message("other"))])
async def test_a_list_may_be_used_again_at_once(broker, change) -> None:
    # What is due makes the first try fail.
    await broker.publish([message("due", delay=0.001)])
    await asyncio.sleep(0.01)
    given = [message("mine")]
    published = asyncio.ensure_future(broker.publish(given))
    await asyncio.sleep(0)
    change(given)
    await asyncio.wait_for(published, 5)
    assert ids(await claim(broker, 5)) == ["due", "mine"]
