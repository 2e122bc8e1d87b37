"""Delays: never early, in order of their time."""

from __future__ import annotations

from stem_core.contracts import Broker
from stem_core.model import Retry, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, StoreContract, claim, claim_one, ids, message, settle


class DelayCases(StoreContract):
    """The store makes delays absolute by its own clock."""

    async def test_a_delayed_message_never_comes_early(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a", delay=10.0)])
        for _ in range(19):
            assert await claim(broker) == []
            clock.advance(0.5)
        assert await claim(broker) == []
        clock.advance(1.0)
        assert ids(await claim(broker)) == ["a"]

    async def test_a_delayed_message_never_comes_early_beside_others(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("later", delay=3.0)])
        for n in range(5):
            await broker.publish([message(f"now-{n}")])
            assert ids(await claim(broker)) == [f"now-{n}"]
            clock.advance(0.5)
        clock.advance(1.0)
        assert ids(await claim(broker)) == ["later"]

    async def test_a_fraction_of_a_second_is_a_delay(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a", delay=0.25)])
        assert await claim(broker) == []
        clock.advance(0.125)
        assert await claim(broker) == []
        clock.advance(0.25)
        assert ids(await claim(broker)) == ["a"]

    async def test_a_long_delay(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a", delay=400 * 86_400.0)])
        clock.advance(399 * 86_400.0)
        assert await claim(broker) == []
        clock.advance(2 * 86_400.0)
        assert ids(await claim(broker)) == ["a"]

    async def test_delayed_messages_come_in_order_of_their_time(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message(f"d{n}", delay=float(n)) for n in (5, 2, 9, 1)])
        clock.advance(20.0)
        assert ids(await claim(broker)) == ["d1", "d2", "d5", "d9"]

    async def test_what_became_ready_first_comes_first(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("early", delay=5.0), message("late", delay=15.0)])
        clock.advance(10.0)
        await broker.publish([message("between")])
        clock.advance(10.0)
        assert ids(await claim(broker)) == ["early", "between", "late"]

    async def test_delays_lease_ends_and_publishes_come_in_one_order(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("leased")])
        await claim_one(broker, lease=10.0)
        await broker.publish([message("before", delay=5.0), message("after", delay=15.0)])
        clock.advance(20.0)
        await broker.publish([message("now")])
        assert ids(await claim(broker)) == ["before", "leased", "after", "now"]

    async def test_a_delayed_message_has_its_priority_when_it_is_ready(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("low", priority=1), message("high", priority=9, delay=5.0)])
        clock.advance(6.0)
        assert ids(await claim(broker)) == ["high", "low"]

    async def test_a_delayed_message_does_not_block_the_others(self, broker: Broker) -> None:
        await broker.publish([message("later", delay=60.0, priority=9), message("now", priority=0)])
        assert ids(await claim(broker)) == ["now"]

    async def test_a_retry_with_a_delay_never_comes_early(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Retry(delay=10.0))
        clock.advance(9.5)
        assert await claim(broker) == []
        clock.advance(1.0)
        assert (await claim_one(broker)).attempt == 2

    async def test_a_negative_delay_is_none(self, broker: Broker) -> None:
        await broker.publish([message("a", delay=-5.0)])
        assert ids(await claim(broker)) == ["a"]

    async def test_a_delayed_message_is_granted_once(self, broker: Broker, other: Broker, clock: FakeClock) -> None:
        await broker.publish([message(f"d{n}", delay=5.0) for n in range(20)])
        clock.advance(6.0)
        got = [*ids(await claim(broker, 12)), *ids(await claim(other, 12)), *ids(await claim(broker, 12))]
        assert len(got) == len(set(got)) == 20

    async def test_the_delay_starts_at_the_publish(self, broker: Broker, clock: FakeClock) -> None:
        sent = message("a", delay=10.0)
        clock.advance(8.0)
        await broker.publish([sent])
        clock.advance(8.0)
        assert await broker.receive(Subscription.of("default"), 1, LEASE) == []
        clock.advance(3.0)
        assert ids(await claim(broker)) == ["a"]
