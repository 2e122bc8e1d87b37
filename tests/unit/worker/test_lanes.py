"""Lanes: the counting by itself, and a worker that goes by it."""

import asyncio
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.errors import StoreUnavailable
from stem_core.model import Subscription
from stem_core.worker.lanes import LaneClaims, LaneRules, Lanes
from support.bench import bench, flaky_app
from support.until import until

QUEUES = ("a", "b", "c")


@st.composite
def rules_and_slots(draw):
    """Rules that a plan would let pass."""
    reserve = draw(st.dictionaries(st.sampled_from(QUEUES), st.integers(1, 4)))
    slots = draw(st.integers(sum(reserve.values()) + 1, 20))
    limit = {queue: draw(st.integers(reserve.get(queue, 1), 12)) for queue in draw(st.lists(st.sampled_from(QUEUES)))}
    return LaneRules(reserve=reserve, limit=limit), slots


STEPS = st.lists(st.tuples(st.sampled_from(["enter", "leave"]), st.sampled_from(QUEUES)), max_size=60)


def checked(lanes, rules, size):
    """The promises of lanes that nobody has overfilled."""
    assert lanes.total == sum(lanes.counts.values()) <= size
    for queue in QUEUES:
        room = lanes.room(queue)
        assert 0 <= room <= lanes.most(queue)
        assert lanes.counts[queue] <= rules.limit.get(queue, size)
        assert lanes.full(queue) == (queue in rules.limit and lanes.counts[queue] == rules.limit[queue])
        if lanes.owed(queue):
            # Whatever the others do, a reserve is there.
            assert room >= lanes.owed(queue)
    assert sum(map(lanes.owed, QUEUES)) + lanes.shared + lanes.total == size


