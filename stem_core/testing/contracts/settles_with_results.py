"""The facet of settling with results: both in one step, or neither."""

from __future__ import annotations

import pytest

from stem_core.contracts import KeepsDeadLetters, SettlesWithResults
from stem_core.model import ACK, Action, DeadLetter, Delivery, Release, Retry, Settlement, TaskState, TaskStatus
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import (
    LEASE,
    WINDOW,
    OpenedStore,
    OpenStore,
    StoreContract,
    claim,
    claim_one,
    kinds,
    message,
    messages,
    settle,
    status,
)
from stem_core.testing.contracts.case import OnLoop


class SettlesWithResultsContract(StoreContract):
    """:class:`~stem_core.contracts.SettlesWithResults`."""

    @pytest.fixture
    def store(self, open_store: OpenStore) -> OnLoop[OpenedStore]:
        """Broker, backend and state of one store."""
        return OnLoop(open_store)

    async def _finish(self, store: OpenedStore, delivery: Delivery, action: Action, record: TaskStatus | None) -> str:
        settler = self.facet(store.broker, SettlesWithResults)
        settlement = Settlement(receipt=delivery.receipt, action=action)
        return kinds(await settler.settle_with_results([settlement], [record]))[0]

    async def test_the_backend_of_the_same_store_is_known(self, store: OpenedStore) -> None:
        settler = self.facet(store.broker, SettlesWithResults)
        assert settler.shares_store(store.backend)
        assert not settler.shares_store(object())

    async def test_settled_and_recorded(self, store: OpenedStore) -> None:
        await store.broker.publish([message("a")])
        assert await self._finish(store, await claim_one(store.broker), ACK, status("a")) == "done"
        assert await store.backend.get(["a"]) == {"a": status("a")}
        assert await store.broker.queues() == []

    async def test_no_status_is_no_record(self, store: OpenedStore) -> None:
        await store.broker.publish([message("a")])
        assert await self._finish(store, await claim_one(store.broker), ACK, None) == "done"
        assert await store.backend.get(["a"]) == {}

    async def test_what_is_lost_is_not_recorded(self, store: OpenedStore, clock: FakeClock) -> None:
        await store.broker.publish([message("a")])
        stale = await claim_one(store.broker)
        clock.advance(LEASE + 1)
        good = await claim_one(store.broker)
        # The run is forged here, to see that the fence decides and not the run alone.
        assert await self._finish(store, stale, ACK, status("a", run=9)) == "lost"
        assert await store.backend.get(["a"]) == {}
        assert await self._finish(store, good, ACK, status("a", run=2)) == "done"
        assert (await store.backend.get(["a"]))["a"].run == 2

    async def test_one_lost_item_does_not_touch_the_records_of_others(
        self, store: OpenedStore, clock: FakeClock
    ) -> None:
        await store.broker.publish(messages(3))
        deliveries = await claim(store.broker)
        clock.advance(LEASE + 1)
        await claim(store.broker, 1)
        settlements = [Settlement(receipt=d.receipt, action=ACK) for d in deliveries]
        statuses = [status(d.message.id) for d in deliveries]
        verdicts = await self.facet(store.broker, SettlesWithResults).settle_with_results(settlements, statuses)
        assert kinds(verdicts) == ["lost", "done", "done"]
        assert sorted(await store.backend.get([d.message.id for d in deliveries])) == ["job-0001", "job-0002"]

    async def test_every_action_may_carry_a_status(self, store: OpenedStore) -> None:
        await store.broker.publish(messages(3))
        deliveries = await claim(store.broker)
        actions: list[Action] = [Retry(delay=60.0), Release(delay=60.0), DeadLetter(reason="failed")]
        states = [TaskState.RETRYING, TaskState.QUEUED, TaskState.FAILED]
        settlements = [Settlement(receipt=d.receipt, action=a) for d, a in zip(deliveries, actions, strict=True)]
        statuses = [status(d.message.id, s) for d, s in zip(deliveries, states, strict=True)]
        verdicts = await self.facet(store.broker, SettlesWithResults).settle_with_results(settlements, statuses)
        assert kinds(verdicts) == ["done"] * 3
        stored = await store.backend.get([d.message.id for d in deliveries])
        assert [stored[d.message.id].state for d in deliveries] == states

    async def test_a_repeated_settlement_is_done_and_the_record_stays(self, store: OpenedStore) -> None:
        await store.broker.publish([message("a")])
        delivery = await claim_one(store.broker)
        assert await self._finish(store, delivery, ACK, status("a")) == "done"
        assert await self._finish(store, delivery, ACK, status("a")) == "done"
        assert await store.backend.get(["a"]) == {"a": status("a")}

    async def test_a_repeated_retry_does_not_undo_what_came_after(self, store: OpenedStore) -> None:
        await store.broker.publish([message("a")])
        first = await claim_one(store.broker)
        retrying = status("a", TaskState.RETRYING, run=1)
        await self._finish(store, first, Retry(delay=0.0), retrying)
        await self._finish(store, await claim_one(store.broker), ACK, status("a", run=2))
        assert await self._finish(store, first, Retry(delay=0.0), retrying) == "done"
        assert (await store.backend.get(["a"]))["a"] == status("a", run=2)

    async def test_the_record_is_guarded_by_its_run(self, store: OpenedStore) -> None:
        await store.broker.publish([message("a")])
        await store.backend.record([status("a", TaskState.FAILED, run=5)])
        delivery = await claim_one(store.broker)
        assert await self._finish(store, delivery, ACK, status("a", run=1)) == "done"
        assert (await store.backend.get(["a"]))["a"].run == 5

    async def test_a_waiter_is_told(self, store: OpenedStore) -> None:
        await store.broker.publish([message("a")])
        delivery = await claim_one(store.broker)
        assert await self._finish(store, delivery, ACK, status("a")) == "done"
        assert await store.backend.wait("a", 60.0) == status("a")

    async def test_a_replayed_message_replaces_its_result(self, store: OpenedStore) -> None:
        await store.broker.publish([message("a")])
        failed = status("a", TaskState.FAILED, run=1)
        await self._finish(store, await claim_one(store.broker), DeadLetter(reason="failed"), failed)
        assert await self.facet(store.broker, KeepsDeadLetters).replay(["a"]) == ["a"]
        delivery = await claim_one(store.broker)
        await self._finish(store, delivery, ACK, status("a", run=delivery.receipt.run))
        assert (await store.backend.get(["a"]))["a"].state is TaskState.SUCCEEDED

    async def test_a_new_life_of_an_id_replaces_its_result(self, store: OpenedStore, clock: FakeClock) -> None:
        await store.broker.publish([message("a")])
        await settle(store.broker, await claim_one(store.broker), Release())
        first = await claim_one(store.broker)
        await self._finish(store, first, ACK, status("a", TaskState.FAILED, run=first.receipt.run))
        clock.advance(WINDOW + 1)
        await store.broker.publish([message("a")])
        again = await claim_one(store.broker)
        assert again.receipt.run > first.receipt.run
        await self._finish(store, again, ACK, status("a", run=again.receipt.run))
        assert (await store.backend.get(["a"]))["a"].state is TaskState.SUCCEEDED

    async def test_settling_and_recording_nothing(self, store: OpenedStore) -> None:
        assert await self.facet(store.broker, SettlesWithResults).settle_with_results([], []) == []
