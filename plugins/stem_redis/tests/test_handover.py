"""A message that is published while a session waits is granted to it by the publishing script, and never lost there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest

from stem_core.contracts import Broker
from stem_core.model import ACK, DeadLetter, Release, Retry, Settlement, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, OpenedStore, claim, ids, kinds, message, messages
from stem_redis.broker import RedisBroker
from stem_redis.settings import RedisSettings
from support.redis_server import RedisServer

OpenRedis = Callable[..., AbstractAsyncContextManager[OpenedStore]]
DEFAULT, BOTH = Subscription.of("default"), Subscription.of("default", "other")
#: As in publish_one.lua, in seconds.
UNCONFIRMED = 2.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def brokers(open_redis: OpenRedis, clock: FakeClock) -> AsyncIterator[list[RedisBroker]]:
    """A worker, another one, and a producer, each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [
            (await stack.enter_async_context(open_redis(clock, settings=RedisSettings(call_timeout=5.0 + n)))).broker
            for n in range(3)
        ]  # type: ignore[misc]


def calls(server: RedisServer, command: str) -> int:
    """How often clients and scripts have called a command."""
    for line in server.command("INFO", "commandstats").splitlines():
        if line.startswith(f"cmdstat_{command}:calls=".encode()):
            return int(line.split(b"=")[1].split(b",")[0])
    return 0


async def waiting(server: RedisServer, broker: Broker, subscription: Subscription = DEFAULT) -> asyncio.Task[None]:
    """A wait behind a claim that has made an offer."""
    before = {queue: offers(server, queue) for queue in subscription.queues}
    for _ in range(200):
        # Not before the server knows that the session listens.
        assert await broker.receive(subscription, 10, LEASE) == []
        wait = asyncio.create_task(broker.wait_for_work(subscription, 60.0))
        await asyncio.sleep(0.01)
        assert not wait.done()
        if all(offers(server, queue) > count for queue, count in before.items()):
            return wait
        wait.cancel()
        await asyncio.wait((wait,))
    raise AssertionError("no offer was made")


def offers(server: RedisServer, queue: str = "default") -> int:
    """How many offers of a queue stand."""
    return int(server.command("ZCOUNT", f"{{test:{queue}}}:offers", "(0", "+inf").strip(b":\r\n"))


