"""The heart of the contract in real time: leases of a fraction of a second, by the clock that the store has in service.

All other cases turn a clock that they hand in. These also hold for a store that cannot be given one.
"""

from __future__ import annotations

import asyncio

from stem_core.contracts import Broker
from stem_core.model import ACK, Delivery, Release, Retry, Subscription
from stem_core.testing.contracts.base import (
    PATIENCE,
    StoreContract,
    claim,
    claim_one,
    extend,
    message,
    settle,
)
from stem_core.testing.contracts.case import in_real_time

#: A lease that ends soon, in seconds.
SHORT = 0.3
DEFAULT = Subscription.of("default")


async def next_delivery(broker: Broker, lease: float = SHORT) -> Delivery:
    """The next delivery, once there is one; claims and waits as a worker does."""
    async with asyncio.timeout(PATIENCE):
        while not (deliveries := await claim(broker, 1, lease=lease)):
            await broker.wait_for_work(DEFAULT, PATIENCE)
    return deliveries[0]


class RealTimeCases(StoreContract):
    """Leases, fences and delays by the store's own clock."""

    @in_real_time
    async def test_a_lease_ends_by_itself(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        first = await claim_one(broker, lease=SHORT)
        second = await next_delivery(other)
        assert (second.receipt.run, second.crashes, second.attempt) == (2, 1, 1)
        assert second.now - first.now >= SHORT - 0.05

    @in_real_time
    async def test_a_lease_that_is_extended_goes_on(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker, lease=SHORT)
        for _ in range(4):
            await asyncio.sleep(SHORT / 3)
            assert await extend(broker, delivery, 10.0) == "done"
            assert await claim(other) == []
        assert await settle(broker, delivery, ACK) == "done"

    @in_real_time
    async def test_a_superseded_receipt_changes_nothing(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        stale = await claim_one(broker, lease=SHORT)
        good = await next_delivery(other, lease=30.0)
        assert await extend(broker, stale) == "lost"
        assert await settle(broker, stale, ACK) == "lost"
        assert await settle(other, good, ACK) == "done"
        assert await settle(other, good, ACK) == "done"

    @in_real_time
    async def test_a_delay_ends_by_itself_and_not_early(self, broker: Broker) -> None:
        now = asyncio.get_running_loop().time
        started = now()
        await broker.publish([message("a", delay=SHORT)])
        await next_delivery(broker)
        assert now() - started >= SHORT - 0.01

    @in_real_time
    async def test_a_retry_waits_for_its_delay(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        now = asyncio.get_running_loop().time
        started = now()
        assert await settle(broker, delivery, Retry(delay=SHORT)) == "done"
        assert (await next_delivery(broker)).attempt == 2
        assert now() - started >= SHORT - 0.01

    @in_real_time
    async def test_what_is_handed_back_comes_at_once_and_uncounted(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        waiting = asyncio.create_task(next_delivery(other))
        await asyncio.sleep(0.02)
        assert await settle(broker, delivery, Release()) == "done"
        again = await waiting
        assert (again.attempt, again.crashes, again.receipt.run) == (1, 0, 2)
