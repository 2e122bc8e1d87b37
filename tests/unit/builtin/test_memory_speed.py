"""The memory stores have to cost next to nothing beside what a worker does with a job."""

from __future__ import annotations

import time

from stem_core.builtin.memory_broker import MemoryBroker
from stem_core.builtin.memory_store import MemoryStore
from stem_core.clock import SYSTEM_CLOCK
from stem_core.model import ACK, Message, Settlement, Subscription, TaskState, TaskStatus
from stem_core.testing.contracts.base import message

JOBS, BATCH, ROUNDS = 5_000, 100, 5
#: Microseconds a job: four times what a quiet machine needs, so that a busy one passes and a new O(n) does not.
LIMIT = 12.0


async def one_round() -> float:
    """Seconds that the broker takes for all jobs, without what is built for it or from it."""
    broker, subscription = MemoryBroker(MemoryStore(), SYSTEM_CLOCK, 600.0), Subscription.of("default")
    batches: list[list[Message]] = [[message(f"job-{n + m}") for m in range(BATCH)] for n in range(0, JOBS, BATCH)]
    spent = 0.0
    for batch in batches:
        start = time.perf_counter()
        await broker.publish(batch)
        deliveries = await broker.receive(subscription, BATCH, 30.0)
        spent += time.perf_counter() - start
        settlements = [Settlement(receipt=d.receipt, action=ACK) for d in deliveries]
        statuses = [
            TaskStatus(id=d.message.id, task="t", queue="default", state=TaskState.SUCCEEDED, run=1, result=b"1")
            for d in deliveries
        ]
        start = time.perf_counter()
        verdicts = await broker.settle_with_results(settlements, statuses)
        spent += time.perf_counter() - start
        assert {verdict.kind for verdict in verdicts} == {"done"}
    return spent


async def test_publish_receive_settle_and_record_are_cheap() -> None:
    best = min([await one_round() for _ in range(ROUNDS)]) / JOBS * 1e6
    print(f"memory broker: {best:.2f} us a job in batches of {BATCH}")
    assert best < LIMIT