class TestCounting:
    @given(rules_and_slots(), STEPS)
    def test_a_reserve_is_always_free_and_a_limit_never_passed(self, ruled, steps):
        rules, slots = ruled
        lanes = Lanes(rules, slots)
        checked(lanes, rules, slots)
        for step, queue in steps:
            if step == "enter" and lanes.room(queue):
                lanes.enter(queue)
            elif step == "leave" and lanes.counts[queue]:
                lanes.leave(queue)
            checked(lanes, rules, slots)

    @given(rules_and_slots(), STEPS, st.integers(0, 40))
    def test_what_is_held_in_all_gives_each_lane_its_share_of_the_prefetch(self, ruled, steps, prefetch):
        rules, slots = ruled
        held = rules.widened(slots, prefetch)
        size = slots + prefetch
        assert sum(held.reserve.values()) <= size
        for queue, limit in rules.limit.items():
            assert limit <= held.limit[queue] <= limit + -(-prefetch * limit // slots)
        lanes = Lanes(held, size)
        for _, queue in steps:
            if lanes.room(queue):
                lanes.enter(queue)
            checked(lanes, held, size)
        if not prefetch:
            assert held == rules

    @given(rules_and_slots(), STEPS, st.integers(1, 30))
    def test_with_another_size_what_is_held_stays_and_nothing_comes_in_that_may_not(self, ruled, steps, size):
        rules, slots = ruled
        lanes = Lanes(rules, slots)
        for _, queue in steps:
            if lanes.room(queue):
                lanes.enter(queue)
        before = dict(lanes.counts)
        lanes.resize(rules, size)
        assert dict(lanes.counts) == before
        for queue in QUEUES:
            assert lanes.room(queue) <= max(0, size - lanes.total)
        while any(lanes.counts.values()):
            lanes.leave(max(lanes.counts, key=lanes.counts.__getitem__))
        assert lanes.shared == max(0, size - sum(rules.reserve.values()))

    @given(rules_and_slots(), st.integers(0, 20), st.dictionaries(st.sampled_from(QUEUES), st.integers(0, 50)), STEPS)
    def test_no_flood_is_claimed_into_a_reserve(self, ruled, prefetch, ready, steps):
        """A broker that always has what it is asked for, and a worker that ends one at a time."""
        rules, slots = ruled
        widened = rules.widened(slots, prefetch)
        held, running = Lanes(widened, slots + prefetch), Lanes(rules, slots)
        claims = LaneClaims(running, held)
        reading = Subscription.of(*QUEUES)
        for _, gone in [("", ""), *steps]:
            if held.counts[gone]:
                held.leave(gone)
            wanted = claims.wanted(reading)
            brought = receive(wanted, min(sum(wanted.caps), claims.shared), ready)
            owed = claims.owed(wanted, brought)
            for queue in brought + receive(owed, sum(owed.caps), ready):
                assert held.room(queue)
                held.enter(queue)
            checked(held, widened, slots + prefetch)


def receive(subscription, limit, ready):
    """What a broker gives, by the contract."""
    taken = []
    for queue, most in subscription.plan(limit):
        got = min(most, limit - len(taken), ready.get(queue, 0))
        taken += [queue] * got
        if got:
            ready[queue] -= got
    return taken


class TestPlansOfClaims:
    @given(
        st.lists(st.integers(1, 9), min_size=1, max_size=4),
        st.lists(st.integers(0, 12), min_size=4, max_size=4),
        st.integers(1, 30),
        st.booleans(),
        st.integers(0, 5),
    )
    def test_never_more_of_a_queue_than_its_cap_and_all_that_the_caps_allow(self, weights, caps, limit, strict, turn):
        queues = tuple("abcd"[: len(weights)])
        subscription = Subscription(queues=queues, weights=tuple(weights), strict=strict)
        capped = subscription.capped(dict(zip(queues, caps, strict=False)))
        brought = receive(capped.turned(turn), limit, dict.fromkeys(queues, 100))
        allowed = dict(zip(queues, caps, strict=False))
        assert all(brought.count(queue) <= allowed[queue] for queue in queues)
        assert len(brought) == min(limit, sum(allowed.values()))

    def test_a_queue_without_a_cap_is_left_out_with_its_weight(self):
        capped = Subscription(queues=("a", "b", "c"), weights=(1, 2, 3), strict=True).capped({"c": 4, "a": 1, "b": 0})
        assert capped == Subscription(queues=("a", "c"), weights=(1, 3), strict=True, caps=(1, 4))
        assert Subscription.of("a").capped({}).queues == ()


class Doors:
    """A task of each queue that waits until it is let go."""

    def __init__(self, app, *queues):
        self.app = app
        self.open = {queue: asyncio.Event() for queue in queues}
        self.running = dict.fromkeys(queues, 0)
        self.most = dict.fromkeys(queues, 0)
        self.tasks = {queue: self._task(queue) for queue in queues}

    def _task(self, queue):
        @self.app.task(name=queue, queue=queue)
        async def wait():
            self.running[queue] += 1
            self.most[queue] = max(self.most[queue], self.running[queue])
            await self.open[queue].wait()
            self.running[queue] -= 1

        return wait

    async def enqueue(self, queue, count):
        await self.app.enqueue_many([self.tasks[queue].call() for _ in range(count)])

    async def until(self, **running):
        async with asyncio.timeout(5):
            await until(lambda: {queue: self.running[queue] for queue in running} == running)


@pytest.fixture
def app():
    return flaky_app()


@pytest.fixture
def doors(app):
    return Doors(app, "mail", "bulk", "other")


def held(line, queue):
    return line.inflight.lanes.counts[queue]


class TestSlots:
    async def test_a_limit_holds_and_blocks_nobody_behind_it(self, app, doors):
        async with bench(app, queues=["mail", "bulk"], limit={"mail": 2}, concurrency=6, prefetch=6) as line:
            await doors.enqueue("mail", 20)
            line.start_intake()
            await doors.until(mail=2)
            # Two slots, and a third of the prefetch.
            await until(lambda: held(line, "mail") == 4)
            await doors.enqueue("bulk", 10)
            await doors.until(bulk=4)
            assert line.line.slots.free == 0
            doors.open["mail"].set()
            doors.open["bulk"].set()
            await line.idle()
            assert (await line.depth("mail")).ready == 0
        assert doors.most["mail"] == 2

    async def test_a_flood_cannot_take_what_is_reserved(self, app, doors):
        async with bench(app, queues=["bulk", "mail"], reserve={"mail": 2}, concurrency=6, prefetch=6) as line:
            await doors.enqueue("bulk", 50)
            line.start_intake()
            await doors.until(bulk=4)
            await until(lambda: held(line, "bulk") == 8)
            await doors.enqueue("mail", 5)
            await doors.until(mail=2)
            assert held(line, "mail") == 4
            assert doors.most["bulk"] == 4
            doors.open["bulk"].set()
            # The mail is as welcome elsewhere as others are.
            await until(lambda: doors.running["mail"] == 5)
            doors.open["mail"].set()
            await line.idle()

    async def test_nothing_is_held_beside_the_running_without_a_prefetch(self, app, doors):
        options = {"reserve": "mail=1", "limit": "bulk=2", "concurrency": 4, "prefetch": 0}
        async with bench(app, queues=["bulk", "mail", "other"], **options) as line:
            for queue in ("bulk", "other", "mail"):
                await doors.enqueue(queue, 5)
            line.start_intake()
            await until(lambda: sum(doors.running.values()) == 4)
            assert doors.running["mail"] >= 1
            assert doors.running["bulk"] <= 2
            assert len(line.inflight) == 4
            for door in doors.open.values():
                door.set()
            await line.idle()
            assert line.line.steering.running.total == 0

    async def test_a_worker_whose_lanes_are_full_sleeps_though_work_is_ready(self, app, doors):
        async with bench(app, queues=["mail", "other"], limit={"mail": 1}, concurrency=4, prefetch=0) as line:
            await doors.enqueue("mail", 10)
            line.start_intake()
            await doors.until(mail=1)
            claims = line.faults.calls["receive"]
            await asyncio.sleep(0.2)
            assert line.faults.calls["receive"] - claims <= 2
            # And it wakes at once for the other.
            await doors.enqueue("other", 1)
            await doors.until(other=1)
            for door in doors.open.values():
                door.set()
            await line.idle()

    async def test_what_the_first_claim_brought_is_kept_when_the_second_fails(self, app, doors):
        async with bench(app, queues=["bulk", "mail"], reserve={"mail": 1}, concurrency=4, prefetch=0) as line:
            await doors.enqueue("bulk", 5)
            line.faults.script("receive", "ok", StoreUnavailable("gone"))
            line.start_intake()
            await doors.until(bulk=3)
            await doors.enqueue("mail", 1)
            await doors.until(mail=1)
            for door in doors.open.values():
                door.set()
            await line.idle()

    async def test_closing_gives_back_what_waits_for_a_lane(self, app, doors):
        async with bench(app, queues=["mail"], limit={"mail": 1}, concurrency=4, prefetch=4) as line:
            await doors.enqueue("mail", 4)
            line.start_intake()
            # What is held starts a turn of the loop later; closed before that, both would go back.
            await until(lambda: held(line, "mail") == 2 and line.inflight.running == 1)
            line.line.stop_claiming()
            await line.line.settler.settled()
            assert held(line, "mail") == 1
            assert (await line.depth("mail")).ready == 3
            doors.open["mail"].set()
            await line.finished()


class TestWithoutLanes:
    async def test_nothing_is_counted_by_queue(self, app):
        async with bench(app) as line:
            assert line.inflight.lanes is None
            assert line.line.steering.running is None
            assert type(line.inflight.waiting) is deque
