"""How many slots: the decision by itself, and a worker that goes by it."""

import asyncio
import itertools
import logging

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stem_core.errors import InvalidOption, StoreUnavailable
from stem_core.model import Subscription
from stem_core.testing.clock import FakeClock
from stem_core.worker import Worker
from stem_core.worker.autoscale import Decision, Sample, ScaleRules, afford, decide
from stem_core.worker.autoscaler import Autoscaler
from stem_core.worker.memory import Memory
from support.bench import bench, flaky_app
from support.until import until

RULES = ScaleRules(low=2, high=50, backlog=1.0, age=2.0, idle=30.0, step=0.25, memory=0.9)


def samples(*seen, slots=4, every=1.0):
    """One sample a second of ``(held, ready, oldest)``."""
    return [
        Sample(at=n * every, slots=slots, held=held, ready=ready, oldest=oldest)
        for n, (held, ready, oldest) in enumerate(seen)
    ]


class TestDecision:
    @pytest.mark.parametrize(
        ("seen", "slots", "reason"),
        [
            ([(8, 5, 0.1), (8, 5, 0.1)], 5, "5 tasks are ready for 4 slots"),
            ([(8, 1, 2.5), (8, 1, 3.5)], 5, "the oldest ready task has waited for 3.5 s"),
            ([(4, 5, 0.0), (4, 5, 0.0)], 5, "5 tasks are ready for 4 slots"),
            ([(2, 0, 0.0)] * 31, 3, "2 slots were idle for 30 s"),
            ([(3, 0, 0.0)] * 31, 3, "1 slots were idle for 30 s"),
            ([(0, 29, 9.0)] * 31, 3, "4 slots were idle for 30 s"),
        ],
        ids=["many", "old", "nothing prefetched", "idle", "idle but for the peak", "what more slots would not help"],
    )
    def test_a_step(self, seen, slots, reason):
        assert decide(RULES, samples(*seen)) == Decision(slots=slots, reason=reason)

    @pytest.mark.parametrize(
        "seen",
        [
            [(8, 5, 0.1)],
            [(8, 4, 0.1), (8, 5, 0.1)],
            [(8, 5, 0.1), (8, 4, 0.1)],
            [(8, 4, 1.9), (8, 4, 2.0)],
            [(3, 1, 9.0), (3, 1, 9.0)],
            [(1, 29, 9.0), (1, 29, 9.0)],
            [(2, 0, 0.0)] * 30,
            [(2, 0, 0.0)] * 15 + [(4, 0, 0.0)] + [(2, 0, 0.0)] * 29,
        ],
        ids=[
            "once",
            "for the first time",
            "not any more",
            "not old enough",
            "old, with slots free",
            "many, with slots free",
            "not idle long enough",
            "busy in between",
        ],
    )
    def test_none(self, seen):
        assert decide(RULES, samples(*seen)) is None

    @pytest.mark.parametrize(("slots", "more"), [(2, 3), (3, 4), (4, 5), (8, 10), (10, 13), (38, 48), (48, 50)])
    def test_a_step_up_is_a_quarter_and_at_least_one(self, slots, more):
        assert decide(RULES, samples((slots, 99, 9.0), (slots, 99, 9.0), slots=slots)).slots == more

    @pytest.mark.parametrize(("slots", "fewer"), [(50, 38), (38, 29), (8, 6), (4, 3), (3, 2)])
    def test_a_step_down_too(self, slots, fewer):
        assert decide(RULES, samples(*[(0, 0, 0.0)] * 31, slots=slots)).slots == fewer

    @pytest.mark.parametrize(("held", "fewer"), [(6, 6), (7, 7), (5, 6)])
    def test_never_cuts_what_is_busy(self, held, fewer):
        assert decide(RULES, samples(*[(held, 0, 0.0)] * 31, slots=8)).slots == fewer

    def test_the_ends_of_the_range(self):
        assert decide(RULES, samples(*[(99, 99, 9.0)] * 2, slots=50)) is None
        assert decide(RULES, samples(*[(0, 0, 0.0)] * 60, slots=2)) is None
        reason = "back into the range from 2 to 50"
        assert decide(RULES, samples((1, 0, 0.0), slots=1)) == Decision(slots=2, reason=reason)
        assert decide(RULES, samples((70, 9, 0.0), slots=80)) == Decision(slots=50, reason=reason)

    def test_idleness_before_a_change_does_not_count_after_it(self):
        before = samples(*[(0, 0, 0.0)] * 31, slots=8)
        assert decide(RULES, [*before, Sample(at=31.0, slots=6, held=0)]) is None