async def handed(server: RedisServer, worker: Broker, producer: Broker, id: str) -> None:
    """The producer hands a message to the worker, whose wait ends."""
    wait = await waiting(server, worker)
    before = calls(server, "rpush")
    await producer.publish([message(id)])
    async with asyncio.timeout(5):
        await wait
    # Nobody was woken to claim.
    assert calls(server, "rpush") == before


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds; it will soon."""
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come true")


class TestHandingOver:
    async def test_what_is_published_to_a_session_that_waits_is_received_without_a_claim(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        worker, other, producer = brokers
        await handed(server, worker, producer, "a")
        before = calls(server, "time")
        (one,) = await worker.receive(DEFAULT, 10, LEASE)
        # One script at most: that which confirms it. A claim takes more.
        assert calls(server, "time") <= before + 1
        assert (one.message.id, one.message.payload, one.message.priority) == ("a", message("a").payload, 5)
        assert (one.attempt, one.crashes, one.receipt.run) == (1, 0, 1)
        assert await claim(other) == []
        assert await claim(worker) == []
        assert kinds(await worker.settle([Settlement(receipt=one.receipt, action=ACK)])) == ["done"]
        assert await worker.queues() == []

    async def test_it_has_the_lease_that_was_asked_for(
        self, brokers: list[RedisBroker], server: RedisServer, clock: FakeClock
    ) -> None:
        worker, other, producer = brokers
        await handed(server, worker, producer, "a")
        assert ids(await worker.receive(DEFAULT, 10, LEASE)) == ["a"]
        assert (await worker.depth(["default"]))["default"].leased == 1
        clock.advance(LEASE - 1)
        assert await claim(other) == []
        clock.advance(1)
        again = await claim(other)
        assert [(one.message.id, one.crashes, one.receipt.run) for one in again] == [("a", 1, 2)]

    @pytest.mark.parametrize(
        "action", [ACK, Retry(delay=0.0), Retry(delay=9.0), Release(), Release(charge=True), DeadLetter(reason="x")]
    )
    async def test_it_is_settled_before_it_is_confirmed(
        self, brokers: list[RedisBroker], server: RedisServer, action: object, clock: FakeClock
    ) -> None:
        worker, other, producer = brokers
        await handed(server, worker, producer, "a")
        (one,) = await worker.receive(DEFAULT, 10, LEASE)
        settlement = Settlement(receipt=one.receipt, action=action)  # type: ignore[arg-type]
        assert kinds(await worker.settle([settlement])) == ["done"]
        assert kinds(await worker.settle([settlement])) == ["done"]
        clock.advance(10)
        assert ids(await claim(other)) == (["a"] if isinstance(action, Retry | Release) else [])

    async def test_more_than_one_is_handed_to_more_than_one(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        *workers, producer = brokers
        waits = [await waiting(server, worker) for worker in workers]
        for id in ("a", "b"):
            await producer.publish([message(id)])
        async with asyncio.timeout(5):
            await asyncio.gather(*waits)
        found = [await worker.receive(DEFAULT, 10, LEASE) for worker in workers]
        assert sorted(one.message.id for some in found for one in some) == ["a", "b"]
        assert [len(some) for some in found] == [1, 1]

    async def test_who_has_waited_longest_is_the_first(
        self, brokers: list[RedisBroker], server: RedisServer, clock: FakeClock
    ) -> None:
        *workers, producer = brokers
        waits = []
        for worker in workers:
            assert await claim(worker) == []
            waits.append(await waiting(server, worker))
            clock.advance(0.1)
        for n, turn in enumerate((0, 1, 0, 1)):
            await producer.publish([message(f"m{n}")])
            async with asyncio.timeout(5):
                await waits[turn]
            assert ids(await workers[turn].receive(DEFAULT, 10, LEASE)) == [f"m{n}"]
            # Says that it waits again.
            assert await claim(workers[turn]) == []
            waits[turn] = asyncio.create_task(workers[turn].wait_for_work(DEFAULT, 60.0))
            await asyncio.sleep(0)
            clock.advance(0.1)
        for wait in waits:
            wait.cancel()

    async def test_what_waits_already_goes_first(self, brokers: list[RedisBroker], server: RedisServer) -> None:
        worker, _, producer = brokers
        wait = await waiting(server, worker)
        await producer.publish(messages(3, priority=9))
        await producer.publish([message("later", priority=1)])
        await wait
        assert ids(await claim(worker)) == ["job-0000", "job-0001", "job-0002", "later"]

    async def test_a_large_message_is_claimed(self, brokers: list[RedisBroker], server: RedisServer) -> None:
        worker, _, producer = brokers
        wait = await waiting(server, worker)
        await producer.publish([message("large", payload=b"x" * 20_000)])
        await wait
        assert server.command("HEXISTS", "{test:default}:aside", "large") == b":0\r\n"
        assert ids(await claim(worker)) == ["large"]

    async def test_what_is_published_behind_a_large_message_is_not_handed_over_before_it(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        worker, _, producer = brokers
        wait = await waiting(server, worker)
        await producer.publish([message("large", payload=b"x" * 20_000)])
        await producer.publish([message("small")])
        assert server.command("HLEN", "{test:default}:aside") == b":0\r\n"
        await wait
        assert ids([*await claim(worker), *await claim(worker)]) == ["large", "small"]

    async def test_an_offer_for_several_queues_outlives_a_claim_of_one_of_them(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        """So a worker asks whose queues have slots of their own."""
        worker, _, producer = brokers
        wait = await waiting(server, worker, BOTH)
        wait.cancel()
        for n in range(3):
            assert await worker.receive(BOTH.turned(n), 10, LEASE) == []
            assert await worker.receive(Subscription.of("other"), 10, LEASE) == []
            wait = asyncio.create_task(worker.wait_for_work(BOTH, 60.0))
            await asyncio.sleep(0.01)
            # One a session; nobody knows of another, so what is handed over on it would lie there.
            assert [offers(server, queue) for queue in BOTH.queues] == [1, 1]
            await producer.publish([message(f"job-{n}")])
            await wait
            assert ids(await worker.receive(BOTH, 10, LEASE)) == [f"job-{n}"]


class TestNotTaken:
    """The session was handed a message, and does not receive it."""

    async def test_who_is_stopped_loses_it_soon_and_no_crash_is_counted(
        self, brokers: list[RedisBroker], server: RedisServer, clock: FakeClock
    ) -> None:
        worker, other, producer = brokers
        wait = await waiting(server, worker)
        # As if the process was stopped: it reads nothing.
        worker._store.ears._wanted[worker._claimer._handover._channel].clear()
        await producer.publish([message("a")])
        assert await claim(other) == []
        clock.advance(UNCONFIRMED)
        (one,) = await claim(other)
        assert (one.message.id, one.crashes, one.attempt, one.receipt.run) == ("a", 0, 1, 2)
        assert kinds(await other.settle([Settlement(receipt=one.receipt, action=ACK)])) == ["done"]
        wait.cancel()

    async def test_a_receipt_that_was_not_confirmed_is_lost_with_its_time(
        self, brokers: list[RedisBroker], server: RedisServer, clock: FakeClock
    ) -> None:
        worker, other, producer = brokers
        await handed(server, worker, producer, "a")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker._store.commands, "post", lambda *_: True)
            (late,) = await worker.receive(DEFAULT, 10, LEASE)
        clock.advance(UNCONFIRMED)
        (one,) = await claim(other)
        assert kinds(await worker.settle([Settlement(receipt=late.receipt, action=ACK)])) == ["lost"]
        assert kinds(await worker.extend([late.receipt], LEASE)) == ["lost"]
        assert kinds(await other.settle([Settlement(receipt=one.receipt, action=ACK)])) == ["done"]

    async def test_a_session_whose_connection_is_gone_is_handed_nothing(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        worker, other, producer = brokers
        wait = await waiting(server, worker)
        await worker._store.ears.close()
        channel = worker._claimer._handover._channel
        await until(lambda: server.command("PUBSUB", "NUMSUB", channel).endswith(b":0\r\n"))
        await producer.publish([message("a")])
        assert ids(await claim(other)) == ["a"]
        wait.cancel()

    async def test_a_lost_publication_is_found_by_the_next_claim(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        worker, _, producer = brokers
        wait = await waiting(server, worker)
        worker._store.ears._wanted[worker._claimer._handover._channel].clear()
        await producer.publish([message("a")])
        wait.cancel()
        (one,) = await worker.receive(DEFAULT, 10, LEASE)
        assert (one.message.id, one.crashes, one.receipt.run) == ("a", 0, 1)
        assert kinds(await worker.settle([Settlement(receipt=one.receipt, action=ACK)])) == ["done"]

    async def test_calls_at_once_find_what_was_lost_once(self, brokers: list[RedisBroker]) -> None:
        worker, _, producer = brokers
        await producer.publish(messages(3))
        granted = [one for _ in range(3) for one in await worker.receive(DEFAULT, 1, LEASE)]
        # As if none of the replies had come.
        claims = [one.receipt.token.rsplit("/", 1)[1].removesuffix(".1") for one in granted]
        worker._claimer._unsure = dict.fromkeys(claims, DEFAULT.queues)
        found = await asyncio.gather(*(worker.receive(DEFAULT, 10, LEASE) for _ in range(3)))
        assert sorted(ids([one for some in found for one in some])) == sorted(ids(granted))

    async def test_a_wait_that_was_left_gives_it_back_at_once(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        worker, other, producer = brokers
        await handed(server, worker, producer, "a")
        assert await claim(other) == []
        # The worker does not receive: it stops, or its queue is paused.
        async with asyncio.timeout(5):
            while not (found := await claim(other)):
                await other.wait_for_work(DEFAULT, 60.0)
        assert [(one.message.id, one.crashes, one.receipt.run) for one in found] == [("a", 0, 2)]
        assert await claim(worker) == []

    async def test_who_has_left_a_wait_is_handed_nothing(self, brokers: list[RedisBroker], server: RedisServer) -> None:
        worker, other, producer = brokers
        wait = await waiting(server, worker)
        wait.cancel()
        await until(lambda: offers(server) == 0)
        await producer.publish([message("a")])
        assert ids(await claim(other)) == ["a"]

    async def test_a_session_that_closes_gives_it_back(
        self, open_redis: OpenRedis, brokers: list[RedisBroker], server: RedisServer, clock: FakeClock
    ) -> None:
        _, other, producer = brokers
        async with open_redis(clock, settings=RedisSettings(call_timeout=9.0)) as closing:
            await handed(server, closing.broker, producer, "a")
        # Sent before its connection was closed, but perhaps not read yet.
        await until(lambda: server.command("HLEN", "{test:default}:aside") == b":0\r\n")
        assert ids(await claim(other)) == ["a"]

    async def test_a_queue_that_is_not_wanted_any_more_gets_it_back(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        worker, other, producer = brokers
        wait = await waiting(server, worker, BOTH)
        await producer.publish([message("a", queue="other")])
        await wait
        assert await claim(worker) == []
        assert ids(await other.receive(BOTH, 10, LEASE)) == ["a"]

    async def test_who_stood_still_claims_it_anew(self, brokers: list[RedisBroker], server: RedisServer) -> None:
        worker, _, producer = brokers
        await handed(server, worker, producer, "a")
        offer = worker._claimer._handover._offer
        assert offer is not None
        offer.at -= UNCONFIRMED
        (one,) = await worker.receive(DEFAULT, 10, LEASE)
        assert (one.message.id, one.crashes, one.receipt.run) == ("a", 0, 2)

    async def test_what_comes_after_the_offer_was_taken_back_is_given_back(
        self, brokers: list[RedisBroker], server: RedisServer
    ) -> None:
        worker, other, producer = brokers
        wait = await waiting(server, worker)
        handover, late = worker._claimer._handover, list[bytes]()
        worker._store.ears._wanted[handover._channel] = {late.append}
        await producer.publish([message("a")])
        await until(lambda: bool(late))
        wait.cancel()
        await until(lambda: server.command("EXISTS", "{test:default}:offers") == b":0\r\n")
        assert await claim(other) == []
        handover._heard(late[0])
        await until(lambda: server.command("HLEN", "{test:default}:aside") == b":0\r\n")
        assert [(one.message.id, one.crashes) for one in await claim(other)] == [("a", 0)]

    async def test_what_comes_before_the_claim_that_made_the_offer_has_ended_does_not_lie_there(
        self, brokers: list[RedisBroker], server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker, _, producer = brokers
        (await waiting(server, worker)).cancel()
        run = worker._store.run

        async def slow(*call: Any, **options: Any) -> Any:
            reply = await run(*call, **options)
            await producer.publish([message("a")])
            await until(lambda: server.command("HLEN", "{test:default}:aside") == b":0\r\n")
            return reply

        with monkeypatch.context() as patch:
            patch.setattr(worker._store, "run", slow)
            assert await claim(worker) == []
        async with asyncio.timeout(0.5):
            await worker.wait_for_work(DEFAULT, 60.0)
        assert ids(await claim(worker)) == ["a"]


class TestConnections:
    """Either may be lost at any moment, or be forbidden."""

    @pytest.mark.parametrize("known", [True, False], ids=["known before", "seen when it confirms"])
    async def test_what_is_received_is_confirmed_though_the_connection_is_lost(
        self, brokers: list[RedisBroker], server: RedisServer, clock: FakeClock, known: bool
    ) -> None:
        worker, other, producer = brokers
        await handed(server, worker, producer, "a")
        connection = worker._store.commands.connection
        assert connection is not None
        assert connection._transport is not None
        if known:
            connection.close()
        else:
            connection._transport.abort()
        assert ids(await worker.receive(DEFAULT, 10, LEASE)) == ["a"]
        await until(lambda: b"|l|" in server.command("HGET", "{test}:jobs", "a"))
        clock.advance(UNCONFIRMED)
        assert await claim(other) == []

    @pytest.mark.parametrize("protocol", [2, 3])
    async def test_a_user_who_may_not_listen_claims_when_woken(
        self,
        open_redis: OpenRedis,
        start_server: Callable[..., RedisServer],
        caplog: pytest.LogCaptureFixture,
        protocol: int,
    ) -> None:
        server = start_server()
        server.command("ACL", "SETUSER", "stem", "on", ">hunter2", "~*", "+@all", "resetchannels")
        url = f"redis+unix://stem:hunter2@{server.path}"
        async with open_redis(url=url, settings=RedisSettings(protocol=protocol)) as opened:
            for _ in range(3):
                assert await claim(opened.broker) == []
                await opened.broker.wait_for_work(DEFAULT, 0.1)
            assert server.info("stats", "total_connections_received") < 20
            assert [record for record in caplog.records if record.name == "asyncio"] == []
            wait = asyncio.create_task(opened.broker.wait_for_work(DEFAULT, 60.0))
            await asyncio.sleep(0)
            await opened.broker.publish([message("a")])
            await wait
            assert ids(await claim(opened.broker)) == ["a"]

    async def test_a_user_who_may_not_publish_on_the_channel_wakes_who_waits(
        self, open_redis: OpenRedis, start_server: Callable[..., RedisServer]
    ) -> None:
        server = start_server()
        server.command("ACL", "SETUSER", "stem", "on", ">hunter2", "~*", "+@all", "resetchannels")
        async with (
            open_redis(url=server.url) as worker,
            open_redis(url=f"redis+unix://stem:hunter2@{server.path}") as producer,
        ):
            wait = await waiting(server, worker.broker)
            await producer.broker.publish([message("a")])
            await wait
            assert server.command("EXISTS", "{test:default}:aside") == b":0\r\n"
            assert ids(await claim(worker.broker)) == ["a"]
