"""What a server or a network does to a broker in the middle of its work, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from stem_core.contracts import StateStore
from stem_core.errors import StoreUnavailable
from stem_core.model import ACK, DeadLetter, Delivery, Release, Retry, Settlement, Subscription
from stem_core.testing.contracts.base import (
    LEASE,
    OpenedStore,
    claim,
    claim_one,
    counts,
    extend,
    ids,
    kinds,
    message,
    messages,
    settle,
    status,
)
from stem_redis.broker import RedisBroker
from stem_redis.settings import RedisSettings
from support.redis_server import RedisServer, Relay

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]
StartServer = Callable[..., RedisServer]
DEFAULT = Subscription.of("default")
#: No test waits longer for what has to happen, in seconds.
PATIENCE = 10.0


async def eventually(step: Callable[[], Awaitable[Any]]) -> Any:
    """What ``step`` returns once the store is back, as a worker tries it: again and again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await step()
            except StoreUnavailable:
                await asyncio.sleep(0.05)


@pytest.fixture
async def relay(server: RedisServer) -> AsyncIterator[Relay]:
    """Stands before the server."""
    async with Relay(server.path) as between:
        yield between


@pytest.fixture
async def through(open_redis: OpenRedis, relay: Relay) -> AsyncIterator[OpenedStore]:
    """A session that reaches the server by the relay."""
    async with open_redis(url=relay.url, settings=RedisSettings(call_timeout=0.5)) as opened:
        yield opened


class TestLostAnswers:
    async def test_a_settlement_whose_answer_was_lost_is_done_when_repeated(
        self, through: OpenedStore, relay: Relay
    ) -> None:
        broker = through.broker
        await broker.publish(messages(4))
        actions = [ACK, Retry(delay=60.0), Release(delay=60.0), DeadLetter(reason="failed")]
        settlements = [
            Settlement(receipt=one.receipt, action=action)
            for one, action in zip(await claim(broker), actions, strict=True)
        ]
        relay.drop_answers = True
        with pytest.raises(StoreUnavailable):
            await broker.settle(settlements)
        before = await counts(broker)
        assert kinds(await broker.settle(settlements)) == ["done"] * 4
        assert await counts(broker) == before == (0, 2, 0, 1)

    async def test_a_publish_whose_answer_was_lost_changes_nothing_when_repeated(
        self, through: OpenedStore, relay: Relay
    ) -> None:
        relay.drop_answers = True
        with pytest.raises(StoreUnavailable):
            await through.broker.publish(messages(3))
        await through.broker.publish(messages(3))
        assert await counts(through.broker) == (3, 0, 0, 0)

    async def test_nor_does_one_message_whose_answer_was_lost(self, through: OpenedStore, relay: Relay) -> None:
        for _ in range(2):
            relay.drop_answers = True
            with pytest.raises(StoreUnavailable):
                await through.broker.publish([message("a")])
        await eventually(lambda: through.broker.publish([message("a")]))
        assert await counts(through.broker) == (1, 0, 0, 0)

    async def test_a_claim_whose_answer_was_lost_is_handed_out_again_and_is_no_crash(
        self, through: OpenedStore, relay: Relay
    ) -> None:
        broker = through.broker
        await broker.publish(messages(5))
        (suspect,) = await claim(broker, 1)
        await settle(broker, suspect, Release(charge=True))
        relay.drop_answers = True
        with pytest.raises(StoreUnavailable):
            await claim(broker, 5)
        assert await counts(broker) == (0, 0, 5, 0)
        await broker.publish([message("new")])
        again = await claim(broker, 10)
        assert sorted(ids(again)) == [f"job-{n:04}" for n in range(5)]
        assert {one.message.id: (one.crashes, one.receipt.run) for one in again if one.crashes} == {"job-0000": (1, 2)}
        assert {one.receipt.run for one in again if not one.crashes} == {1}
        assert (
            kinds(await broker.settle([Settlement(receipt=one.receipt, action=ACK) for one in again])) == ["done"] * 5
        )
        assert ids(await claim(broker)) == ["new"]

    async def test_what_was_handed_out_again_is_never_more_than_asked_for(
        self, through: OpenedStore, relay: Relay
    ) -> None:
        await through.broker.publish(messages(5))
        relay.drop_answers = True
        with pytest.raises(StoreUnavailable):
            await claim(through.broker, 5)
        found = [len(await claim(through.broker, 2)) for _ in range(3)]
        assert found == [2, 2, 1]

    async def test_an_extension_whose_answer_was_lost_is_done(self, through: OpenedStore, relay: Relay) -> None:
        await through.broker.publish([message("a")])
        delivery = await claim_one(through.broker)
        relay.drop_answers = True
        with pytest.raises(StoreUnavailable):
            await extend(through.broker, delivery)
        assert await extend(through.broker, delivery) == "done"

    async def test_a_server_that_falls_silent_is_given_up_in_time(self, through: OpenedStore, relay: Relay) -> None:
        relay.open.clear()
        async with asyncio.timeout(2.0):
            with pytest.raises(StoreUnavailable, match=r"no answer within 0.5 s"):
                await through.broker.publish([message("a")])
        relay.open.set()
        await eventually(lambda: through.broker.publish([message("a")]))
        assert ids(await claim(through.broker)) == ["a"]

    async def test_waits_and_listeners_outlive_a_line_that_is_cut(
        self, through: OpenedStore, relay: Relay, open_redis: OpenRedis
    ) -> None:
        broker = through.broker
        assert isinstance(broker, RedisBroker)
        stream = broker.listen(["news"])
        listening = asyncio.ensure_future(anext(stream))
        waiting = asyncio.ensure_future(through.backend.wait("a", 30.0))
        await asyncio.sleep(0.1)
        relay.cut()
        await asyncio.wait([listening], timeout=0.2)
        async with open_redis() as other:
            assert isinstance(other.broker, RedisBroker)
            await other.broker.send("news", b"hello", 60.0)
            await other.backend.record([status("a")])
        if listening.done() and listening.exception() is not None:
            listening = asyncio.ensure_future(eventually(lambda: anext(stream)))
        async with asyncio.timeout(PATIENCE):
            assert await listening == ("news", b"hello")
            try:
                assert await waiting == status("a")
            except StoreUnavailable:
                assert await eventually(lambda: through.backend.wait("a", 5.0)) == status("a")