MIB = 2**20


def memory(used, limit=1000):
    return Memory(limit=limit * MIB, used=used * MIB)


def nothing(slots):
    return 0


class TestAfford:
    """The rules allow 900 of 1000 MiB."""

    def afford(self, slots, more, *seen, needs=nothing):
        return afford(RULES, Decision(slots=more, reason="a backlog"), slots, seen, needs)

    @pytest.mark.parametrize("seen", [(), (memory(0),), (memory(899),)])
    def test_a_step_for_which_there_is_memory_is_taken(self, seen):
        assert self.afford(8, 10, *seen) == Decision(slots=10, reason="a backlog")

    @pytest.mark.parametrize("used", [900, 950, 1000])
    def test_none_when_too_much_is_in_use_already(self, used):
        reason = f"{used:,} MiB of memory are in use, autoscale_max_memory allows 900 MiB of 1,000 MiB"
        assert self.afford(8, 10, memory(used)) == Decision(slots=8, reason=reason)

    def test_the_tightest_limit_counts_not_the_fullest(self):
        machine, pod = memory(8900, 10_000), memory(50, 60)
        assert self.afford(8, 10, machine, pod, needs=lambda _: 3 * MIB).slots == 10
        assert self.afford(8, 10, machine, pod, needs=lambda _: 5 * MIB).slots == 8
        assert self.afford(8, 10, machine, memory(55, 60)).slots == 8

    def test_as_many_children_as_there_is_memory_for(self):
        def needs(slots):
            return (slots - 8) * 60 * MIB

        assert self.afford(8, 10, memory(700), needs=needs).slots == 10
        some = self.afford(8, 10, memory(800), needs=needs)
        short = (
            "120 MiB of memory more for 10 slots, 800 MiB are in use, autoscale_max_memory allows 900 MiB of 1,000 MiB"
        )
        assert some == Decision(slots=9, reason=f"a backlog; no more: {short}")
        none = self.afford(8, 10, memory(850), needs=needs)
        short = (
            "60 MiB of memory more for 9 slots, 850 MiB are in use, autoscale_max_memory allows 900 MiB of 1,000 MiB"
        )
        assert none == Decision(slots=8, reason=short)

    def test_fewer_slots_and_the_least_of_them_need_no_leave(self):
        for slots, fewer in ((8, 6), (1, 2)):
            assert self.afford(slots, fewer, memory(1000)) == Decision(slots=fewer, reason="a backlog")


