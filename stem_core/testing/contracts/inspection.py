"""The facet of inspection: looking without touching, removing and moving by hand."""

from __future__ import annotations

from stem_core.contracts import Broker, Inspectable, KeepsDeadLetters, TellsTime
from stem_core.model import ACK, DeadLetter, Release, Retry, StoredMessage, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    WINDOW,
    StoreContract,
    claim,
    claim_one,
    extend,
    ids,
    message,
    messages,
    settle,
)


def names(stored: list[StoredMessage]) -> list[str]:
    """The ids, in order."""
    return [one.message.id for one in stored]


class InspectionContract(StoreContract):
    """:class:`~stem_core.contracts.Inspectable`."""

    async def test_the_time_it_tells_is_the_one_that_decides(self, broker: Broker, clock: FakeClock) -> None:
        store = self.facet(broker, TellsTime)
        before = await store.now()
        clock.advance(10.0)
        assert await store.now() - before == 10.0

    async def test_peeking_claims_nothing(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish(messages(3))
        assert names(await view.peek("default")) == ["job-0000", "job-0001", "job-0002"]
        assert [d.receipt.run for d in await claim(broker)] == [1, 1, 1]

    async def test_peeking_shows_the_order_of_delivery(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("late", priority=5, delay=5.0), message("low", priority=1)])
        clock.advance(10.0)
        await broker.publish([message("new", priority=5), message("high", priority=9)])
        peeked = names(await view.peek("default"))
        assert peeked == ["high", "late", "new", "low"]
        assert ids(await claim(broker)) == peeked

    async def test_peeking_shows_suspects_in_their_place(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a"), message("b")])
        await claim(broker)
        clock.advance(LEASE + 1)
        await broker.publish([message("c")])
        assert names(await view.peek("default")) == ["a", "b", "c"]

    async def test_what_a_ready_message_shows(self, broker: Broker, clock: FakeClock) -> None:
        sent = message("a", priority=2)
        await broker.publish([sent])
        became_ready = clock.now()
        clock.advance(5.0)
        (stored,) = await self.facet(broker, Inspectable).peek("default")
        assert stored == StoredMessage(message=sent, state="ready", attempt=1, crashes=0, run=0, at=became_ready)

    async def test_what_a_delayed_message_shows(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("b", delay=20.0), message("a", delay=10.0)])
        stored = await view.peek("default", "delayed")
        assert names(stored) == ["a", "b"]
        assert [(one.state, one.at - clock.now()) for one in stored] == [("delayed", 10.0), ("delayed", 20.0)]
        assert await view.peek("default", "ready") == []

    async def test_what_a_leased_message_shows(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a"), message("b")])
        await claim(broker, 1, lease=50.0)
        await settle(broker, await claim_one(broker), Retry(delay=0.0))
        await claim(broker, 1, lease=40.0)
        stored = await view.peek("default", "leased")
        assert names(stored) == ["b", "a"]
        assert [(s.state, s.attempt, s.run, s.at - clock.now()) for s in stored] == [
            ("leased", 2, 2, 40.0),
            ("leased", 1, 1, 50.0),
        ]

    async def test_a_message_whose_lease_is_over_shows_as_ready(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a")])
        await claim_one(broker)
        clock.advance(LEASE + 5)
        assert await view.peek("default", "leased") == []
        (stored,) = await view.peek("default")
        assert (stored.state, stored.at) == ("ready", clock.now() - 5)

    async def test_peeking_page_by_page(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message(f"m{n}", priority=9 - n % 3) for n in range(10)])
        expected = names(await view.peek("default"))
        seen: list[str] = []
        while page := await view.peek("default", limit=4, after=seen[-1] if seen else None):
            assert len(page) <= 4
            seen += names(page)
        assert seen == expected
        assert len(seen) == 10

    async def test_peeking_at_delayed_and_leased_page_by_page(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([*messages(5), *(message(f"d{n}", delay=60.0) for n in range(5))])
        await claim(broker, 5)
        for state in ("delayed", "leased"):
            seen: list[str] = []
            while page := await view.peek("default", state, limit=2, after=seen[-1] if seen else None):
                seen += names(page)
            assert len(seen) == len(set(seen)) == 5

    async def test_peeking_at_nothing(self, broker: Broker) -> None:
        assert await self.facet(broker, Inspectable).peek("never") == []
        assert await broker.queues() == []

    async def test_finding_in_every_state(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("dead"), message("leased"), message("ready"), message("delayed", delay=60.0)])
        dead, _ = await claim(broker, 2)
        await settle(broker, dead, DeadLetter(reason="failed"))
        found = await view.find(["ready", "delayed", "leased", "dead", "never"])
        assert {name: stored.state for name, stored in found.items()} == {
            "ready": "ready",
            "delayed": "delayed",
            "leased": "leased",
            "dead": "dead",
        }
        assert found["dead"].message == message("dead")
        assert found["dead"].run == 1

    async def test_a_finished_message_is_not_found(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), ACK)
        assert await self.facet(broker, Inspectable).find(["a"]) == {}

    async def test_removing_ready_and_delayed(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("ready"), message("keep"), message("delayed", delay=5.0)])
        assert sorted(await view.remove(["ready", "delayed", "never"])) == ["delayed", "ready"]
        clock.advance(10.0)
        assert ids(await claim(broker)) == ["keep"]

    async def test_leased_and_dead_are_not_removed(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("dead"), message("leased")])
        dead, leased = await claim(broker)
        await settle(broker, dead, DeadLetter(reason="failed"))
        assert await view.remove(["dead", "leased"]) == []
        assert await settle(broker, leased, ACK) == "done"
        assert await self.facet(broker, KeepsDeadLetters).dead_letter("dead") is not None

    async def test_what_was_removed_cannot_be_brought_back_by_a_repeated_publish(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a")])
        assert await view.remove(["a"]) == ["a"]
        await broker.publish([message("a")])
        assert await claim(broker) == []
        clock.advance(WINDOW + 1)
        await broker.publish([message("a")])
        assert ids(await claim(broker)) == ["a"]

    async def test_removing_twice(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a")])
        assert await view.remove(["a", "a"]) == ["a"]
        assert await view.remove(["a"]) == []

    async def test_a_removed_message_whose_lease_was_over_is_lost_to_its_holder(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        clock.advance(LEASE + 1)
        assert await view.remove(["a"]) == ["a"]
        assert await settle(broker, delivery, ACK) == "lost"
        assert await extend(broker, delivery) == "lost"

    async def test_moving_a_queue(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([*messages(2), message("delayed", delay=5.0), message("leased", priority=9)])
        await claim(broker, 1)
        assert await view.move("default", "other") == 3
        depths = await broker.depth(["default", "other"])
        assert (depths["default"].ready, depths["default"].delayed, depths["default"].leased) == (0, 0, 1)
        assert (depths["other"].ready, depths["other"].delayed) == (2, 1)
        assert ids(await claim(broker, queue="other")) == ["job-0000", "job-0001"]
        clock.advance(6.0)
        assert ids(await claim(broker, queue="other")) == ["delayed"]

    async def test_a_moved_message_is_the_one_that_was_sealed(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await self.facet(broker, Inspectable).move("default", "other")
        delivery = await claim_one(broker, queue="other")
        assert delivery.message == message("a")
        assert delivery.receipt.queue == "other"

    async def test_a_moved_message_stays_where_it_was_moved_to(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a"), message("b")])
        await view.move("default", "other")
        first, second = await claim(broker, queue="other")
        await settle(broker, first, Retry(delay=0.0))
        await settle(broker, second, DeadLetter(reason="failed"))
        assert (await claim_one(broker, queue="other")).attempt == 2
        letters = self.facet(broker, KeepsDeadLetters)
        (letter,) = await letters.dead_letters("other")
        assert (letter.message.id, letter.message.queue, letter.queue) == ("b", "default", "other")
        assert await letters.dead_letter("b") == letter
        assert await letters.replay(["b"]) == ["b"]
        assert ids(await claim(broker, queue="other")) == ["b"]

    async def test_moving_keeps_order_and_counters(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a1")])
        clock.advance(1.0)
        await broker.publish([message("b1", queue="other"), message("b2", queue="other", priority=9)])
        clock.advance(1.0)
        await broker.publish([message("a2")])
        await settle(broker, (await claim(broker, 1))[0], Retry(delay=1.0))
        clock.advance(2.0)
        assert await view.move("default", "other") == 2
        deliveries = await claim(broker, queue="other")
        assert ids(deliveries) == ["b2", "b1", "a2", "a1"]
        assert deliveries[3].attempt == 2

    async def test_a_lease_that_ended_before_a_move_counts_as_a_crash(self, broker: Broker, clock: FakeClock) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a")])
        held = await claim_one(broker)
        clock.advance(LEASE + 1.0)
        assert await view.move("default", "other") == 1
        other = Subscription.of("other")
        assert await broker.receive(other, 10, LEASE, suspects=0) == []
        (moved,) = await broker.receive(other, 10, LEASE, suspects=1)
        assert (moved.crashes, moved.receipt.run) == (1, 2)
        assert await settle(broker, held, ACK) == "lost"

    async def test_moving_nothing_or_nowhere(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        assert await view.move("never", "other") == 0
        await broker.publish([message("a")])
        await view.move("default", "default")
        assert ids(await claim(broker)) == ["a"]

    async def test_moved_messages_are_known_by_their_id(self, broker: Broker) -> None:
        view = self.facet(broker, Inspectable)
        await broker.publish([message("a")])
        await view.move("default", "other")
        await broker.publish([message("a")])
        assert await claim(broker) == []
        assert names(list((await view.find(["a"])).values())) == ["a"]

    async def test_moving_wakes_who_waits_there(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        await settle(broker, delivery, Release())
        await self.facet(broker, Inspectable).move("default", "other")
        assert ids(await claim(other, queue="other")) == ["a"]