class TestEmptied:
    """FLUSHALL under use."""

    async def test_every_verb_goes_on_after_the_server_was_emptied(
        self, open_redis: OpenRedis, server: RedisServer
    ) -> None:
        async with open_redis() as opened:
            broker = opened.broker
            await broker.publish([*messages(4), message("later", delay=60.0)])
            held = await claim(broker, 3)
            server.command("FLUSHALL")
            assert kinds(await broker.extend([held[0].receipt], LEASE)) == ["lost"]
            actions = [ACK, Retry(delay=0.0), DeadLetter(reason="failed")]
            settlements = [Settlement(receipt=d.receipt, action=a) for d, a in zip(held, actions, strict=True)]
            assert kinds(await broker.settle(settlements)) == ["lost"] * 3
            assert await broker.queues() == []
            assert await claim(broker) == []
            await broker.publish(messages(2))
            for delivery in await claim(broker):
                assert await settle(broker, delivery, ACK) == "done"

    async def test_a_waiting_worker_hears_of_new_work(self, broker: RedisBroker, server: RedisServer) -> None:
        assert await claim(broker) == []
        waiting = asyncio.ensure_future(broker.wait_for_work(DEFAULT, 60.0))
        await asyncio.sleep(0.02)
        server.command("FLUSHALL")
        await broker.publish([message("a")])
        async with asyncio.timeout(PATIENCE):
            await waiting
        assert ids(await claim(broker)) == ["a"]

    async def test_news_of_the_state_are_seen_by_who_read_before(
        self, open_redis: OpenRedis, server: RedisServer
    ) -> None:
        async with open_redis() as opened:
            state: StateStore = opened.state
            seen = await state.put("revoked", "old", b"")
            server.command("FLUSHALL")
            await state.put("revoked", "new", b"")
            assert [record.key for record in await state.list("revoked", since_version=seen)] == ["new"]


class TestLostGroup:
    async def test_what_is_leased_is_not_delivered_again_and_what_is_ready_is(
        self, broker: RedisBroker, server: RedisServer
    ) -> None:
        await broker.publish(messages(1_200))
        held = await claim(broker, 700)
        server.command("XGROUP", "DESTROY", "{test:default}:p5", "stem")
        rest = await claim(broker, 1_000)
        assert sorted(ids([*held, *rest])) == [f"job-{n:04}" for n in range(1_200)]
        verdicts = await broker.settle([Settlement(receipt=d.receipt, action=ACK) for d in [*held, *rest]])
        assert set(kinds(verdicts)) == {"done"}
        assert await claim(broker) == []
        assert await broker.queues() == []

    async def test_depth_and_looks_do_not_need_the_group(self, broker: RedisBroker, server: RedisServer) -> None:
        await broker.publish(messages(3))
        await claim(broker, 1)
        server.command("XGROUP", "DESTROY", "{test:default}:p5", "stem")
        assert await counts(broker) == (2, 0, 1, 0)
        assert ids(await claim(broker)) == ["job-0001", "job-0002"]


