"""The facet of dead letters: kept as they were, looked at, run again, thrown away."""

from __future__ import annotations

from stem_core.contracts import Broker, KeepsDeadLetters
from stem_core.model import ACK, DeadLetter, Delivery, Message, Release, Retry
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
    settle,
)

FAILED = DeadLetter(reason="failed", detail="ValueError: no")
DAY = 86_400.0


class DeadLettersContract(StoreContract):
    """:class:`~stem_core.contracts.KeepsDeadLetters`."""

    async def _bury(self, broker: Broker, *names: str, queue: str = "default") -> list[Delivery]:
        """Publish and give up messages of these ids; the deliveries that did it."""
        buried = []
        for name in names:
            await broker.publish([message(name, queue=queue)])
            buried.append(await claim_one(broker, queue=queue))
            assert await settle(broker, buried[-1], FAILED) == "done"
        return buried

    async def test_a_dead_letter_keeps_the_raw_message_and_the_reason(self, broker: Broker, clock: FakeClock) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        sent = Message(id="a", queue="default", priority=3, header=b"\x00\xff", payload=b"{not json", signature=b"\x01")
        await broker.publish([sent])
        await settle(broker, await claim_one(broker), Retry(delay=0.0))
        clock.advance(3.0)
        await settle(broker, await claim_one(broker), FAILED)
        letter = await letters.dead_letter("a")
        assert letter is not None
        assert letter.message == sent
        assert (letter.reason, letter.detail) == ("failed", "ValueError: no")
        assert (letter.attempt, letter.crashes, letter.run, letter.died_at) == (2, 0, 2, clock.now())
        assert await letters.dead_letters("default") == [letter]

    async def test_a_dead_letter_knows_its_crashes(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await claim_one(broker)
        clock.advance(LEASE + 1)
        await settle(broker, await claim_one(broker), DeadLetter(reason="max-crashes"))
        letter = await self.facet(broker, KeepsDeadLetters).dead_letter("a")
        assert letter is not None
        assert (letter.crashes, letter.detail) == (1, "")

    async def test_one_that_is_not_there(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await broker.publish([message("alive")])
        assert await letters.dead_letter("never") is None
        assert await letters.dead_letter("alive") is None
        assert await letters.dead_letters("default") == []

    async def test_the_oldest_come_first_and_page_by_page(self, broker: Broker, clock: FakeClock) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        for name in ("c", "a", "e", "b", "d"):
            await self._bury(broker, name)
            clock.advance(1.0)
        pages: list[list[str]] = []
        after = None
        while page := await letters.dead_letters("default", limit=2, after=after):
            pages.append([letter.message.id for letter in page])
            after = page[-1].message.id
        assert pages == [["c", "a"], ["e", "b"], ["d"]]

    async def test_pages_are_whole_when_many_died_at_once(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await self._bury(broker, *(f"m{n}" for n in range(7)))
        seen: list[str] = []
        while page := await letters.dead_letters("default", limit=3, after=seen[-1] if seen else None):
            seen += [letter.message.id for letter in page]
        assert sorted(seen) == [f"m{n}" for n in range(7)]

    async def test_each_queue_has_its_own(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await self._bury(broker, "a", queue="one")
        await self._bury(broker, "b", queue="two")
        assert [letter.message.id for letter in await letters.dead_letters("two")] == ["b"]

    async def test_a_replay_runs_it_again_from_the_start(self, broker: Broker, clock: FakeClock) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await broker.publish([message("a", priority=8)])
        await claim_one(broker)
        clock.advance(LEASE + 1)
        await settle(broker, await claim_one(broker), Retry(delay=0.0))
        await settle(broker, await claim_one(broker), FAILED)
        clock.advance(100.0)
        assert await letters.replay(["a"]) == ["a"]
        delivery = await claim_one(broker)
        assert (delivery.attempt, delivery.crashes, delivery.receipt.run) == (1, 0, 4)
        assert delivery.first_delivered_at == clock.now()
        assert delivery.message == message("a", priority=8)
        assert await letters.dead_letter("a") is None
        assert await settle(broker, delivery, ACK) == "done"

    async def test_the_run_goes_on_over_several_replays(self, broker: Broker, clock: FakeClock) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await broker.publish([message("a")])
        runs = []
        for _ in range(4):
            delivery = await claim_one(broker)
            runs.append(delivery.receipt.run)
            await settle(broker, delivery, FAILED)
            clock.advance(2 * WINDOW)
            assert await letters.replay(["a"]) == ["a"]
        assert runs == [1, 2, 3, 4]

    async def test_a_replay_of_what_is_not_dead(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await broker.publish([message("alive")])
        await self._bury(broker, "dead", queue="other")
        assert await letters.replay(["alive", "dead", "never", "dead"]) == ["dead"]
        assert await letters.replay(["dead"]) == []
        assert ids(await claim(broker)) == ["alive"]

    async def test_old_receipts_change_nothing_after_a_replay(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await broker.publish([message("a")])
        crashed = await claim_one(broker)
        clock.advance(LEASE + 1)
        buried = await claim_one(broker)
        await settle(broker, buried, FAILED)
        await letters.replay(["a"])
        for when in ("ready", "leased"):
            if when == "leased":
                good = await claim_one(other)
            assert await settle(broker, crashed, ACK) == "lost"
            assert await extend(broker, crashed) == "lost"
            assert await extend(broker, buried) == "lost"
            # The same settlement again, after a lost reply, may say that it was done; it must not do it once more.
            assert await settle(broker, buried, FAILED) in {"done", "lost"}
            assert await letters.dead_letter("a") is None
        assert await settle(other, good, ACK) == "done"

    async def test_a_publish_changes_nothing_after_a_replay(self, broker: Broker) -> None:
        await self._bury(broker, "a")
        await self.facet(broker, KeepsDeadLetters).replay(["a"])
        await broker.publish([message("a", payload=b"other")])
        assert (await claim_one(broker)).message.payload == message("a").payload

    async def test_a_replayed_message_that_finishes_leaves_its_marker(self, broker: Broker) -> None:
        await self._bury(broker, "a")
        await self.facet(broker, KeepsDeadLetters).replay(["a"])
        await settle(broker, await claim_one(broker), ACK)
        await broker.publish([message("a")])
        assert await claim(broker) == []

    async def test_a_replayed_message_may_die_again(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await self._bury(broker, "a")
        await letters.replay(["a"])
        await settle(broker, await claim_one(broker), DeadLetter(reason="time-limit"))
        letter = await letters.dead_letter("a")
        assert letter is not None
        assert (letter.reason, letter.run) == ("time-limit", 2)

    async def test_a_replay_goes_to_the_end_of_its_line(self, broker: Broker, clock: FakeClock) -> None:
        await self._bury(broker, "a")
        await broker.publish([message("b")])
        clock.advance(1.0)
        await self.facet(broker, KeepsDeadLetters).replay(["a"])
        assert ids(await claim(broker)) == ["b", "a"]

    async def test_purging_named_dead_letters(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await self._bury(broker, "a", "b", "c")
        await self._bury(broker, "elsewhere", queue="other")
        assert await letters.purge_dead("default", ["a", "c", "elsewhere", "never"]) == 2
        assert [letter.message.id for letter in await letters.dead_letters("default")] == ["b"]
        assert await letters.dead_letter("elsewhere") is not None

    async def test_purging_no_names_is_not_purging_all(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await self._bury(broker, "a")
        assert await letters.purge_dead("default", []) == 0
        assert await letters.dead_letter("a") is not None

    async def test_purging_all_dead_letters_of_a_queue(self, broker: Broker) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await self._bury(broker, "a", "b")
        await broker.publish([message("alive")])
        assert await letters.purge_dead("default") == 2
        assert await letters.dead_letters("default") == []
        assert ids(await claim(broker)) == ["alive"]

    async def test_what_was_purged_may_be_published_again_and_the_run_goes_on(self, broker: Broker) -> None:
        await self._bury(broker, "a")
        await self.facet(broker, KeepsDeadLetters).purge_dead("default")
        await broker.publish([message("a")])
        assert (await claim_one(broker)).receipt.run == 2

    async def test_dead_letters_are_kept_for_thirty_days(self, broker: Broker, clock: FakeClock) -> None:
        letters = self.facet(broker, KeepsDeadLetters)
        await self._bury(broker, "old")
        clock.advance(10 * DAY)
        await self._bury(broker, "young")
        clock.advance(19 * DAY)
        assert [letter.message.id for letter in await letters.dead_letters("default")] == ["old", "young"]
        clock.advance(2 * DAY)
        # A store may tidy up when it is written to, not when it is read.
        await self._bury(broker, "new")
        assert [letter.message.id for letter in await letters.dead_letters("default")] == ["young", "new"]
        assert await letters.dead_letter("old") is None
        assert await letters.replay(["old"]) == []

    async def test_a_released_message_is_no_dead_letter(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await settle(broker, await claim_one(broker), Release())
        assert await self.facet(broker, KeepsDeadLetters).dead_letters("default") == []
