"""Several event loops and threads of one process on one broker, as a worker's main loop and pulse thread are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from stem_core.contracts import Broker
from stem_core.model import ACK, Settlement, Subscription
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    PATIENCE,
    OpenBroker,
    StoreContract,
    claim,
    claim_one,
    extend,
    ids,
    message,
    messages,
)

DEFAULT = Subscription.of("default")


async def in_threads(*bodies: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run each body in a thread and event loop of its own; their results in order."""
    return await asyncio.gather(*(asyncio.to_thread(asyncio.run, body()) for body in bodies))


class SharingCases(StoreContract):
    """A broker opened again in another loop is the same broker."""

    async def test_another_loop_extends_what_this_one_claimed(
        self, broker: Broker, open_broker: OpenBroker, clock: FakeClock
    ) -> None:
        await broker.publish([message("a")])
        delivery = await claim_one(broker)

        async def pulse() -> str:
            async with open_broker() as session:
                return await extend(session, delivery, 10 * LEASE)

        assert await in_threads(pulse) == ["done"]
        clock.advance(5 * LEASE)
        assert await claim(broker) == []

    async def test_a_publish_in_another_loop_ends_the_wait_here(self, broker: Broker, open_broker: OpenBroker) -> None:
        async def produce() -> None:
            async with open_broker() as session:
                await session.publish([message("a")])

        waiting = asyncio.create_task(broker.wait_for_work(DEFAULT, 60.0))
        await asyncio.sleep(0.02)
        await in_threads(produce)
        async with asyncio.timeout(PATIENCE):
            await waiting
        assert ids(await claim(broker)) == ["a"]

    async def test_many_threads_lose_nothing_and_double_nothing(self, broker: Broker, open_broker: OpenBroker) -> None:
        total, done, lock = 400, set[str](), threading.Lock()

        async def produce(first: int) -> None:
            async with open_broker() as session:
                for n in range(first, total, 20):
                    await session.publish([message(f"m{m}") for m in range(n, n + 10)])

        async def consume() -> int:
            count = 0
            async with asyncio.timeout(30), open_broker() as session:
                while len(done) < total:
                    deliveries = await session.receive(DEFAULT, 7, LEASE)
                    if not deliveries:
                        await session.wait_for_work(DEFAULT, 0.05)
                        continue
                    verdicts = await session.settle([Settlement(receipt=d.receipt, action=ACK) for d in deliveries])
                    assert [verdict.kind for verdict in verdicts] == ["done"] * len(deliveries)
                    with lock:
                        count += len(deliveries)
                        done.update(ids(deliveries))
            return count

        results = await in_threads(lambda: produce(0), lambda: produce(10), consume, consume)
        assert len(done) == total
        assert results[2] + results[3] == total
        assert await broker.queues() == []

    async def test_closing_one_session_leaves_the_others_open(self, broker: Broker, open_broker: OpenBroker) -> None:
        async with open_broker() as passing:
            await passing.publish(messages(2))
        await broker.publish([message("after")])
        assert len(await claim(broker)) == 3
