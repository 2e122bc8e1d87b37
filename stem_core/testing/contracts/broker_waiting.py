"""Waiting for work: a hint that comes soon enough.

The clock of the store stands still here, so only what the broker is told can end a wait early; real time serves as
an upper bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from stem_core.contracts import Broker
from stem_core.model import Release, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, PATIENCE, StoreContract, claim, claim_one, ids, message, settle

DEFAULT = Subscription.of("default")


async def soon(waiting: Awaitable[None]) -> None:
    """The wait has to end long before the 60 s that the cases ask for."""
    async with asyncio.timeout(PATIENCE):
        await waiting


class WaitingCases(StoreContract):
    """``wait_for_work`` ends with news, and can be left at any time."""

    async def _start(self, broker: Broker, subscription: Subscription = DEFAULT) -> asyncio.Task[None]:
        """A wait of a minute that has begun."""
        waiting = asyncio.create_task(broker.wait_for_work(subscription, 60.0))
        await asyncio.sleep(0.02)
        return waiting

    async def test_work_that_is_there_ends_the_wait_at_once(self, broker: Broker) -> None:
        await broker.publish([message("a")])
        await soon(broker.wait_for_work(DEFAULT, 60.0))

    async def test_the_timeout_ends_the_wait(self, broker: Broker) -> None:
        await soon(broker.wait_for_work(DEFAULT, 0.05))
        await soon(broker.wait_for_work(DEFAULT, 0.0))

    async def test_a_publish_ends_the_wait(self, broker: Broker) -> None:
        waiting = await self._start(broker)
        await broker.publish([message("a")])
        await soon(waiting)
        assert ids(await claim(broker)) == ["a"]

    async def test_a_publish_of_another_session_ends_the_wait(self, broker: Broker, other: Broker) -> None:
        waiting = await self._start(broker)
        await other.publish([message("a")])
        await soon(waiting)
        assert ids(await claim(broker)) == ["a"]

    async def test_a_publish_to_any_of_the_queues_ends_the_wait(self, broker: Broker, other: Broker) -> None:
        waiting = await self._start(broker, Subscription.of("a", "b", "c"))
        await other.publish([message("m", queue="c")])
        await soon(waiting)

    async def test_a_release_ends_the_wait(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)
        waiting = await self._start(other)
        await settle(broker, delivery, Release())
        await soon(waiting)
        assert ids(await claim(other)) == ["a"]

    async def test_everybody_gets_to_work(self, broker: Broker, other: Broker) -> None:
        waits = [await self._start(broker), await self._start(other)]
        await broker.publish([message("a"), message("b")])
        await asyncio.gather(*(soon(waiting) for waiting in waits))

    async def test_a_claimer_that_fills_its_limit_leaves_nobody_asleep(self, broker: Broker, other: Broker) -> None:
        async def work(session: Broker) -> str:
            while True:
                if deliveries := await session.receive(DEFAULT, 1, LEASE):
                    return deliveries[0].message.id
                await session.wait_for_work(DEFAULT, 60.0)

        workers = [asyncio.create_task(work(session)) for session in (broker, other)]
        await asyncio.sleep(0.02)
        await broker.publish([message("a"), message("b")])
        async with asyncio.timeout(PATIENCE):
            assert sorted(await asyncio.gather(*workers)) == ["a", "b"]

    async def test_a_delay_that_ends_ends_the_wait(self, broker: Broker) -> None:
        await broker.publish([message("a", delay=0.1)])
        await soon(broker.wait_for_work(DEFAULT, 60.0))

    async def test_a_shorter_delay_that_is_published_meanwhile_ends_the_wait(
        self, broker: Broker, other: Broker
    ) -> None:
        await broker.publish([message("a", delay=50.0)])
        waiting = await self._start(broker)
        await other.publish([message("b", delay=0.1)])

        async def until_ready() -> None:
            await waiting
            await broker.wait_for_work(DEFAULT, 60.0)

        await soon(until_ready())

    async def test_a_lease_that_ends_ends_the_wait(self, broker: Broker, other: Broker) -> None:
        await broker.publish([message("a")])
        await claim_one(other, lease=0.1)
        await soon(broker.wait_for_work(DEFAULT, 60.0))

    async def test_the_wait_comes_before_the_due_time_never_the_delivery(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a", delay=0.1)])
        await soon(broker.wait_for_work(DEFAULT, 60.0))
        assert await claim(broker) == []
        clock.advance(0.25)
        assert ids(await claim(broker)) == ["a"]

    async def test_a_wait_can_be_cancelled_and_nothing_is_lost(self, broker: Broker, other: Broker) -> None:
        for n in range(5):
            waiting = await self._start(broker)
            await other.publish([message(f"m{n}")])
            waiting.cancel()
            await asyncio.wait([waiting], timeout=PATIENCE)
            assert waiting.done()
        assert len(await claim(broker)) == 5

    async def test_a_cancelled_wait_takes_no_wake_from_others(self, broker: Broker, other: Broker) -> None:
        cancelled, waiting = await self._start(broker), await self._start(other)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await broker.publish([message("a")])
        await soon(waiting)

    async def test_an_idle_wait_lasts(self, broker: Broker) -> None:
        now = asyncio.get_running_loop().time
        started, rounds = now(), 0
        while now() - started < 0.4:
            await broker.wait_for_work(DEFAULT, 0.4)
            rounds += 1
        assert rounds <= 10

    async def _leave_a_suspect(self, broker: Broker, clock: FakeClock) -> None:
        """One look that is two claims: the first, of ``a``, leaves a suspect lying, and the second is of ``b``."""
        await broker.publish([message("suspect", queue="a")])
        await claim_one(broker, queue="a")
        clock.advance(LEASE + 1)
        assert await broker.receive(Subscription.of("a"), 1, LEASE, suspects=0) == []
        assert await broker.receive(Subscription.of("b"), 1, LEASE, suspects=0) == []

    async def test_a_suspect_that_one_of_two_claims_left_does_not_end_the_wait(
        self, broker: Broker, clock: FakeClock
    ) -> None:
        await self._leave_a_suspect(broker, clock)
        now = asyncio.get_running_loop().time
        started, rounds = now(), 0
        while now() - started < 0.4:
            assert await broker.receive(Subscription.of("a"), 1, LEASE, suspects=0) == []
            assert await broker.receive(Subscription.of("b"), 1, LEASE, suspects=0) == []
            await broker.wait_for_work(Subscription.of("a", "b"), 0.4)
            rounds += 1
        assert rounds <= 20

    @pytest.mark.parametrize("queue", ["a", "b"])
    async def test_a_publish_to_the_queues_of_two_claims_ends_the_wait(
        self, broker: Broker, other: Broker, clock: FakeClock, queue: str
    ) -> None:
        await self._leave_a_suspect(broker, clock)
        waiting = await self._start(broker, Subscription.of("a", "b"))
        await other.publish([message("m", queue=queue)])
        await soon(waiting)
        assert ids(await broker.receive(Subscription.of(queue), 1, LEASE, suspects=0)) == ["m"]

    async def test_a_suspect_that_came_between_two_claims_ends_the_wait(
        self, broker: Broker, other: Broker, clock: FakeClock
    ) -> None:
        await broker.publish([message("m", queue="a")])
        await claim_one(broker, queue="a")
        assert await claim(broker, queue="a") == []
        clock.advance(LEASE + 1)
        # Whoever looks first makes it ready; this one may not have it.
        assert await other.receive(Subscription.of("a"), 1, LEASE, suspects=0) == []
        assert await claim(broker, queue="b") == []
        await soon(broker.wait_for_work(Subscription.of("a", "b"), 60.0))
        assert (await claim_one(broker, queue="a")).crashes == 1

    async def test_a_suspect_left_behind_does_not_make_the_waiter_spin(self, broker: Broker, clock: FakeClock) -> None:
        await broker.publish([message("a")])
        await claim_one(broker)
        clock.advance(LEASE + 1)
        now = asyncio.get_running_loop().time
        started, rounds = now(), 0
        while now() - started < 0.4:
            assert await broker.receive(DEFAULT, 1, LEASE, suspects=0) == []
            await broker.wait_for_work(DEFAULT, 0.4)
            rounds += 1
        assert rounds <= 20
