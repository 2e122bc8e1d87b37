"""A server that is full, and a server that others write to as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from stem_core.errors import StoreUnavailable
from stem_core.model import ACK, DeadLetter, Release, Retry, Settlement, TaskStatus
from stem_core.testing.contracts.base import LEASE, OpenedStore, claim, ids, kinds, message, messages, status
from stem_redis.broker import RedisBroker
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]


class TestFullMemory:
    """maxmemory reached, with noeviction."""

    @pytest.fixture(params=["valkey", "redis6", "redis8"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        kind: str = request.param
        return kind

    async def test_publishing_fails_cleanly_and_what_frees_memory_works(
        self, open_redis: OpenRedis, server: RedisServer
    ) -> None:
        async with open_redis() as opened:
            broker = opened.broker
            assert isinstance(broker, RedisBroker)
            await broker.publish([*messages(8), message("due", delay=0.05), message("elsewhere", queue="other")])
            held = await claim(broker, 5)
            await asyncio.sleep(0.06)
            server.command("CONFIG", "SET", "maxmemory", "1")
            # Beside a message that is due, where no level is in use, at a level in use, and more than one.
            for much in (
                [message("too-much")],
                [message("too-much", queue="new")],
                [message("too-much", queue="other")],
                messages(2, prefix="too-many"),
            ):
                with pytest.raises(StoreUnavailable, match="its memory is full"):
                    await broker.publish(much)
            assert await broker.queues() == ["default", "other"]
            assert kinds(await broker.extend([held[0].receipt], LEASE)) == ["done"]
            actions = [ACK, ACK, Retry(delay=5.0), Release(), DeadLetter(reason="failed")]
            settlements = [Settlement(receipt=d.receipt, action=a) for d, a in zip(held, actions, strict=True)]
            statuses: list[TaskStatus | None] = [status(held[0].message.id), *([None] * 4)]
            assert kinds(await broker.settle_with_results(settlements, statuses)) == ["done"] * 5
            rest = await claim(broker)
            assert sorted(ids(rest)) == ["due", "job-0003", "job-0005", "job-0006", "job-0007"]
            assert kinds(await broker.settle([Settlement(receipt=d.receipt, action=ACK) for d in rest])) == ["done"] * 5
            assert await broker.replay(["job-0004"]) == ["job-0004"]
            assert await broker.purge("default") == 2
            server.command("CONFIG", "SET", "maxmemory", "0")
            await broker.publish([message("too-much")])
            assert ids(await claim(broker)) == ["too-much"]


class TestStrangers:
    async def test_an_entry_that_nobody_of_us_wrote_goes_to_the_dead_letters_and_hides_nobody(
        self, broker: RedisBroker, server: RedisServer
    ) -> None:
        await broker.publish([message("a")])
        server.command("XADD", "{test:default}:p5", "*", "what", "is this")
        server.command("XADD", "{test:default}:p5", "*", "no bar", "body")
        await broker.publish([message("b")])
        assert ids(await claim(broker)) == ["a", "b"]
        letters = await broker.dead_letters("default")
        assert [letter.reason for letter in letters] == ["unreadable", "unreadable"]
        assert b"is this" in letters[0].message.payload
        assert await broker.purge_dead("default") == 2

    async def test_a_key_of_another_kind_is_told(self, broker: RedisBroker, server: RedisServer) -> None:
        server.command("SET", "{test:default}:p5", "mine")
        with pytest.raises(Exception, match="a key of the namespace holds something else"):
            await broker.publish([message("a")])

    async def test_a_message_whose_body_was_removed_by_hand_is_dropped(
        self, broker: RedisBroker, server: RedisServer
    ) -> None:
        await broker.publish([message("a", delay=0.01), message("b", delay=0.01)])
        server.command("HDEL", "{test:default}:aside", "a")
        await asyncio.sleep(0.05)
        assert ids(await claim(broker)) == ["b"]
        assert await claim(broker) == []
