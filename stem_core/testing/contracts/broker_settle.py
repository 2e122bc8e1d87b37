"""Settling: what each action does, and that a repeated settlement does nothing more."""

from __future__ import annotations

import pytest

from stem_core.contracts import Broker
from stem_core.model import ACK, Action, DeadLetter, Release, Retry, Settlement, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    WINDOW,
    StoreContract,
    claim,
    claim_one,
    counts,
    ids,
    kinds,
    message,
    messages,
    settle,
)
from stem_core.testing.contracts.broker_fence import ACTIONS


class SettleCases(StoreContract):
    """Ack, retry, release and dead-letter, once and again."""

    async def test_settling_nothing(self, broker: Broker) -> None:
        assert await broker.settle([]) == []

    async def test_an_acked_message_is_gone(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        assert await settle(broker, await claim_one(broker), ACK) == "done"
        clock.advance(10 * LEASE)
        assert await claim(broker) == []
        assert await broker.queues() == []

    async def test_a_retry_counts_the_attempt(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        attempts = []
        for _ in range(4):
            delivery = await claim_one(broker)
            attempts.append((delivery.attempt, delivery.crashes))
            await settle(broker, delivery, Retry(delay=0.0))
        assert attempts == [(1, 0), (2, 0), (3, 0), (4, 0)]

    async def test_a_retry_is_a_new_first_delivery(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Retry(delay=5.0))
        clock.advance(20.0)
        assert (await claim_one(broker)).first_delivered_at == clock.now()

    async def test_a_retry_leaves_the_message_as_it_was_sealed(self, broker: Broker) -> None:
        sent = message("a", priority=8, payload=b'[[1.0],{"x":[]}]')
        await broker.publish([sent])
        await settle(broker, await claim_one(broker), Retry(delay=0.0))
        assert (await claim_one(broker)).message == sent

    async def test_a_release_is_not_counted(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        clock.advance(1.0)
        assert await settle(broker, first, Release()) == "done"
        second = await claim_one(broker)
        assert (second.attempt, second.crashes) == (1, 0)
        assert second.first_delivered_at == first.now

    async def test_a_charged_release_counts_a_crash(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Release(charge=True))
        delivery = await claim_one(broker)
        assert (delivery.attempt, delivery.crashes) == (1, 1)

    async def test_a_released_message_is_there_for_others_at_once(self, broker: Broker, other: Broker) -> None:
        await broker.publish(messages(3))
        for delivery in await claim(broker):
            await settle(broker, delivery, Release())
        assert len(await claim(other)) == 3

    async def test_a_release_with_a_delay_waits(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Release(delay=10.0))
        clock.advance(9.0)
        assert await claim(broker) == []
        clock.advance(2.0)
        assert (await claim_one(broker)).attempt == 1

    async def test_a_retried_message_keeps_its_priority(self, broker: Broker) -> None:
        await broker.publish([message("a", priority=9)])
        await settle(broker, await claim_one(broker), Retry(delay=0.0))
        await broker.publish([message("b", priority=5)])
        assert ids(await claim(broker)) == ["a", "b"]

    async def test_a_dead_lettered_message_is_not_delivered(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        assert await settle(broker, await claim_one(broker), DeadLetter(reason="failed", detail="x")) == "done"
        clock.advance(10 * LEASE)
        assert await claim(broker) == []
        assert (await broker.depth(["default"]))["default"].dead == 1

    async def test_a_batch_of_all_actions(self, broker: Broker) -> None:
        await broker.publish(messages(5))
        actions: list[Action] = [ACK, Retry(delay=60.0), Release(), DeadLetter(reason="failed")]
        deliveries = await claim(broker)
        settlements = [Settlement(receipt=d.receipt, action=a) for d, a in zip(deliveries, actions, strict=False)]
        assert kinds(await broker.settle(settlements)) == ["done"] * 4
        depth = (await broker.depth(["default"]))["default"]
        assert (depth.ready, depth.delayed, depth.leased, depth.dead) == (1, 1, 1, 1)

    async def test_settlements_of_several_queues(self, broker: Broker) -> None:
        await broker.publish([message("a", queue="one"), message("b", queue="two")])
        deliveries = [*await claim(broker, queue="one"), *await claim(broker, queue="two")]
        settlements = [Settlement(receipt=d.receipt, action=ACK) for d in deliveries]
        assert kinds(await broker.settle(settlements)) == ["done", "done"]
        assert await broker.queues() == []

    async def test_another_session_may_settle(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        assert await settle(other, await claim_one(broker), ACK) == "done"
        assert await broker.queues() == []

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_settled_again_is_done_and_changes_nothing(self, broker: Broker, action: Action) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        assert await settle(broker, delivery, action) == "done"
        before = await counts(broker)
        assert await settle(broker, delivery, action) == "done"
        assert await counts(broker) == before

    @pytest.mark.parametrize("action", [param for param in ACTIONS if param.id not in {"ack", "dead-letter"}])
    async def test_settled_again_after_another_has_it_is_done_and_changes_nothing(
        self, broker: Broker, other: Broker, clock: FakeClock, action: Action
    ) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        await settle(broker, first, action)
        clock.advance(61.0)
        second = await claim_one(other)
        assert await settle(broker, first, action) == "done"
        assert (await broker.depth(["default"]))["default"].leased == 1
        assert await settle(other, second, ACK) == "done"
        assert await settle(broker, first, action) == "done"

    async def test_settled_again_after_several_others_had_it(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        deliveries = []
        for _ in range(3):
            deliveries.append(await claim_one(broker))
            await settle(broker, deliveries[-1], Retry(delay=0.0))
        last = await claim_one(broker)
        assert [await settle(broker, d, Retry(delay=0.0)) for d in deliveries] == ["done"] * 3
        assert await settle(broker, last, ACK) == "done"
        assert last.attempt == 4

    async def test_the_same_receipt_twice_in_a_batch(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        settlement = Settlement(receipt=(await claim_one(broker)).receipt, action=Retry(delay=0.0))
        assert kinds(await broker.settle([settlement, settlement])) == ["done", "done"]
        assert (await claim_one(broker)).attempt == 2

    async def test_settled_again_late_in_the_dedupe_window(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a"), message("b")])
        first, second = await claim(broker)
        await settle(broker, first, ACK)
        await settle(broker, second, Release(delay=2 * WINDOW))
        clock.advance(WINDOW - 1)
        assert await settle(broker, first, ACK) == "done"
        assert await settle(broker, second, Release(delay=2 * WINDOW)) == "done"

    async def test_poison_is_quarantined_after_its_crashes_and_the_others_go_on(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("poison"), *messages(5)])
        finished: list[str] = []
        for _ in range(6):
            deliveries = await broker.receive(Subscription.of("default"), 3, LEASE)
            for delivery in deliveries:
                if delivery.message.id != "poison":
                    finished.append(delivery.message.id)
                    await settle(broker, delivery, ACK)
                elif delivery.crashes >= 3:
                    await settle(broker, delivery, DeadLetter(reason="max-crashes"))
            clock.advance(LEASE + 1)
        assert sorted(finished) == [f"job-{n:04}" for n in range(5)]
        assert (await broker.depth(["default"]))["default"].dead == 1
        assert await claim(broker) == []
