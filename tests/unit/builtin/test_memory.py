"""What is special about the memory stores: who shares them, and that they stay small."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from stem_core.builtin import memory_queue
from stem_core.builtin.memory_backend import MemoryBackend, open_backend
from stem_core.builtin.memory_broker import MemoryBroker, open_broker
from stem_core.builtin.memory_queue import DELAYED, LAPSED, LEASED, READY, Entry
from stem_core.builtin.memory_state import MemoryState
from stem_core.builtin.memory_store import MemoryStore, store_for
from stem_core.builtin.waiter import Waiter
from stem_core.contracts import StoreContext
from stem_core.errors import StoreRefused
from stem_core.model import ACK, Action, DeadLetter, Release, Retry, Settlement, StoreUrl, Subscription, TaskState
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import LEASE, claim, claim_one, kinds, message, messages, settle, status

_NAMES = itertools.count()
ACTIONS: list[Action] = [ACK, Retry(delay=0.0), Retry(delay=9.0), Release(charge=True), DeadLetter(reason="x")]


def context(name: str, namespace: str = "test") -> StoreContext:
    return StoreContext(url=StoreUrl.parse(f"memory://{name}"), namespace=namespace)


@pytest.fixture
def name() -> str:
    return f"unit-{next(_NAMES)}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def broker(store: MemoryStore, clock: FakeClock) -> MemoryBroker:
    return MemoryBroker(store, clock, 600.0)


async def test_what_is_in_a_store_outlives_its_last_session(name: str) -> None:
    async with open_broker(context(name)) as broker:
        await broker.publish([message("a")])
    async with open_broker(context(name)) as broker:
        assert await broker.queues() == ["default"]


async def test_names_and_namespaces_are_stores_of_their_own(name: str) -> None:
    async with open_broker(context(name)) as broker, open_backend(context(name)) as backend:
        await broker.publish([message("a")])
        assert isinstance(broker, MemoryBroker)
        assert broker.shares_store(backend)
        for other in (context(name + "x"), context(name, "elsewhere")):
            async with open_broker(other) as elsewhere, open_backend(other) as other_backend:
                assert await elsewhere.queues() == []
                assert not broker.shares_store(other_backend)


async def test_options_of_the_url_do_not_make_another_store(name: str) -> None:
    assert store_for(context(name)) is store_for(context(f"{name}?x=1"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_starts_empty(name: str) -> None:
    parent = store_for(context(name))
    asyncio.run(MemoryBroker(parent, FakeClock(), 600.0).publish([message("a")]))
    with parent.lock:  # as another thread would hold it at the moment of the fork
        child = os.fork()
        if not child:
            os._exit(0 if not store_for(context(name)).entries else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store_for(context(name)) is parent


@pytest.mark.parametrize("delay", [float("nan"), float("inf")])
async def test_a_delay_that_never_ends_is_refused(broker: MemoryBroker, delay: float) -> None:
    with pytest.raises(StoreRefused, match="delay"):
        await broker.publish([message("a", delay=delay)])
    await broker.publish(messages(2))
    deliveries = await claim(broker)
    actions: list[Action] = [Retry(delay=delay), ACK]
    settlements = [Settlement(receipt=d.receipt, action=a) for d, a in zip(deliveries, actions, strict=True)]
    backend = MemoryBackend(broker._store, broker._clock)
    statuses = [status(d.message.id) for d in deliveries]
    assert kinds(await broker.settle_with_results(settlements, statuses)) == ["refused", "done"]
    assert list(await backend.get(["job-0000", "job-0001"])) == ["job-0001"]
    assert await settle(broker, deliveries[0], ACK) == "done"


async def test_settlements_and_statuses_have_to_match(broker: MemoryBroker) -> None:
    with pytest.raises(ValueError, match="0 settlements with 1 statuses"):
        await broker.settle_with_results([], [None])


async def test_peeking_at_an_unknown_state_is_refused(broker: MemoryBroker) -> None:
    with pytest.raises(StoreRefused, match="'running' is no state"):
        await broker.peek("default", "running")


async def test_a_queue_keeps_a_limited_number_of_dead_letters(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memory_queue.DEAD_LIMIT == 100_000
    monkeypatch.setattr(memory_queue, "DEAD_LIMIT", 5)
    await broker.publish(messages(8))
    for delivery in await claim(broker):
        await settle(broker, delivery, DeadLetter(reason="failed"))
    assert [letter.message.id for letter in await broker.dead_letters("default")] == [
        f"job-{n:04}" for n in range(3, 8)
    ]
    assert await broker.find(["job-0000"]) == {}
    await broker.publish([message("job-0000")])
    assert (await claim_one(broker)).message.id == "job-0000"


async def test_a_store_that_works_for_long_stays_small(
    store: MemoryStore, broker: MemoryBroker, clock: FakeClock
) -> None:
    for _ in range(200):
        await broker.publish([message(f"job-{n}", delay=float(n % 2)) for n in range(10)])
        clock.advance(2.0)
        deliveries = await claim(broker)
        await broker.extend([d.receipt for d in deliveries], LEASE)
        actions: list[Action] = [ACK, Retry(delay=0.0), Release(), ACK]
        settlements = [Settlement(receipt=d.receipt, action=actions[n % 4]) for n, d in enumerate(deliveries)]
        statuses = [status(d.message.id, run=d.receipt.run, ttl=60.0) for d in deliveries]
        await broker.settle_with_results(settlements, statuses)
        await broker.purge("default")
        clock.advance(700.0)
    assert store.entries == {}
    # Markers, tokens, runs and results of the last rounds only.
    sizes = [len(kept.entries) for kept in (store.markers, store.settled, store.runs, store.results)]
    assert max(sizes) <= 60, sizes
    (queue,) = store.queues.values()
    assert len(queue.grants) <= 64 + 1
    assert len(queue.delayed) == 0


async def test_short_claims_leave_no_heap_of_old_leases(store: MemoryStore, broker: MemoryBroker) -> None:
    for n in range(1000):
        await broker.publish([message(f"job-{n}")])
        await settle(broker, await claim_one(broker), ACK)
    assert len(store.queues["default"].grants) <= 130


async def test_records_that_are_over_leave_no_room_taken(store: MemoryStore, clock: FakeClock) -> None:
    state = MemoryState(store, clock)
    for n in range(500):
        await state.put("locks", f"key-{n}", b"", ttl=5.0)
        clock.advance(20.0)
    assert len(store.records["locks"].entries) <= 4


async def test_waits_leave_nothing_behind(store: MemoryStore, broker: MemoryBroker, clock: FakeClock) -> None:
    backend = MemoryBackend(store, clock)
    subscription = Subscription.of("a", "b")
    await broker.wait_for_work(subscription, 0.001)
    await backend.wait("x", 0.001)
    waits = [
        asyncio.create_task(broker.wait_for_work(subscription, 60.0)),
        asyncio.create_task(backend.wait("x", 60.0)),
    ]
    await asyncio.sleep(0.01)
    for waiting in waits:
        waiting.cancel()
    await asyncio.wait(waits)
    assert store.result_waiters == {}
    assert [queue.waiters for queue in store.queues.values()] == [set(), set()]


async def test_a_shorter_lease_of_another_ends_a_wait_in_time(store: MemoryStore, broker: MemoryBroker) -> None:
    subscription = Subscription.of("default")
    waiting = asyncio.create_task(broker.wait_for_work(subscription, 60.0))
    await asyncio.sleep(0.01)
    other = MemoryBroker(store, broker._clock, 600.0)
    # Behind the back of the waiter: what is published and claimed between two of its steps.
    with store.lock:
        store.publish([message("a")], broker._clock.now())
        store.receive(subscription, 1, 0.1, 1, broker._clock.now())
    async with asyncio.timeout(5):
        await waiting
    # Now it knows of the end of that lease, and later leases do not disturb it.
    waiting = asyncio.create_task(broker.wait_for_work(subscription, 0.08))
    await asyncio.sleep(0.01)
    store.queues["default"].grant({}, broker._clock.now() + LEASE)
    assert len(store.queues["default"].waiters) == 1
    store.queues["default"].grant({}, broker._clock.now() + 0.01)
    assert len(store.queues["default"].waiters) == 0
    await waiting
    assert await claim(other) == []


async def test_closed_listeners_leave_the_channels(store: MemoryStore, broker: MemoryBroker) -> None:
    listeners = [broker.listen(["news"]) for _ in range(3)]
    assert len(store.channels._listeners) == 3
    await listeners[0].aclose()  # type: ignore[attr-defined]
    assert len(store.channels._listeners) == 2
    await broker.close()
    assert store.channels._listeners == []


async def test_a_waiter_whose_loop_is_gone_harms_nobody(store: MemoryStore, clock: FakeClock) -> None:
    async def leave_behind() -> None:
        session = MemoryBroker(store, clock, 600.0)
        waiting = asyncio.create_task(session.wait_for_work(Subscription.of("default"), 60.0))
        await asyncio.sleep(0.01)
        left.extend(store.queues["default"].waiters)
        waiting.cancel()

    left: list[Waiter] = []
    await asyncio.to_thread(asyncio.run, leave_behind())
    store.queues["default"].waiters.update(left)
    await MemoryBroker(store, clock, 600.0).publish([message("a")])
    assert store.queues["default"].waiters == set()


def entries_of(store: MemoryStore) -> Iterator[tuple[str, Entry]]:
    """Every entry with the state of the place where it is kept."""
    for queue in store.queues.values():
        for level in queue.levels.values():
            for entry in level.clean.values():
                assert not entry.crashes
                yield READY, entry
            for entry in level.suspects.values():
                yield LAPSED if entry.state == LAPSED else READY, entry
        for due, _, entry in queue.delayed:
            assert due == entry.at
            yield DELAYED, entry
        for end, _, grant in queue.grants:
            for entry in grant.values():
                assert entry.grant is grant
                assert entry.at == end
                yield LEASED, entry


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_is_done_each_message_is_in_one_place(seed: int) -> None:
    """A random walk over all verbs; after each step the books have to balance."""
    chance = random.Random(seed)
    store, clock = MemoryStore(), FakeClock()
    broker = MemoryBroker(store, clock, 1e6)
    published, gone = set[str](), set[str]()
    held: list = []  # type: ignore[type-arg]
    newest: Counter[str] = Counter()
    queues = ["a", "b", "c"]
    for step in range(300):
        verb = chance.choice(["publish", "receive", "settle", "settle", "extend", "advance", "manual"])
        if verb == "publish":
            job = f"j{chance.randrange(60)}"
            await broker.publish(
                [
                    message(
                        job, queue=chance.choice(queues), priority=chance.randrange(10), delay=chance.choice([0, 0, 20])
                    )
                ]
            )
            if job in store.entries:
                published.add(job)
                gone.discard(job)
        elif verb == "receive":
            subscription = Subscription.of(*chance.sample(queues, 2))
            for delivery in await broker.receive(
                subscription, chance.randrange(6), LEASE, suspects=chance.randrange(3)
            ):
                assert delivery.receipt.run > newest[delivery.message.id]
                newest[delivery.message.id] = delivery.receipt.run
                held.append(delivery)
        elif verb == "settle" and held:
            delivery = held.pop(chance.randrange(len(held)))
            action = chance.choice(ACTIONS)
            verdict = await settle(broker, delivery, action)
            good = newest[delivery.message.id] == delivery.receipt.run
            assert verdict == "lost" or good
            if verdict == "done" and action is ACK:
                gone.add(delivery.message.id)
        elif verb == "extend" and held:
            delivery = chance.choice(held)
            before = dict(await broker.find([delivery.message.id]))
            verdict = kinds(await broker.extend([delivery.receipt], LEASE))[0]
            if verdict == "lost":
                assert await broker.find([delivery.message.id]) == before
        elif verb == "advance":
            clock.advance(chance.choice([0.5, 10.0, 31.0]))
        elif step % 5 == 0:
            job = f"j{chance.randrange(60)}"
            doing = chance.randrange(5)
            if doing == 0:
                gone.update(await broker.remove([job]))
            elif doing == 1:
                await broker.move(*chance.sample(queues, 2))
            elif doing == 2:
                await broker.replay([job])
            elif doing == 3:
                gone.update(await _purge(broker, store, chance.choice(queues)))
            else:
                dead = {name for name, queue in store.dead.items() if queue.name == "a"}
                assert await broker.purge_dead("a") == len(dead)
                gone.update(dead)
        placed = list(entries_of(store))
        assert Counter(entry.message.id for _, entry in placed) == Counter(store.entries.keys())
        assert all(state == entry.state for state, entry in placed)
        assert set(store.entries) | set(store.dead) == published - gone
        for queue_name, queue in store.queues.items():
            assert queue.leased == sum(s == LEASED and e.queue is queue for s, e in placed), queue_name
            assert set(queue.dead) == {job for job, where in store.dead.items() if where is queue}


async def _purge(broker: MemoryBroker, store: MemoryStore, queue: str) -> set[str]:
    before = set(store.entries)
    count = await broker.purge(queue)
    purged = before - set(store.entries)
    assert len(purged) == count
    return purged


async def test_a_terminal_status_tells_only_who_waits_for_it(store: MemoryStore, clock: FakeClock) -> None:
    backend = MemoryBackend(store, clock)
    waits = {job: asyncio.create_task(backend.wait(job, 60.0)) for job in ("a", "b")}
    await asyncio.sleep(0.01)
    await backend.record([status("a"), status("b", TaskState.RUNNING)])
    assert await waits["a"] == status("a")
    assert not waits["b"].done()
    waits["b"].cancel()
    await asyncio.wait(waits.values())
