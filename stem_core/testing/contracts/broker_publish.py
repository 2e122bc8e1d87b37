"""Publishing: stored as it is, once an id."""

from __future__ import annotations

import asyncio

from stem_core.contracts import Broker
from stem_core.model import ACK, DeadLetter, Message, Release, Retry
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    WINDOW,
    OpenBroker,
    StoreContract,
    claim,
    claim_one,
    ids,
    message,
    messages,
    settle,
)


class PublishCases(StoreContract):
    """``publish`` is idempotent by id and keeps the bytes."""

    async def test_what_is_published_is_delivered_byte_for_byte(self, broker: Broker) -> None:
        sent = Message(
            id="0190b3c4-aaaa-7bbb-8ccc-0123456789ab",
            queue="default",
            priority=7,
            header=b'{"v":1,"n":12345678901234567890}',
            payload=b'[["\xc3\xa9\\u0000",1.0,[],{}],{}]',
            signature=bytes(range(256)),
        )
        await broker.publish([sent])
        assert (await claim_one(broker)).message == sent

    async def test_bytes_that_are_no_text_survive(self, broker: Broker) -> None:
        sent = Message(id="raw", queue="default", priority=5, header=bytes(range(256)), payload=b"\x00\xff\x00")
        await broker.publish([sent])
        got = (await claim_one(broker)).message
        assert (got.header, got.payload, got.signature) == (bytes(range(256)), b"\x00\xff\x00", None)

    async def test_a_large_message_survives(self, broker: Broker) -> None:
        await broker.publish([message("large", payload=b"x" * self.large)])
        assert len((await claim_one(broker)).message.payload) == self.large

    async def test_publishing_nothing_does_nothing(self, broker: Broker) -> None:
        await broker.publish([])
        assert await broker.queues() == []

    async def test_a_batch_over_several_queues(self, broker: Broker) -> None:
        await broker.publish([message("a", queue="one"), message("b", queue="two"), message("c", queue="one")])
        assert ids(await claim(broker, queue="one")) == ["a", "c"]
        assert ids(await claim(broker, queue="two")) == ["b"]

    async def test_an_id_that_is_queued_changes_nothing(self, broker: Broker) -> None:
        await broker.publish([message("a", payload=b"first")])
        await broker.publish([message("a", payload=b"second", priority=9)])
        assert (await claim_one(broker)).message.payload == b"first"

    async def test_an_id_that_is_queued_elsewhere_changes_nothing(self, broker: Broker) -> None:
        await broker.publish([message("a", queue="one")])
        await broker.publish([message("a", queue="two")])
        assert ids(await claim(broker, queue="one")) == ["a"]
        assert await claim(broker, queue="two") == []

    async def test_an_id_twice_in_one_batch_is_one_message(self, broker: Broker) -> None:
        await broker.publish([message("a"), message("b"), message("a")])
        assert ids(await claim(broker)) == ["a", "b"]

    async def test_an_id_that_is_delayed_keeps_its_delay(self, broker: Broker) -> None:
        await broker.publish([message("a", delay=60.0)])
        await broker.publish([message("a")])
        assert await claim(broker) == []

    async def test_an_id_that_is_leased_changes_nothing(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        await broker.publish([message("a")])
        assert await claim(broker) == []
        assert await settle(broker, delivery, ACK) == "done"
        assert await claim(broker) == []

    async def test_an_id_whose_lease_is_over_changes_nothing(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a", payload=b"first")])
        await claim_one(broker)
        clock.advance(LEASE + 1)
        await broker.publish([message("a", payload=b"second")])
        again = await claim_one(broker)
        assert (again.message.payload, again.crashes) == (b"first", 1)

    async def test_an_id_that_waits_for_a_retry_changes_nothing(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        assert await settle(broker, await claim_one(broker), Retry(delay=60.0)) == "done"
        await broker.publish([message("a")])
        assert await claim(broker) == []

    async def test_an_id_that_was_released_changes_nothing(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Release())
        await broker.publish([message("a")])
        assert (await claim_one(broker)).receipt.run == 2

    async def test_an_id_that_is_dead_changes_nothing(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), DeadLetter(reason="failed"))
        clock.advance(WINDOW + 1)
        await broker.publish([message("a")])
        assert await claim(broker) == []
        assert (await broker.depth(["default"]))["default"].dead == 1

    async def test_an_id_that_finished_within_the_dedupe_window_changes_nothing(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), ACK)
        clock.advance(WINDOW - 1)
        await broker.publish([message("a")])
        assert await claim(broker) == []

    async def test_an_id_that_finished_before_the_dedupe_window_is_new(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a", payload=b"first")])
        await settle(broker, await claim_one(broker), ACK)
        clock.advance(WINDOW + 1)
        await broker.publish([message("a", payload=b"second")])
        again = await claim_one(broker)
        assert (again.message.payload, again.attempt, again.crashes) == (b"second", 1, 0)

    async def test_the_dedupe_window_counts_from_the_end_not_from_the_publish(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a", delay=WINDOW)])
        clock.advance(WINDOW + 1)
        await settle(broker, await claim_one(broker), ACK)
        clock.advance(WINDOW - 1)
        await broker.publish([message("a")])
        assert await claim(broker) == []

    async def test_the_dedupe_window_is_that_of_the_session_that_settles(
        self, open_broker: OpenBroker, clock: FakeClock
    ) -> None:
        async with open_broker(dedupe_window=5.0) as broker:
            await broker.publish([message("a")])
            await settle(broker, await claim_one(broker), ACK)
            await broker.publish([message("a")])
            assert await claim(broker) == []
            clock.advance(6.0)
            await broker.publish([message("a")])
            assert ids(await claim(broker)) == ["a"]

    async def test_a_batch_with_some_known_ids_adds_the_others(self, broker: Broker) -> None:
        await broker.publish([message("b")])
        await broker.publish([message("a"), message("b"), message("c")])
        assert sorted(ids(await claim(broker))) == ["a", "b", "c"]

    async def test_the_same_batch_from_several_at_once_is_one(self, broker: Broker, other: Broker) -> None:
        batch = messages(50)
        await asyncio.gather(*(b.publish(batch) for b in (broker, other, broker, other)))
        assert sorted(ids(await claim(broker, 500))) == [sent.id for sent in batch]

    async def test_what_one_session_publishes_another_receives(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        assert ids(await claim(other)) == ["a"]

    async def test_messages_outlive_the_session_that_published_them(
        self, open_broker: OpenBroker, broker: Broker
    ) -> None:
        async with open_broker() as passing:
            await passing.publish([message("a")])
        assert ids(await claim(broker)) == ["a"]
