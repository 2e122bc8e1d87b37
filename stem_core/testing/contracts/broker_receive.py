"""Receiving: who gets what, in which order, and never too much."""

from __future__ import annotations

import asyncio

from stem_core.contracts import Broker
from stem_core.model import ACK, Release, Retry, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, StoreContract, claim, claim_one, ids, message, messages, settle


class ReceiveCases(StoreContract):
    """Order within a queue, shares between queues, limits."""

    async def test_an_empty_queue_gives_nothing_at_once(self, broker: Broker) -> None:
        assert await claim(broker) == []

    async def test_a_first_delivery(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        clock.advance(5.0)
        delivery = await claim_one(broker)
        assert (delivery.attempt, delivery.crashes) == (1, 0)
        assert (delivery.first_delivered_at, delivery.now) == (clock.now(), clock.now())
        assert (delivery.receipt.id, delivery.receipt.queue, delivery.receipt.run) == ("a", "default", 1)

    async def test_a_leased_message_is_not_ready(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        await claim_one(broker)
        assert await claim(broker) == []
        assert await claim(other) == []

    async def test_first_in_first_out_within_a_priority(self, broker: Broker) -> None:
        batch = messages(25)
        await broker.publish(list(reversed(batch)))
        assert ids(await claim(broker, 100)) == [sent.id for sent in reversed(batch)]

    async def test_first_in_first_out_over_several_publishes_and_claims(self, broker: Broker, clock: FakeClock) -> None:
        for n in range(6):
            await broker.publish([message(f"job-{5 - n}")])
            clock.advance(0.5)
        claimed = [job for _ in range(3) for job in ids(await claim(broker, 2))]
        assert claimed == [f"job-{5 - n}" for n in range(6)]

    async def test_the_higher_priority_comes_first(self, broker: Broker) -> None:
        await broker.publish([message(f"p{n}", priority=n) for n in (3, 9, 0, 5, 7)])
        assert ids(await claim(broker)) == ["p9", "p7", "p5", "p3", "p0"]

    async def test_priority_is_strict_under_a_limit(self, broker: Broker) -> None:
        await broker.publish(messages(5, prefix="low", priority=1))
        await broker.publish(messages(3, prefix="high", priority=8))
        assert ids(await claim(broker, 2)) == ["high-0000", "high-0001"]
        assert ids(await claim(broker, 2)) == ["high-0002", "low-0000"]

    async def test_a_later_higher_priority_overtakes(self, broker: Broker) -> None:
        await broker.publish([message("low-1", priority=1), message("low-2", priority=1)])
        assert ids(await claim(broker, 1)) == ["low-1"]
        await broker.publish([message("high", priority=9)])
        assert ids(await claim(broker, 2)) == ["high", "low-2"]

    async def test_never_more_than_the_limit(self, broker: Broker) -> None:
        await broker.publish(messages(30))
        assert len(await claim(broker, 7)) == 7
        assert len(await claim(broker, 1)) == 1

    async def test_never_more_than_the_limit_over_priorities(self, broker: Broker) -> None:
        await broker.publish([message(f"p{n}", priority=n) for n in range(10)])
        assert ids(await claim(broker, 3)) == ["p9", "p8", "p7"]

    async def test_a_limit_of_nothing_claims_nothing(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        assert await claim(broker, 0) == []
        assert ids(await claim(broker, 1)) == ["a"]

    async def test_never_more_than_the_limit_over_queues(self, broker: Broker) -> None:
        for queue in ("a", "b", "c"):
            await broker.publish(messages(20, queue=queue, prefix=queue))
        for limit in (1, 2, 3, 7, 10):
            deliveries = await broker.receive(Subscription.of("a", "b", "c"), limit, LEASE)
            assert len(deliveries) == limit

    async def test_queues_share_a_claim(self, broker: Broker) -> None:
        for queue in ("a", "b"):
            await broker.publish(messages(20, queue=queue, prefix=queue))
        got = ids(await broker.receive(Subscription.of("a", "b"), 10, LEASE))
        assert sum(job.startswith("a") for job in got) == 5

    async def test_weights_share_a_claim(self, broker: Broker) -> None:
        for queue in ("high", "low"):
            await broker.publish(messages(20, queue=queue, prefix=queue))
        got = ids(await broker.receive(Subscription.parse(["high:4", "low"]), 10, LEASE))
        assert sum(job.startswith("high") for job in got) == 8
        assert len(got) == 10

    async def test_what_one_queue_lacks_the_other_fills(self, broker: Broker) -> None:
        await broker.publish([*messages(1, queue="high", prefix="high"), *messages(20, queue="low", prefix="low")])
        got = ids(await broker.receive(Subscription.parse(["high:4", "low"]), 10, LEASE))
        assert sum(job.startswith("low") for job in got) == 9

    async def test_strict_takes_the_order_as_written(self, broker: Broker) -> None:
        for queue in ("a", "b"):
            await broker.publish(messages(6, queue=queue, prefix=queue))
        strict = Subscription.of("b", "a", strict=True)
        assert [job[0] for job in ids(await broker.receive(strict, 8, LEASE))] == ["b"] * 6 + ["a"] * 2

    async def test_strict_comes_before_priority(self, broker: Broker) -> None:
        await broker.publish([message("a", queue="first", priority=0), message("b", queue="second", priority=9)])
        strict = Subscription.of("first", "second", strict=True)
        assert ids(await broker.receive(strict, 1, LEASE)) == ["a"]

    async def test_small_claims_take_turns(self, broker: Broker) -> None:
        for queue in ("a", "b", "c"):
            await broker.publish(messages(2, queue=queue, prefix=queue))
        subscription = Subscription.of("a", "b", "c")
        got = [ids(await broker.receive(subscription.turned(turn), 1, LEASE))[0][0] for turn in range(6)]
        assert got == ["a", "b", "c", "a", "b", "c"]

    async def test_caps_bound_what_one_claim_takes_of_each_queue(self, broker: Broker) -> None:
        for queue in ("a", "b", "c"):
            await broker.publish(messages(20, queue=queue, prefix=queue))
        subscription = Subscription.of("a", "b", "c").capped({"a": 2, "b": 30})
        got = [job[0] for job in ids(await broker.receive(subscription, 18, LEASE))]
        assert (got.count("a"), got.count("b"), got.count("c")) == (2, 16, 0)
        strict = Subscription.of("c", "a", strict=True).capped({"c": 3, "a": 5})
        assert [job[0] for job in ids(await broker.receive(strict, 30, LEASE))] == ["c"] * 3 + ["a"] * 5

    async def test_a_subscription_to_nothing_gives_nothing(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        assert await broker.receive(Subscription.of(), 10, LEASE) == []
        await broker.wait_for_work(Subscription.of(), 0.01)

    async def test_only_the_queues_subscribed_to(self, broker: Broker) -> None:
        await broker.publish([message("a", queue="one"), message("b", queue="two")])
        assert ids(await broker.receive(Subscription.of("two", "none"), 10, LEASE)) == ["b"]

    async def test_attempts_and_runs_are_counted_apart(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Release())
        await settle(broker, await claim_one(broker), Retry(delay=0.0))
        delivery = await claim_one(broker)
        assert (delivery.attempt, delivery.receipt.run, delivery.crashes) == (2, 3, 0)

    async def test_tokens_are_never_handed_out_twice(self, broker: Broker, other: Broker) -> None:
        await broker.publish(messages(20))
        tokens = [d.receipt.token for _ in range(5) for d in await self._turn_around(broker, other)]
        assert len(tokens) == len(set(tokens)) == 100

    async def _turn_around(self, broker: Broker, other: Broker) -> list:  # type: ignore[type-arg]
        deliveries = [*await claim(broker, 10), *await claim(other, 10)]
        for delivery in deliveries:
            await settle(broker, delivery, Release())
        return deliveries

    async def test_many_claimers_never_share_a_message(self, broker: Broker, other: Broker) -> None:
        await broker.publish(messages(200))
        claims = await asyncio.gather(*(claim(b, 9) for b in (broker, other) * 15))
        got = [job for deliveries in claims for job in ids(deliveries)]
        assert len(got) == 200
        assert len(set(got)) == 200

    async def test_a_drained_queue_is_empty(self, broker: Broker) -> None:
        await broker.publish(messages(20))
        for delivery in await claim(broker, 20):
            await settle(broker, delivery, ACK)
        assert await claim(broker) == []
        assert await broker.queues() == []


class SuspectCases(StoreContract):
    """A claim takes few messages that took a worker down before, and they hide nobody."""

    async def _suspects(self, broker: Broker, clock: FakeClock, count: int, queue: str = "default") -> None:
        await broker.publish(messages(count, prefix="suspect", queue=queue, priority=9))
        await claim(broker, count, queue=queue)
        clock.advance(LEASE + 1)

    async def test_one_suspect_a_claim(self, broker: Broker, clock: FakeClock) -> None:
        await self._suspects(broker, clock, 3)
        assert ids(await claim(broker)) == ["suspect-0000"]
        assert ids(await claim(broker)) == ["suspect-0001"]

    async def test_as_many_suspects_as_asked_for(self, broker: Broker, clock: FakeClock) -> None:
        await self._suspects(broker, clock, 4)
        got = await broker.receive(Subscription.of("default"), 10, LEASE, suspects=3)
        assert ids(got) == ["suspect-0000", "suspect-0001", "suspect-0002"]

    async def test_no_suspect_when_none_is_wanted(self, broker: Broker, clock: FakeClock) -> None:
        await self._suspects(broker, clock, 2)
        assert await broker.receive(Subscription.of("default"), 10, LEASE, suspects=0) == []
        assert (await broker.depth(["default"]))["default"].ready == 2

    async def test_suspects_do_not_hide_what_is_behind_them(self, broker: Broker, clock: FakeClock) -> None:
        await self._suspects(broker, clock, 20)
        await broker.publish([message("same", priority=9), message("lower", priority=1)])
        got = await broker.receive(Subscription.of("default"), 10, LEASE, suspects=0)
        assert ids(got) == ["same", "lower"]

    async def test_suspects_and_others_keep_their_order(self, broker: Broker, clock: FakeClock) -> None:
        await self._suspects(broker, clock, 2)
        await broker.publish([message("later", priority=9)])
        assert ids(await claim(broker)) == ["suspect-0000", "later"]

    async def test_suspects_count_over_all_queues(self, broker: Broker, clock: FakeClock) -> None:
        for queue in ("a", "b"):
            await broker.publish(messages(2, queue=queue, prefix=queue))
            await claim(broker, queue=queue)
        clock.advance(LEASE + 1)
        await broker.publish([message("clean", queue="b")])
        got = ids(await broker.receive(Subscription.of("a", "b"), 10, LEASE))
        assert sorted(got) == ["a-0000", "clean"]

    async def test_a_charged_release_makes_a_suspect(self, broker: Broker) -> None:
        await broker.publish(messages(2))
        for delivery in await claim(broker):
            await settle(broker, delivery, Release(charge=True))
        assert len(await claim(broker)) == 1

    async def test_a_suspect_stays_one_through_retry_and_delay(self, broker: Broker, clock: FakeClock) -> None:
        await self._suspects(broker, clock, 2)
        for _ in range(2):
            await settle(broker, await claim_one(broker), Retry(delay=5.0))
        clock.advance(6.0)
        assert len(await claim(broker)) == 1

    async def test_skipping_suspects_changes_nothing_about_them(self, broker: Broker, clock: FakeClock) -> None:
        await self._suspects(broker, clock, 1)
        for _ in range(3):
            await broker.receive(Subscription.of("default"), 10, LEASE, suspects=0)
        assert (await claim_one(broker)).crashes == 1