class TestLostScripts:
    async def test_every_verb_after_its_script_was_forgotten(self, open_redis: OpenRedis, server: RedisServer) -> None:
        async with open_redis() as opened:
            broker, backend, state = opened.broker, opened.backend, opened.state
            assert isinstance(broker, RedisBroker)
            held: list[Delivery] = []

            async def hold() -> None:
                held.extend(await claim(broker, 2))

            steps: list[Callable[[], Awaitable[Any]]] = [
                lambda: broker.publish(messages(3)),
                hold,
                # One to run at once has a script of its own, which leaves what it knows nothing of to the other.
                lambda: broker.publish([message("one", queue="ones")]),
                lambda: broker.publish([message("one", queue="ones")]),
                lambda: broker.purge("ones"),
                lambda: broker.extend([held[0].receipt], LEASE),
                lambda: broker.wait_for_work(DEFAULT, 0.01),
                lambda: settle(broker, held[0], DeadLetter(reason="failed")),
                lambda: broker.settle_with_results(
                    [Settlement(receipt=held[1].receipt, action=ACK)], [status(held[1].message.id)]
                ),
                lambda: broker.depth(["default"]),
                broker.queues,
                lambda: broker.peek("default"),
                lambda: broker.find(["job-0002"]),
                lambda: broker.move("default", "other"),
                lambda: broker.remove(["job-0002"]),
                lambda: broker.dead_letters("default"),
                lambda: broker.replay(["job-0000"]),
                lambda: broker.purge("default"),
                lambda: broker.purge_dead("default"),
                lambda: broker.send("news", b"", 5.0),
                lambda: backend.record([status("x")]),
                lambda: backend.get(["x"]),
                lambda: backend.wait("x", 1.0),
                lambda: backend.forget(["x"]),
                lambda: state.put("c", "k", b""),
                lambda: state.list("c"),
            ]
            for step in steps:
                assert server.command("SCRIPT", "FLUSH") == b"+OK\r\n"
                await step()
            assert await broker.queues() == []

    async def test_a_listener_whose_place_was_asked_of_a_server_without_scripts(
        self, broker: RedisBroker, server: RedisServer
    ) -> None:
        server.command("SCRIPT", "FLUSH")
        stream = broker.listen(["news"])
        await asyncio.sleep(0.05)
        await broker.send("news", b"hello", 60.0)
        async with asyncio.timeout(PATIENCE):
            assert await anext(stream) == ("news", b"hello")


class TestRestart:
    async def test_what_was_answered_is_there_after_a_kill_and_sessions_come_back(
        self, open_redis: OpenRedis, start_server: StartServer
    ) -> None:
        server = start_server(appendonly="yes", appendfsync="always")
        async with open_redis(url=server.url) as opened:
            broker = opened.broker
            await broker.publish([*messages(3), message("later", delay=0.2)])
            delivery = (await claim(broker, 1))[0]
            server.kill()
            with pytest.raises(StoreUnavailable):
                await broker.publish([message("lost")])
            server.start()
            assert await eventually(lambda: settle(broker, delivery, ACK)) == "done"
            await eventually(lambda: broker.publish([message("after")]))
            await asyncio.sleep(0.3)
            assert sorted(ids(await claim(broker))) == ["after", "job-0001", "job-0002", "later"]

    async def test_a_server_that_comes_back_is_noticed_soon(
        self, open_redis: OpenRedis, start_server: StartServer
    ) -> None:
        server = start_server()
        async with open_redis(url=server.url) as opened:
            server.kill()
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    await opened.broker.depth(["default"])
                await asyncio.sleep(0.02)
            server.start()
            async with asyncio.timeout(2.0):
                await eventually(lambda: opened.broker.depth(["default"]))


class TestUnblocked:
    async def test_a_wait_that_the_server_ends_with_an_error_just_ends(
        self, broker: RedisBroker, server: RedisServer
    ) -> None:
        assert await claim(broker) == []
        waiting = asyncio.ensure_future(broker.wait_for_work(DEFAULT, 60.0))
        await asyncio.sleep(0.05)
        for line in server.command("CLIENT", "LIST").decode().splitlines():
            if "stem-waits" in line:
                number = line.partition("id=")[2].partition(" ")[0]
                assert server.command("CLIENT", "UNBLOCK", number, "ERROR") == b":1\r\n"
        async with asyncio.timeout(0.5):
            await waiting
        await broker.publish([message("a")])
        assert ids(await claim(broker)) == ["a"]
