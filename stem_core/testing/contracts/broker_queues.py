"""Depth, purge and the list of queues."""

from __future__ import annotations

from stem_core.contracts import Broker
from stem_core.model import ACK, DeadLetter, QueueDepth, Release, Retry
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    StoreContract,
    claim,
    claim_one,
    extend,
    ids,
    message,
    messages,
    settle,
)


class QueueCases(StoreContract):
    """Looking at whole queues, and emptying them."""

    async def test_the_depth_of_a_queue_that_never_was(self, broker: Broker) -> None:
        assert await broker.depth(["never"]) == {"never": QueueDepth()}

    async def test_the_depth_of_no_queue(self, broker: Broker) -> None:
        assert await broker.depth([]) == {}

    async def test_depth_counts_by_state(self, broker: Broker) -> None:
        await broker.publish([*messages(6), message("later", delay=60.0)])
        first, second, *_ = await claim(broker, 3)
        await settle(broker, first, DeadLetter(reason="failed"))
        await settle(broker, second, Retry(delay=60.0))
        depth = (await broker.depth(["default"]))["default"]
        assert (depth.ready, depth.delayed, depth.leased, depth.dead) == (3, 2, 1, 1)

    async def test_depth_of_several_queues(self, broker: Broker) -> None:
        await broker.publish([*messages(2, queue="a", prefix="a"), *messages(3, queue="b", prefix="b")])
        depths = await broker.depth(["b", "a", "c"])
        assert {name: depth.ready for name, depth in depths.items()} == {"a": 2, "b": 3, "c": 0}

    async def test_depth_moves_with_the_clock(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("leased"), message("delayed", delay=10.0)])
        await claim_one(broker)
        clock.advance(LEASE + 1)
        depth = (await broker.depth(["default"]))["default"]
        assert (depth.ready, depth.delayed, depth.leased) == (2, 0, 0)

    async def test_the_age_of_the_oldest_ready_message(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("old", priority=1)])
        clock.advance(7.0)
        await broker.publish([message("new", priority=9)])
        clock.advance(3.0)
        assert (await broker.depth(["default"]))["default"].oldest_ready_age == 10.0

    async def test_the_age_counts_from_when_it_became_ready(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a", delay=10.0)])
        assert (await broker.depth(["default"]))["default"].oldest_ready_age is None
        clock.advance(14.0)
        assert (await broker.depth(["default"]))["default"].oldest_ready_age == 4.0

    async def test_the_age_of_an_ended_lease_counts_from_its_end(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await claim_one(broker)
        assert (await broker.depth(["default"]))["default"].oldest_ready_age is None
        clock.advance(LEASE + 5)
        assert (await broker.depth(["default"]))["default"].oldest_ready_age == 5.0

    async def test_every_message_is_counted_once(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message(f"m{n}", delay=float(n % 3) * 5) for n in range(12)])
        for _ in range(8):
            clock.advance(4.0)
            for n, delivery in enumerate(await claim(broker, 3)):
                if n == 0:
                    await settle(broker, delivery, Release())
                elif n == 1:
                    await settle(broker, delivery, Retry(delay=3.0))
            depth = (await broker.depth(["default"]))["default"]
            assert depth.ready + depth.delayed + depth.leased + depth.dead == 12

    async def test_purge_removes_ready_and_delayed(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([*messages(3), message("later", delay=60.0), message("other", queue="other")])
        assert await broker.purge("default") == 4
        clock.advance(120.0)
        assert await claim(broker) == []
        assert ids(await claim(broker, queue="other")) == ["other"]

    async def test_purge_leaves_leased_and_dead(self, broker: Broker) -> None:
        await broker.publish([message("dead"), message("leased"), message("ready")])
        dead, leased = await claim(broker, 2)
        await settle(broker, dead, DeadLetter(reason="failed"))
        assert await broker.purge("default") == 1
        depth = (await broker.depth(["default"]))["default"]
        assert (depth.ready, depth.leased, depth.dead) == (0, 1, 1)
        assert await settle(broker, leased, ACK) == "done"

    async def test_purge_of_an_empty_queue(self, broker: Broker) -> None:
        assert await broker.purge("never") == 0

    async def test_what_was_purged_may_be_published_again(self, broker: Broker) -> None:
        await broker.publish([message("a", payload=b"first")])
        await broker.purge("default")
        await broker.publish([message("a", payload=b"second")])
        assert (await claim_one(broker)).message.payload == b"second"

    async def test_the_run_goes_on_after_a_purge(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Release())
        await broker.purge("default")
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        assert (delivery.receipt.run, delivery.attempt) == (2, 1)

    async def test_a_message_whose_lease_is_over_is_purged_and_its_receipt_lost(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        clock.advance(LEASE + 1)
        assert await broker.purge("default") == 1
        assert await extend(broker, delivery) == "lost"
        assert await settle(broker, delivery, ACK) == "lost"

    async def test_queues_lists_what_holds_anything(self, broker: Broker) -> None:
        await broker.publish([message(n, queue=n) for n in ("ready", "leased", "dead", "gone")])
        await broker.publish([message("delayed", queue="delayed", delay=60.0)])
        await claim_one(broker, queue="leased")
        await settle(broker, await claim_one(broker, queue="dead"), DeadLetter(reason="failed"))
        await settle(broker, await claim_one(broker, queue="gone"), ACK)
        assert await broker.queues() == ["dead", "delayed", "leased", "ready"]

    async def test_asking_for_the_depth_makes_no_queue(self, broker: Broker) -> None:
        await broker.depth(["asked"])
        await claim(broker, queue="received")
        assert await broker.queues() == []