def simulate(rules, phases, *, seconds):
    """A worker under a steady flow of ``(jobs a second, seconds a job)`` in each phase: its slots by the second."""
    slots, queue, busy, history, told = rules.low, 0.0, 0.0, [], []
    clock = itertools.count()
    for rate, takes in phases:
        course = []
        for _ in range(seconds):
            queue += rate
            # A fluid, but for a started job, which takes a whole slot.
            wanted = queue * takes
            busy = min(float(slots), wanted)
            queue = max(0.0, queue - busy / takes)
            told.append(Sample(at=float(next(clock)), slots=slots, held=-int(-busy // 1), ready=int(queue), oldest=0.0))
            decision = decide(rules, told[-40:])
            if decision is not None:
                assert rules.low <= decision.slots <= rules.high
                assert decision.slots > slots or decision.slots >= busy
                slots = decision.slots
            course.append(slots)
        history.append(course)
    return history


def turns(course):
    """How often the course of a number changes its direction."""
    signs = [one < other for one, other in itertools.pairwise(course) if one != other]
    return sum(one != other for one, other in itertools.pairwise(signs))


class TestCourse:
    @settings(max_examples=60)
    @given(
        st.lists(st.tuples(st.floats(0, 300), st.floats(0.01, 3.0)), min_size=1, max_size=4),
        st.integers(1, 5),
        st.integers(0, 40),
    )
    def test_at_most_one_change_of_direction_in_a_phase(self, phases, low, more):
        rules = attrs.evolve(RULES, low=low, high=low + more)
        for course in simulate(rules, phases, seconds=400):
            assert turns(course) <= 1

    def test_from_the_least_to_the_most_and_back(self):
        busy, quiet = simulate(RULES, [(990, 0.05), (0, 0.05)], seconds=600)
        assert busy[-1] == 50
        assert busy.index(50) < 15
        assert turns(busy) == 0
        assert quiet[-1] == 2


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    return flaky_app(clock=clock)


def autoscaler(line, *, memory=tuple, **options):
    given = attrs.evolve(line.app.runtime.settings.worker, **options)
    parts = {"inflight": line.inflight, "intake": line.line.intake, "steering": line.line.steering}
    return Autoscaler(line.session, given, memory=memory, **parts)


class TestService:
    @pytest.fixture
    def gate(self, app):
        gate = asyncio.Event()

        @app.task(name="wait")
        async def wait():
            await gate.wait()

        gate.task = wait
        return gate

    async def look(self, service, clock, times=1):
        for _ in range(times):
            await service.look()
            clock.advance(1.0)

    async def test_goes_up_under_a_backlog_and_down_when_idle(self, app, clock, gate):
        heard = []
        app.signals.worker_scaled.connect(heard.append)
        async with bench(app, autoscale=(2, 5)) as line:
            service = autoscaler(line, autoscale=(2, 5))
            await app.enqueue_many([gate.task.call() for _ in range(40)])
            line.start_intake()
            await until(lambda: line.inflight.running == 2)
            assert len(line.inflight) == 4
            for slots in (2, 3, 4, 5, 5):
                await self.look(service, clock)
                assert line.line.slots.concurrency == slots
                # Prefetch and what runs follow at once.
                assert line.line.intake.prefetch == slots
                await until(lambda slots=slots: line.inflight.running == slots)
            gate.set()
            await line.idle()
            await self.look(service, clock, 31)
            assert line.line.slots.concurrency == 4
            await self.look(service, clock, 100)
            assert line.line.slots.concurrency == line.line.intake.prefetch == 2
            await until(lambda: len(heard) == 6)
        assert [(event.previous, event.concurrency, event.prefetch) for event in heard] == [
            (2, 3, 3), (3, 4, 4), (4, 5, 5), (5, 4, 4), (4, 3, 3), (3, 2, 2),
        ]  # fmt: skip
        assert heard[0].reason == "36 tasks are ready for 2 slots"
        assert heard[-1].reason.endswith("slots were idle for 30 s")
        assert not heard[0].pinned

    async def test_suspects_that_go_one_by_one_are_no_backlog(self, app, clock, gate):
        async with bench(app, autoscale=(2, 8), lease=600.0) as line:
            service = autoscaler(line, autoscale=(2, 8))
            await app.enqueue_many([gate.task.call() for _ in range(30)])
            await line.session.broker.receive(Subscription.of("default"), 30, 1.0)
            clock.advance(2.0)
            line.start_intake()
            await until(lambda: line.inflight.running == 1)
            await self.look(service, clock, 5)
            assert (line.inflight.running, line.line.slots.concurrency) == (1, 2)
            gate.set()
            await line.idle()

    async def test_stays_while_there_is_no_memory_and_says_so_once(self, app, clock, gate, caplog):
        caplog.set_level(logging.INFO, "stem_core.worker")
        heard = []
        app.signals.worker_scaled.connect(heard.append)
        async with bench(app, autoscale=(2, 5)) as line:
            seen = [memory(950)]
            service = autoscaler(line, memory=lambda: seen, autoscale=(2, 5), autoscale_max_memory=0.5)
            await app.enqueue_many([gate.task.call() for _ in range(40)])
            line.start_intake()
            await until(lambda: line.inflight.running == 2)
            for used in range(950, 960):
                seen[:] = [memory(used)]
                await self.look(service, clock)
            assert line.line.slots.concurrency == 2
            told = "stays at 2, not 3: {} MiB of memory are in use, autoscale_max_memory allows 500 MiB of 1,000 MiB"
            assert line.line.steering.scaled == told.format(959)
            assert [text for text in caplog.messages if "concurrency" in text] == [f"concurrency: {told.format(951)}"]
            seen[:] = [memory(400)]
            await self.look(service, clock)
            assert line.line.slots.concurrency == 3
            gate.set()
        assert [event.reason for event in heard] == ["36 tasks are ready for 2 slots"]

    async def test_a_strategy_says_what_its_slots_cost(self, app, clock, gate):
        async with bench(app, autoscale=(4, 16), autoscale_step=1.0) as line:
            service = autoscaler(line, memory=lambda: [memory(800)], autoscale=(4, 16), autoscale_step=1.0)
            line.line.strategies["event_loop"].memory_for = lambda slots: (slots - 4) * 30 * MIB
            await app.enqueue_many([gate.task.call() for _ in range(40)])
            line.start_intake()
            await until(lambda: line.inflight.running == 4)
            await self.look(service, clock, 2)
            assert line.line.slots.concurrency == 7
            assert line.line.steering.scaled.startswith("4 to 7: 32 tasks are ready for 4 slots; no more: 120 MiB")
            gate.set()

    async def test_looks_at_the_memory_only_before_a_step_up(self, app, clock):
        async with bench(app, autoscale=(2, 5)) as line:
            looks = []
            service = autoscaler(line, memory=lambda: looks.append(1) or [], autoscale=(2, 5))
            await line.line.steering.resize(5, "to see")
            await self.look(service, clock, 60)
            assert line.line.slots.concurrency < 5
            assert not looks

    async def test_a_fixed_prefetch_stays(self, app, clock, gate):
        async with bench(app, autoscale=(2, 5), prefetch=1) as line:
            await line.line.steering.resize(5, "to see")
            assert line.line.intake.prefetch == 1

    async def test_what_is_paused_or_has_all_it_may_have_is_no_backlog(self, app, clock, gate):
        async with bench(app, queues=["default", "mail"], autoscale=(2, 5), limit={"default": 1}) as line:
            service = autoscaler(line, autoscale=(2, 5))
            await app.enqueue_many([gate.task.call() for _ in range(40)])
            await app.enqueue_many([gate.task.options(queue="mail").call() for _ in range(40)])
            await line.line.steering.pause("mail", "test")
            line.start_intake()
            await until(lambda: line.inflight.running == 1)
            await self.look(service, clock, 5)
            assert line.line.slots.concurrency == 2
            await line.line.steering.resume("mail", "test")
            await until(lambda: line.inflight.running == 2)
            await self.look(service, clock, 5)
            assert line.line.slots.concurrency > 2
            gate.set()

    async def test_slots_that_are_kept_free_for_another_queue_are_not_idle(self, app, clock, gate):
        options = {"autoscale": (4, 6), "reserve": {"mail": 2}, "prefetch": 0, "lease": 600.0}
        async with bench(app, queues=["default", "mail"], **options) as line:
            service = autoscaler(line, autoscale=(4, 6))
            await app.enqueue_many([gate.task.call() for _ in range(3)])
            line.start_intake()
            await until(lambda: line.inflight.running == 2)
            # One task waits, two slots are free, and none of them is for it.
            clock.advance(3.0)
            await self.look(service, clock, 2)
            assert line.line.slots.concurrency == 5
            await until(lambda: line.inflight.running == 3)
            await self.look(service, clock, 60)
            assert line.line.slots.concurrency == 5
            gate.set()
            await line.idle()
            await self.look(service, clock, 60)
            assert line.line.slots.concurrency == 4

    async def test_a_broker_that_does_not_answer_changes_nothing(self, app, clock):
        async with bench(app, autoscale=(2, 5)) as line:
            service = autoscaler(line, autoscale=(2, 5))
            await line.line.steering.resize(5, "to see")
            await self.look(service, clock, 20)
            line.faults.down.add("depth")
            with pytest.raises(StoreUnavailable):
                await service.look()
            line.line.intake.failing = True
            await self.look(service, clock, 20)
            assert line.line.slots.concurrency == 5

    async def test_the_service_lives_through_every_failure_and_tells_once(self, app, caplog):
        async with bench(app, autoscale=(2, 5)) as line:
            service = autoscaler(line, autoscale=(2, 5), autoscale_interval=0.01)
            line.faults.down.add("depth")
            running = asyncio.create_task(service.run())
            await until(lambda: line.faults.calls["depth"] > 3)
            told = [record for record in caplog.records if "the concurrency stays" in record.message]
            assert len(told) == 1
            running.cancel()

    async def test_pinned_it_looks_at_nothing_until_it_is_let_go(self, app, clock, gate):
        async with bench(app, autoscale=(2, 5)) as line:
            service = autoscaler(line, autoscale=(2, 5))
            await line.line.steering.scale(9, "by hand")
            await self.look(service, clock, 60)
            assert line.line.slots.concurrency == 9
            assert line.faults.calls["depth"] == 0
            await line.line.steering.follow("by hand")
            await self.look(service, clock)
            assert line.line.slots.concurrency == 5
            assert line.line.steering.scaled == "9 to 5: back into the range from 2 to 5"


class TestResizing:
    async def test_what_runs_is_never_cut(self, app):
        gates = [asyncio.Event() for _ in range(6)]
        ended = []

        @app.task
        async def t(number: int):
            await gates[number].wait()
            ended.append(number)

        async with bench(app, concurrency=4, prefetch=2) as line:
            await app.enqueue_many([t.call(n) for n in range(6)])
            line.start_intake()
            await until(lambda: line.inflight.running == 4)
            await line.line.steering.resize(1, "to see")
            assert line.inflight.running == 4
            for number in (0, 1, 2):
                gates[number].set()
            await until(lambda: line.inflight.running == 1)
            await asyncio.sleep(0.01)
            assert line.inflight.running == 1
            for gate in gates:
                gate.set()
            await line.idle()
        assert sorted(ended) == list(range(6))

    async def test_lanes_follow(self, app):
        async with bench(app, queues=["a", "b"], reserve={"a": 2}, concurrency=4) as line:
            await line.line.steering.resize(8, "to see")
            assert (line.line.steering.running.size, line.inflight.lanes.size) == (8, 16)
            assert line.line.steering.running.room("b") == 6
            assert line.inflight.lanes.room("b") == 12

    async def test_strategies_follow_and_go_first_on_the_way_up(self, app):
        @app.task
        def t():
            pass

        async with bench(app, concurrency=2) as line:
            seen = []
            strategy = line.line.strategies["threads"]

            async def resize(slots):
                seen.append((slots, line.line.slots.concurrency))

            strategy.resize = resize
            await line.line.steering.resize(3, "to see")
            await line.line.steering.resize(2, "to see")
            await line.line.steering.resize(2, "nothing to do")
        assert seen == [(3, 2), (2, 2)]


class TestStrategyThatFails:
    """It raises when it is given a number of slots that it does not like."""

    @pytest.fixture
    def app(self, app):
        @app.task(name="plain")
        def plain():
            pass

        @app.task(name="coroutine")
        async def coroutine():
            pass

        return app

    @pytest.fixture
    def heard(self, app):
        heard = []
        app.signals.worker_scaled.connect(heard.append)
        return heard

    def refuse(self, line, slots):
        """Both strategies remember what they were given; the second, in the order they are asked, refuses these."""
        given = {}
        for number, (name, strategy) in enumerate(line.line.strategies.items()):
            given[name] = [line.plan.concurrency]

            async def resize(wanted, seen=given[name], refuses=number == 1):
                seen.append(wanted)
                if refuses and wanted in slots:
                    raise RuntimeError(f"no {wanted} today")

            strategy.resize = resize
        assert len(given) == 2
        return given

    @pytest.mark.parametrize("wanted", [5, 2])
    async def test_all_is_as_it_was_and_the_failure_is_told(self, app, heard, caplog, wanted):
        async with bench(app, queues=["default", "mail"], reserve={"mail": 1}, concurrency=3) as line:
            given = self.refuse(line, {wanted})
            steering = line.line.steering
            await steering.scale(wanted, "by hand")
            assert not steering.pinned
            assert (steering.concurrency, line.line.intake.prefetch) == (3, 3)
            assert (steering.running.size, line.inflight.lanes.size) == (3, 6)
            assert [seen[-1] for seen in given.values()] == [3, 3]
            told = f"stays at 3, not {wanted}: the strategy 'threads' failed: RuntimeError: no {wanted} today"
            assert steering.scaled == told
            (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
            assert record.message == f"concurrency: {told}"
            assert record.exc_info
            await steering.scale(4, "by hand")
            assert (steering.concurrency, steering.pinned) == (4, True)
        assert [(event.previous, event.concurrency, event.pinned) for event in heard] == [(3, 4, True)]

    async def test_what_was_pinned_before_stays_pinned(self, app, heard):
        async with bench(app, autoscale=(2, 8)) as line:
            self.refuse(line, {6})
            await line.line.steering.scale(4, "by hand")
            await line.line.steering.scale(6, "by hand")
            assert (line.line.steering.concurrency, line.line.steering.pinned) == (4, True)
            # Who waited while it was pinned does not change it.
            await line.line.steering.resize(2, "the work")
            assert line.line.steering.concurrency == 4

    async def test_autoscaling_tries_on_and_tells_once(self, app, clock, heard, caplog):
        async with bench(app, autoscale=(2, 8)) as line:
            given = self.refuse(line, {1, 2})
            service = autoscaler(line, autoscale=(2, 8))
            await line.line.steering.resize(3, "to see")
            for _ in range(100):
                await service.look()
                clock.advance(1.0)
            assert given["threads"].count(2) > 3
            assert line.line.steering.concurrency == 3
            assert len([record for record in caplog.records if "no 2 today" in record.message]) == 1
            self.refuse(line, set())
            await service.look()
            assert line.line.steering.concurrency == 2
        assert [(event.previous, event.concurrency) for event in heard] == [(2, 3), (3, 2)]

    async def test_what_came_while_it_was_asked_starts_when_all_is_as_it_was(self, app):
        asked, answer, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

        @app.task(name="held")
        async def held():
            await gate.wait()

        async with bench(app, concurrency=3) as line:

            async def refuse(slots):
                asked.set()
                await answer.wait()
                if slots != 3:
                    raise RuntimeError("no")

            next(iter(line.line.strategies.values())).resize = refuse
            scaling = asyncio.create_task(line.line.steering.scale(1, "by hand"))
            await asked.wait()
            await app.enqueue_many([held.call() for _ in range(6)])
            line.start_intake()
            await until(lambda: line.inflight.running == 1)
            answer.set()
            await scaling
            await until(lambda: line.inflight.running == 3 and len(line.inflight) == 6)
            gate.set()
            await line.idle()

    async def test_follow_undoes_what_was_asked_before_it(self, app):
        async with bench(app, concurrency=3) as line:
            answer = asyncio.Event()

            async def resize(slots):
                await answer.wait()

            for strategy in line.line.strategies.values():
                strategy.resize = resize
            steering = line.line.steering
            changes = [asyncio.create_task(work) for work in (steering.scale(5, "by hand"), steering.follow("by hand"))]
            await asyncio.sleep(0)
            answer.set()
            await asyncio.gather(*changes)
            assert (steering.concurrency, steering.pinned) == (3, False)

    async def test_one_that_cannot_go_back_either_keeps_nobody_from_going_back(self, app, caplog):
        async with bench(app, concurrency=3) as line:
            given = self.refuse(line, {3, 5})
            await line.line.steering.scale(5, "by hand")
            assert line.line.steering.concurrency == 3
            assert [seen[-1] for seen in given.values()] == [3, 3]
        assert "ThreadStrategy cannot go back to 3 slots" in caplog.text


class TestWorkerFromCode:
    @pytest.fixture
    def app(self):
        return flaky_app()

    async def test_scale_pins_and_autoscale_lets_go(self, app):
        heard = []
        app.signals.worker_scaled.connect(heard.append)
        async with Worker(app, autoscale=(2, 10), autoscale_interval=0.05, autoscale_idle=0.05) as worker:
            assert worker.heartbeat().concurrency == 2
            assert worker.heartbeat().autoscale == (2, 10)
            await asyncio.to_thread(worker.scale, 7, reason="a test")
            await until(lambda: worker.heartbeat().concurrency == 7)
            beat = worker.heartbeat()
            assert (beat.autoscale, beat.prefetch, beat.scaled) == (None, 7, "2 to 7: a test")
            worker.autoscale()
            await until(lambda: worker.heartbeat().concurrency == 2)
        assert (heard[0].previous, heard[0].concurrency, heard[0].reason, heard[0].pinned) == (2, 7, "a test", True)
        assert [event.pinned for event in heard[1:]] == [False] * (len(heard) - 1)

    async def test_without_a_range_it_goes_back_to_where_it_began(self, app):
        async with Worker(app, concurrency=3) as worker:
            worker.scale(5)
            await until(lambda: worker.heartbeat().concurrency == 5)
            worker.autoscale()
            await until(lambda: worker.heartbeat().concurrency == 3)

    async def test_what_is_said_before_the_start_holds_after_it(self, app, caplog):
        caplog.set_level(logging.INFO, "stem_core.worker")
        worker = Worker(app, concurrency=3)
        worker.scale(5)
        worker.pause("default")
        async with worker:
            await until(lambda: worker.heartbeat().concurrency == 5)
            assert worker.heartbeat().paused == ("default",)
        assert "concurrency: 3 to 5: scale()" in caplog.messages

    @pytest.mark.parametrize("slots", [0, -1, 2.0, True, "3"])
    async def test_a_number_that_cannot_be(self, app, slots):
        with pytest.raises(InvalidOption, match="concurrency"):
            Worker(app).scale(slots)

    async def test_fewer_than_are_reserved(self, app):
        worker = Worker(app, queues=["default", "mail"], reserve={"mail": 2}, concurrency=4)
        with pytest.raises(InvalidOption) as refused:
            worker.scale(2)
        assert refused.value.hint == "give enough slots for the 2 that are reserved"
