"""Messages that are published together share entries of the stream, which nobody who receives them notices."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

import pytest

from stem_core.contracts import Broker
from stem_core.model import ACK, Message, Receipt, Release, Settlement, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, OpenedStore, claim, ids, kinds, message, messages
from stem_redis.broker import RedisBroker
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]

DEFAULT = Subscription.of("default")
STREAM, EXTRA, PICKED = "{test:default}:p5", "{test:default}:extra", "{test:default}:picked"


def entries(server: RedisServer, stream: str = STREAM) -> int:
    return int(server.command("XLEN", stream)[1:])


async def ready(broker: Broker) -> int:
    return (await broker.depth(["default"]))["default"].ready


async def finish(broker: Broker, most: int = 1000) -> list[str]:
    """Take and acknowledge all there is; the ids in their order."""
    done: list[str] = []
    while claimed := await claim(broker, most):
        done += ids(claimed)
        verdicts = await broker.settle([Settlement(receipt=one.receipt, action=ACK) for one in claimed])
        assert set(kinds(verdicts)) == {"done"}
    return done


async def test_an_entry_holds_sixteen_or_four_thousand_bytes(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish(messages(40))
    assert entries(server) == 3
    await broker.publish([message(f"large-{n}", payload=b"x" * 1900) for n in range(4)])
    assert entries(server) == 3 + 2
    # The first, between others, and the last.
    huge = [message(f"huge-{n}", payload=b"x" * 10_000) for n in range(3)]
    small = messages(4, prefix="small")
    await broker.publish([huge[0], *small[:2], huge[1], *small[2:], huge[2]])
    assert entries(server) == 3 + 2 + 5
    assert await ready(broker) == 51
    assert len(await finish(broker)) == 51


@pytest.mark.parametrize("most", [1, 2, 5, 15, 16, 17, 31, 100])
async def test_each_is_granted_once_and_in_order(broker: RedisBroker, server: RedisServer, most: int) -> None:
    await broker.publish(published := messages(35))
    await broker.publish([message("alone")])
    await broker.publish(behind := messages(35, prefix="more"))
    expected = [one.id for one in (*published, message("alone"), *behind)]
    got: list[str] = []
    while claimed := await broker.receive(DEFAULT, most, LEASE):
        assert len(claimed) <= most
        got += ids(claimed)
        depth = (await broker.depth(["default"]))["default"]
        assert (depth.ready, depth.leased) == (len(expected) - len(got), len(got))
    assert got == expected
    assert entries(server) == 1  # Of the one that was published by itself, until it is settled.


async def test_a_claim_that_comes_back_to_a_bundle(broker: RedisBroker) -> None:
    await broker.publish([*messages(20), *messages(20, prefix="other", queue="other")])
    # One of each queue in turn.
    both = Subscription(queues=("default", "other"), weights=(1, 1))
    got = [*ids(await broker.receive(both, 7, LEASE)), *ids(await broker.receive(both, 40, LEASE))]
    for prefix in ("job", "other"):
        assert [id for id in got if id.startswith(prefix)] == [f"{prefix}-{n:04}" for n in range(20)]


async def test_workers_share_a_bundle(open_redis: OpenRedis) -> None:
    async with open_redis() as first, open_redis() as second:
        await first.broker.publish(published := messages(200))
        got: list[str] = []

        async def work(broker: Broker, seed: int) -> None:
            chance = random.Random(seed)
            while claimed := await broker.receive(DEFAULT, chance.randint(1, 9), LEASE):
                got.extend(ids(claimed))
                await broker.settle([Settlement(receipt=one.receipt, action=ACK) for one in claimed])

        await asyncio.gather(work(first.broker, 1), work(second.broker, 2))
        assert sorted(got) == [one.id for one in published]


async def test_the_body_stays_when_a_lease_ends(open_redis: OpenRedis) -> None:
    clock = FakeClock()
    async with open_redis(clock) as opened:
        broker = opened.broker
        await broker.publish(published := messages(5))
        assert len(await broker.receive(DEFAULT, 3, 10.0)) == 3
        clock.advance(11.0)
        again = await broker.receive(DEFAULT, 10, LEASE, suspects=10)
        # Those that are ready for longer stand before.
        assert ids(again) == ["job-0003", "job-0004", "job-0000", "job-0001", "job-0002"]
        assert [one.crashes for one in again] == [0, 0, 1, 1, 1]
        assert {one.message.id: one.message for one in again} == {one.id: one for one in published}


async def test_what_is_given_back_comes_again(broker: RedisBroker) -> None:
    await broker.publish(messages(4))
    first, second = await broker.receive(DEFAULT, 2, LEASE)
    verdicts = await broker.settle([Settlement(receipt=one.receipt, action=Release()) for one in (first, second)])
    assert kinds(verdicts) == ["done", "done"]
    assert await ready(broker) == 4
    assert await finish(broker) == ["job-0002", "job-0003", "job-0000", "job-0001"]


@pytest.mark.parametrize("taken", [0, 2, 5])
async def test_what_is_removed_or_moved_is_left_out(broker: RedisBroker, server: RedisServer, taken: int) -> None:
    await broker.publish(messages(20))
    held = await broker.receive(DEFAULT, taken, LEASE)
    assert await broker.remove(["job-0000", "job-0007", "job-0019"]) == (
        ["job-0000", "job-0007", "job-0019"] if not taken else ["job-0007", "job-0019"]
    )
    left = [f"job-{n:04}" for n in range(taken or 1, 20) if n not in {7, 19}]
    assert await ready(broker) == len(left)
    assert [one.message.id for one in await broker.peek("default")] == left
    assert ids(await broker.receive(DEFAULT, 3, LEASE)) == left[:3]
    assert await broker.move("default", "other") == len(left) - 3
    assert await ready(broker) == 0
    assert (await broker.depth(["other"]))["other"].ready == len(left) - 3
    assert ids(await broker.receive(Subscription.of("other"), 100, LEASE)) == left[3:]
    assert entries(server) == 0
    assert len(held) == taken


async def test_purging_takes_the_entries_along(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish(messages(40))
    await broker.receive(DEFAULT, 3, LEASE)
    assert await broker.purge("default") == 37
    assert entries(server) == 0
    assert await ready(broker) == 0


async def test_nothing_of_the_count_is_left(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish(messages(40))
    assert server.command("GET", EXTRA) == b"$2\r\n37\r\n"
    await broker.remove(["job-0001"])
    assert server.command("GET", EXTRA) == b"$2\r\n36\r\n"
    assert len(await finish(broker)) == 39
    assert server.command("EXISTS", EXTRA, PICKED, STREAM) == b":0\r\n"


@pytest.mark.parametrize("taken", [0, 3, 16, 18])
async def test_pages_go_through_bundles(broker: RedisBroker, taken: int) -> None:
    await broker.publish(messages(20))
    await broker.publish(messages(20, prefix="low", priority=2))
    await broker.receive(DEFAULT, taken, LEASE)
    expected = [one.message.id for one in await broker.peek("default", limit=100)]
    assert len(expected) == 40 - taken
    for size in (1, 3, 16, 19):
        found: list[str] = []
        while page := await broker.peek("default", limit=size, after=found[-1] if found else None):
            found += [one.message.id for one in page]
            assert len(found) <= 40
        assert found == expected


async def test_a_lost_group_repeats_nothing_of_a_bundle(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish([message("alone")])
    await broker.publish(published := messages(10))
    held = await broker.receive(DEFAULT, 4, LEASE)
    server.command("XGROUP", "DESTROY", STREAM, "stem")
    assert ids(await claim(broker, 100)) == [one.id for one in published[3:]]
    assert await ready(broker) == 0
    assert kinds(await broker.settle([Settlement(receipt=one.receipt, action=ACK) for one in held])) == ["done"] * 4


@pytest.mark.parametrize(
    "fields",
    [
        ("some", "thing", "odd", "here"),
        ("|id", "body", "|", "here"),
        ("name", b"abcd\0"),
        ("name", b"abcd\0efgh"),
        (b"\xff\xfe", b"abcd\xffefgh"),
        ("name", b"\0\0\0\x09\xff\xff\xff\xff{}"),
    ],
)
async def test_fields_that_are_no_messages_are_kept_aside(
    broker: RedisBroker, server: RedisServer, fields: tuple[str | bytes, ...]
) -> None:
    await broker.publish(messages(2))
    for _ in range(2):
        server.command("XADD", STREAM, "*", *fields)
    await broker.publish(messages(2, prefix="behind"))
    assert ids(await claim(broker, 100)) == ["job-0000", "job-0001", "behind-0000", "behind-0001"]
    dead = await broker.dead_letters("default")
    assert [one.reason for one in dead] == ["unreadable", "unreadable"]
    raw = b" ".join(field if isinstance(field, bytes) else field.encode() for field in fields)
    assert dead[0].message.payload == raw
    assert await ready(broker) == 0


async def test_groups_of_others_do_not_matter(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish(messages(40))
    assert len(await broker.receive(DEFAULT, 3, LEASE)) == 3
    server.command("XGROUP", "CREATE", STREAM, "aaa", "$")
    assert len(await broker.peek("default")) == 37
    assert (await broker.depth(["default"]))["default"].oldest_ready_age is not None


async def test_no_receipt_is_good_for_what_was_moved(open_redis: OpenRedis) -> None:
    clock = FakeClock()
    async with open_redis(clock) as opened:
        broker = opened.broker
        await broker.publish([message("a")])
        (held,) = await broker.receive(DEFAULT, 1, LEASE)
        clock.advance(LEASE + 1.0)
        assert isinstance(broker, RedisBroker)
        assert await broker.move("default", "other") == 1
        for token in (held.receipt.token, "-", ""):
            receipt = Receipt(id="a", queue="other", run=1, token=token)
            assert kinds(await broker.extend([receipt], LEASE)) == ["lost"]
            assert kinds(await broker.settle([Settlement(receipt=receipt, action=ACK)])) == ["lost"]


async def test_a_suspect_stands_between_bundles(open_redis: OpenRedis) -> None:
    clock = FakeClock()
    async with open_redis(clock) as opened:
        broker = opened.broker
        await broker.publish([message("suspect")])
        await broker.receive(DEFAULT, 1, 10.0)
        clock.advance(5.0)
        await broker.publish(before := messages(20, prefix="before"))
        clock.advance(6.0)
        assert (await broker.depth(["default"]))["default"].ready == 21
        await broker.publish(behind := messages(20, prefix="behind"))
        expected = [one.id for one in (*before, message("suspect"), *behind)]
        assert [one.message.id for one in await broker.peek("default")] == expected
        got: list[str] = []
        while claimed := await broker.receive(DEFAULT, 7, LEASE, suspects=3):
            got += ids(claimed)
        assert got == expected


@pytest.mark.parametrize("most", [1, 4, 10, 13, 20, 21])
async def test_a_suspect_does_not_make_a_claim_larger(open_redis: OpenRedis, most: int) -> None:
    clock = FakeClock()
    async with open_redis(clock) as opened:
        broker = opened.broker
        await broker.publish([message("suspect")])
        await broker.receive(DEFAULT, 1, 10.0)
        await broker.publish(messages(10))
        clock.advance(11.0)
        assert (await broker.depth(["default"]))["default"].ready == 11
        await broker.publish(messages(10, prefix="behind"))
        claimed = await broker.receive(DEFAULT, most, LEASE, suspects=1)
        expected = [*messages(10), message("suspect"), *messages(10, prefix="behind")]
        assert ids(claimed) == [one.id for one in expected[:most]]


async def test_priorities_hold_across_bundles(broker: RedisBroker) -> None:
    def level(priority: int) -> list[Message]:
        return messages(18, prefix=f"p{priority}", priority=priority)

    await broker.publish([*level(1), *level(8)])
    first = await broker.receive(DEFAULT, 10, LEASE)
    await broker.publish(level(9))
    rest = await broker.receive(DEFAULT, 100, LEASE)
    assert ids([*first, *rest]) == [one.id for one in (*level(8)[:10], *level(9), *level(8)[10:], *level(1))]


async def test_a_claim_of_a_part_looks_at_no_more_than_its_bundle(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish(messages(2_000))
    with commands(server) as seen:
        for _ in range(3):
            await broker.receive(DEFAULT, 1, LEASE)
    reads = [words for words in seen if words[0].startswith("X")]
    # The first finds that there is no group, and makes it.
    assert [words[0] for words in reads] == [
        "XREADGROUP", "XRANGE", "XGROUP", "XREADGROUP", "XGROUP", "XREADGROUP", "XGROUP", "XREADGROUP", "XGROUP",
    ]  # fmt: skip
    assert {words[words.index("COUNT") + 1] for words in reads if "COUNT" in words} == {"1"}


async def test_a_suspect_behind_what_waits_costs_no_look_at_all_of_it(broker: RedisBroker, server: RedisServer) -> None:
    await broker.publish([message("suspect")])
    await broker.receive(DEFAULT, 1, 0.01)
    await asyncio.sleep(0.02)
    await broker.publish(messages(2_000))
    with commands(server) as seen:
        assert len(await broker.receive(DEFAULT, 100, LEASE, suspects=1)) == 100
    counts = [int(words[words.index("COUNT") + 1]) for words in seen if "COUNT" in words]
    assert sum(counts) < 20


@contextmanager
def commands(server: RedisServer) -> Iterator[list[list[str]]]:
    """What scripts have called meanwhile, when this is left."""
    seen: list[list[str]] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server.path)
        connection.sendall(b"MONITOR\r\n")
        lines = connection.makefile("rb")
        assert lines.readline() == b"+OK\r\n"
        yield seen
        assert server.command("ECHO", "the end")
        for line in lines:
            if b'"the end"' in line:
                break
            if b" lua] " in line:
                seen.append(re.findall(r'"((?:[^"\\]|\\.)*)"', line.decode(errors="replace")))
