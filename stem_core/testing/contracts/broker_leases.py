"""Leases: held, renewed, over, and granted anew."""

from __future__ import annotations

from stem_core.contracts import Broker
from stem_core.model import ACK, Receipt, Release, Retry, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    StoreContract,
    claim,
    claim_one,
    extend,
    ids,
    kinds,
    message,
    messages,
    settle,
)


class LeaseCases(StoreContract):
    """A lease ends by the store's clock; extending keeps it, and a crash is counted at the next claim."""

    async def test_own_running_message_is_never_delivered_again(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await claim_one(broker)
        for _ in range(5):
            clock.advance(LEASE / 6)
            assert await claim(broker) == []

    async def test_a_lease_that_is_over_is_granted_to_another(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        clock.advance(LEASE - 1)
        assert await claim(other) == []
        clock.advance(2.0)
        second = await claim_one(other)
        assert second.message == first.message
        assert second.receipt.run == 2
        assert second.receipt.token != first.receipt.token

    async def test_a_lease_that_is_over_is_granted_to_its_own_holder_too(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        clock.advance(LEASE + 1)
        assert (await claim_one(broker)).receipt.run == 2
        assert await settle(broker, first, ACK) == "lost"

    async def test_a_crash_is_counted_at_the_next_claim_and_the_attempt_is_not(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        counted = []
        for _ in range(4):
            delivery = await claim_one(broker)
            counted.append((delivery.attempt, delivery.crashes, delivery.receipt.run))
            clock.advance(LEASE + 1)
        assert counted == [(1, 0, 1), (1, 1, 2), (1, 2, 3), (1, 3, 4)]

    async def test_a_lost_worker_does_not_reset_the_first_delivery(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        clock.advance(LEASE + 1)
        second = await claim_one(broker)
        assert second.first_delivered_at == first.now
        assert second.now == clock.now()

    async def test_crashes_survive_a_retry(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await claim_one(broker)
        clock.advance(LEASE + 1)
        await settle(broker, await claim_one(broker), Retry(delay=0.0))
        delivery = await claim_one(broker)
        assert (delivery.attempt, delivery.crashes) == (2, 1)

    async def test_extending_keeps_the_message(self, broker: Broker, other: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        clock.advance(LEASE - 1)
        assert await extend(broker, delivery) == "done"
        clock.advance(LEASE - 1)
        assert await claim(other) == []
        clock.advance(2.0)
        assert ids(await claim(other)) == ["a"]

    async def test_a_task_of_five_leases_runs_once(self, broker: Broker, other: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        for _ in range(15):
            clock.advance(LEASE / 3)
            assert await extend(broker, delivery) == "done"
            assert await claim(other) == []
            assert await claim(broker) == []
        assert await settle(broker, delivery, ACK) == "done"
        clock.advance(5 * LEASE)
        assert await claim(other) == []

    async def test_extending_after_the_end_is_good_until_another_has_it(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        clock.advance(LEASE + 5)
        assert await extend(broker, delivery) == "done"
        assert await claim(other) == []
        assert await settle(broker, delivery, ACK) == "done"

    async def test_a_lease_that_was_saved_after_its_end_counts_no_crash(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        clock.advance(LEASE + 5)
        assert (await broker.depth(["default"]))["default"].ready == 1
        assert await extend(broker, delivery) == "done"
        assert (await broker.depth(["default"]))["default"].leased == 1
        await settle(broker, delivery, Release())
        assert (await claim_one(broker)).crashes == 0

    async def test_settling_after_the_end_is_good_until_another_has_it(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        clock.advance(LEASE + 5)
        assert await settle(broker, delivery, ACK) == "done"
        assert await claim(other) == []

    async def test_extending_cannot_steal_back(self, broker: Broker, other: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        clock.advance(LEASE + 1)
        second = await claim_one(other)
        assert await extend(broker, first, 10 * LEASE) == "lost"
        assert await settle(other, second, ACK) == "done"

    async def test_a_refused_extension_leaves_the_new_lease_alone(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        clock.advance(LEASE + 1)
        await claim_one(other)
        await extend(broker, first, 10 * LEASE)
        clock.advance(LEASE + 1)
        assert (await claim_one(other)).receipt.run == 3

    async def test_each_delivery_has_the_lease_of_its_claim(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("short"), message("long")])
        assert ids(await claim(broker, 1, lease=5.0)) == ["short"]
        assert ids(await claim(broker, 1, lease=60.0)) == ["long"]
        clock.advance(6.0)
        assert ids(await claim(broker)) == ["short"]
        clock.advance(31.0)
        assert ids(await claim(broker)) == ["short"]

    async def test_an_extension_may_be_shorter_than_the_lease(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker, lease=600.0)
        assert await extend(broker, delivery, 5.0) == "done"
        clock.advance(6.0)
        assert ids(await claim(broker)) == ["a"]

    async def test_extending_some_of_a_batch(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish(messages(4))
        deliveries = await claim(broker)
        clock.advance(LEASE - 1)
        assert kinds(await broker.extend([d.receipt for d in deliveries[:2]], LEASE)) == ["done", "done"]
        clock.advance(2.0)
        got = await broker.receive(Subscription.of("default"), 10, LEASE, suspects=10)
        assert ids(got) == ["job-0002", "job-0003"]

    async def test_one_lost_extension_does_not_touch_the_others(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish(messages(3))
        deliveries = await claim(broker)
        await settle(broker, deliveries[1], ACK)
        clock.advance(LEASE - 1)
        assert kinds(await broker.extend([d.receipt for d in deliveries], LEASE)) == ["done", "lost", "done"]
        clock.advance(2.0)
        assert await claim(other) == []

    async def test_extending_the_same_receipt_twice_in_a_batch(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        receipt = (await claim_one(broker)).receipt
        assert kinds(await broker.extend([receipt, receipt], LEASE)) == ["done", "done"]
        assert (await broker.depth(["default"]))["default"].leased == 1
        clock.advance(LEASE + 1)
        assert (await claim_one(broker)).crashes == 1

    async def test_extending_nothing(self, broker: Broker) -> None:
        assert await broker.extend([], LEASE) == []

    async def test_extending_an_id_that_never_was(self, broker: Broker) -> None:
        receipt = Receipt(id="never", queue="default", run=1, token="1.1")
        assert kinds(await broker.extend([receipt], LEASE)) == ["lost"]

    async def test_leases_that_end_keep_priority_and_come_before_later_ones(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("held", priority=5)])
        await claim_one(broker)
        clock.advance(LEASE + 1)
        await broker.publish([message("urgent", priority=9), message("later", priority=5)])
        assert ids(await claim(broker)) == ["urgent", "held", "later"]

    async def test_a_session_that_closes_does_not_end_its_leases(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        assert await extend(other, delivery) == "done"
        assert await settle(other, delivery, ACK) == "done"
