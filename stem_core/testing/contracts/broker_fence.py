"""The fence: a receipt that was superseded changes nothing, whatever it is used for."""

from __future__ import annotations

import pytest

from stem_core.contracts import Broker
from stem_core.model import ACK, Action, DeadLetter, Delivery, Receipt, Release, Retry, Settlement, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    StoreContract,
    claim,
    claim_one,
    counts,
    extend,
    ids,
    kinds,
    message,
    messages,
    settle,
)

ACTIONS = [
    pytest.param(ACK, id="ack"),
    pytest.param(Retry(delay=0.0), id="retry"),
    pytest.param(Retry(delay=60.0), id="retry-delayed"),
    pytest.param(Release(), id="release"),
    pytest.param(Release(delay=60.0, charge=True), id="release-charged"),
    pytest.param(DeadLetter(reason="failed"), id="dead-letter"),
]


class FenceCases(StoreContract):
    """Every verb with every stale receipt."""

    async def _granted_twice(self, broker: Broker, other: Broker, clock: FakeClock) -> tuple[Delivery, Delivery]:
        await broker.publish([message("a")])
        first = await claim_one(broker)
        clock.advance(LEASE + 1)
        return first, await claim_one(other)

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_a_stale_receipt_settles_nothing(
        self, broker: Broker, other: Broker, clock: FakeClock, action: Action
    ) -> None:
        stale, good = await self._granted_twice(broker, other, clock)
        assert await settle(broker, stale, action) == "lost"
        depth = (await broker.depth(["default"]))["default"]
        assert (depth.ready, depth.delayed, depth.leased, depth.dead) == (0, 0, 1, 0)
        assert await extend(other, good) == "done"
        assert await settle(other, good, ACK) == "done"

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_a_stale_receipt_settles_nothing_while_the_message_is_ready_again(
        self, broker: Broker, other: Broker, clock: FakeClock, action: Action
    ) -> None:
        stale, good = await self._granted_twice(broker, other, clock)
        await settle(other, good, Release())
        assert await settle(broker, stale, action) == "lost"
        again = await claim_one(other)
        assert (again.receipt.run, again.attempt, again.crashes) == (3, 1, 1)

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_a_stale_receipt_settles_nothing_after_the_end(
        self, broker: Broker, other: Broker, clock: FakeClock, action: Action
    ) -> None:
        stale, good = await self._granted_twice(broker, other, clock)
        await settle(other, good, ACK)
        assert await settle(broker, stale, action) == "lost"
        assert await broker.queues() == []

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_a_stale_receipt_settles_nothing_of_a_dead_message(
        self, broker: Broker, other: Broker, clock: FakeClock, action: Action
    ) -> None:
        stale, good = await self._granted_twice(broker, other, clock)
        await settle(other, good, DeadLetter(reason="failed"))
        assert await settle(broker, stale, action) == "lost"
        assert (await broker.depth(["default"]))["default"].dead == 1

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_a_token_that_never_was_settles_nothing(self, broker: Broker, action: Action) -> None:
        await broker.publish([message("a")])
        good = await claim_one(broker)
        forged = Receipt(id="a", queue="default", run=good.receipt.run, token="1.forged")
        verdicts = await broker.settle([Settlement(receipt=forged, action=action)])
        assert kinds(verdicts) == ["lost"]
        assert await settle(broker, good, ACK) == "done"

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_an_id_that_never_was_settles_nothing(self, broker: Broker, action: Action) -> None:
        receipt = Receipt(id="never", queue="default", run=1, token="1.1")
        assert kinds(await broker.settle([Settlement(receipt=receipt, action=action)])) == ["lost"]
        assert await broker.queues() == []

    @pytest.mark.parametrize("action", ACTIONS)
    async def test_a_settled_receipt_extends_nothing(self, broker: Broker, action: Action) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        await settle(broker, delivery, action)
        before = await counts(broker)
        assert await extend(broker, delivery) == "lost"
        assert await counts(broker) == before

    async def test_the_newest_of_many_grants_is_the_one_that_counts(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        deliveries = []
        for _ in range(5):
            deliveries.append(await claim_one(broker))
            clock.advance(LEASE + 1)
        assert [await settle(broker, d, ACK) for d in deliveries] == ["lost"] * 4 + ["done"]

    async def test_one_lost_item_does_not_touch_the_others(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish(messages(4))
        deliveries = await claim(broker)
        clock.advance(LEASE + 1)
        assert ids(await claim(other)) == ["job-0000"]
        actions: list[Action] = [ACK, ACK, Retry(delay=60.0), DeadLetter(reason="failed")]
        settlements = [Settlement(receipt=d.receipt, action=a) for d, a in zip(deliveries, actions, strict=True)]
        assert kinds(await broker.settle(settlements)) == ["lost", "done", "done", "done"]
        depth = (await broker.depth(["default"]))["default"]
        assert (depth.ready, depth.delayed, depth.leased, depth.dead) == (0, 1, 1, 1)

    async def test_a_receipt_of_an_earlier_life_is_lost(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        old = await claim_one(broker)
        await settle(broker, old, ACK)
        clock.advance(3600.0)
        await broker.publish([message("a")])
        good = await claim_one(broker)
        assert await settle(broker, old, ACK) == "lost"
        assert await extend(broker, old) == "lost"
        assert await settle(broker, good, ACK) == "done"

    async def test_the_other_half_of_a_batch_that_crashed_is_fenced_too(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish(messages(10))
        stale = await claim(broker, 10)
        clock.advance(LEASE + 1)
        taken = await other.receive(Subscription.of("default"), 10, LEASE, suspects=10)
        assert len(taken) == 10
        assert set(kinds(await broker.extend([d.receipt for d in stale], LEASE))) == {"lost"}
        settlements = [Settlement(receipt=d.receipt, action=ACK) for d in stale]
        assert set(kinds(await broker.settle(settlements))) == {"lost"}
        assert (await broker.depth(["default"]))["default"].leased == 10
