import logging
from signal import Signals

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core import ConfigurationError, Stem, Worker
from stem_core.testing.clock import FakeClock
from stem_core.worker.identity import numbered
from stem_core.worker.replicas import MARGIN, RETRY_CAP, STEADY, Fleet, Limits, Refuse, Say, Send, Start

LIMITS = Limits(shutdown_timeout=25.0, soft_margin=5.0, hard_margin=2.0)
KILLED = -Signals.SIGKILL


class World:
    """Does what the fleet decides, with processes that only tests end."""

    def __init__(self, size=3, **options):
        self.clock = FakeClock()
        self.fleet = Fleet(size, self.clock, LIMITS, jitter=max, **options)
        self.alive = []
        self.first = []
        self.sent = []
        self.said = []
        self.refused = []
        self(self.fleet.advance())

    def __call__(self, actions):
        for action in actions:
            match action:
                case Start(number=number, first=first):
                    assert number not in self.alive
                    self.alive.append(number)
                    self.first += [number] * first
                case Send(number=number, signal=signal):
                    assert number in self.alive
                    self.sent.append((number, signal.name))
                case Say():
                    self.said.append((action.level, action.text))
                case Refuse(text=text):
                    self.refused.append(text)

    def up(self, *numbers):
        for number in numbers:
            self(self.fleet.ready(number, LIMITS))
        return self

    def end(self, number, status=0, refusal=""):
        self.alive.remove(number)
        self(self.fleet.ended(number, status, f"ended with {status}", refusal))

    def signal(self, name):
        self(self.fleet.signal(Signals[name]))

    def pass_time(self, seconds):
        self.clock.advance(seconds)
        self(self.fleet.advance())

    def taken(self):
        sent, self.sent = self.sent, []
        return sent


def running(size=3, **options):
    return World(size, **options).up(*range(1, size + 1))


class TestStarting:
    def test_one_is_tried_before_the_others(self):
        world = World()
        assert world.alive == [1]
        world.up(1)
        assert world.alive == [1, 2, 3]
        assert world.first == [1]
        assert world.said == [(logging.INFO, "replicas: 3; SIGHUP replaces one after another")]

    def test_a_first_one_that_dies_is_tried_again_alone(self):
        world = World()
        world.end(1, 1)
        assert world.alive == []
        assert world.fleet.due == world.clock.monotonic() + 0.5
        world.pass_time(0.5)
        assert world.alive == [1]
        world.up(1)
        assert world.first == [1, 1]
        assert world.alive == [1, 2, 3]

    @pytest.mark.parametrize("code", [2, 3])
    def test_a_mistake_ends_all_and_is_told_once(self, code):
        world = World()
        world.end(1, code, "no such module")
        assert world.refused == ["no such module"]
        assert world.fleet.over
        assert world.fleet.exit_code == code

    def test_a_mistake_that_shows_later_stops_the_others_warm(self):
        world = World().up(1, 2)
        world.end(3, 2, "no")
        assert world.taken() == [(1, "SIGTERM"), (2, "SIGTERM")]
        world.end(1, 4)
        world.end(2)
        assert world.fleet.over
        assert world.fleet.exit_code == 2

    def test_a_code_of_2_from_a_worker_that_was_ready_is_a_crash(self):
        world = running()
        world.end(2, 2, "the store has a newer schema")
        assert world.refused == []
        assert world.said[-1][1].startswith("worker 2 ended with 2: the store has a newer schema; starting it again")
        world.pass_time(0.5)
        assert sorted(world.alive) == [1, 2, 3]


class TestDying:
    def test_each_failure_in_a_row_doubles_the_wait(self):
        world = running()
        waits = []
        for _ in range(9):
            world.end(2, KILLED)
            waits.append(world.fleet.due - world.clock.monotonic())
            world.pass_time(waits[-1])
            assert 2 in world.alive
            world.up(2)
        assert waits == [0.5, 1, 2, 4, 8, 16, RETRY_CAP, RETRY_CAP, RETRY_CAP]
        assert world.said[1] == (logging.ERROR, f"worker 2 ended with {KILLED}; starting it again in 0.5 s")
        assert world.said[2][1].endswith("starting it again in 1.0 s (failure 2)")
        assert world.taken() == []

    def test_one_that_has_worked_for_a_while_is_started_soon(self):
        world = running()
        for _ in range(3):
            world.end(2, KILLED)
            world.pass_time(2)
        world.up(2)
        world.clock.advance(STEADY)
        world.end(2, KILLED)
        assert world.fleet.due - world.clock.monotonic() == 0.5

    def test_the_wait_is_between_half_and_all_of_the_span(self):
        asked = []
        clock = FakeClock()
        fleet = Fleet(1, clock, LIMITS, jitter=lambda low, high: asked.append((low, high)) or low)
        fleet.advance()
        fleet.ended(1, KILLED, "")
        assert asked == [(0.25, 0.5)]
        assert fleet.due == clock.monotonic() + 0.25

    def test_one_that_somebody_else_stopped_is_replaced_too(self):
        world = running()
        world.end(1, 0)
        world.pass_time(0.5)
        assert sorted(world.alive) == [1, 2, 3]


class TestStopping:
    @pytest.mark.parametrize(
        ("signals", "sent"),
        [
            (["SIGTERM"], ["SIGTERM"]),
            (["SIGTERM", "SIGTERM", "SIGTERM", "SIGTERM"], ["SIGTERM", "SIGINT", "SIGQUIT"]),
            (["SIGINT", "SIGINT"], ["SIGINT", "SIGQUIT"]),
            (["SIGQUIT", "SIGTERM"], ["SIGQUIT"]),
            (["SIGTSTP", "SIGTSTP", "SIGINT"], ["SIGTSTP", "SIGTERM", "SIGINT"]),
            (["SIGINT", "SIGTERM"], ["SIGINT", "SIGQUIT"]),
            (["SIGTERM", "SIGHUP"], ["SIGTERM"]),
        ],
    )
    def test_signals_go_to_all_and_a_repeated_one_goes_further(self, signals, sent):
        world = running(2)
        for name in signals:
            world.signal(name)
        assert world.taken() == [(number, name) for name in sent for number in (1, 2)]

    @pytest.mark.parametrize(
        ("codes", "exit_code"),
        [((0, 0, 0), 0), ((0, 4, 0), 4), ((4, 1, 0), 1), ((0, KILLED, 4), 1), ((0, 0, 3), 1)],
    )
    def test_the_worst_end_is_the_end(self, codes, exit_code):
        world = running()
        world.signal("SIGTERM")
        for number, code in enumerate(codes, 1):
            assert not world.fleet.over
            world.end(number, code)
        assert world.fleet.over
        assert world.fleet.exit_code == exit_code

    def test_what_is_not_ready_gets_a_signal_that_it_knows(self):
        world = World(2).up(1)
        world.signal("SIGINT")
        assert world.taken() == [(1, "SIGINT"), (2, "SIGTERM")]
        world.end(2, -Signals.SIGTERM)
        world.end(1, 0)
        assert world.fleet.over
        assert world.fleet.exit_code == 0

    def test_one_that_waits_to_be_started_is_not(self):
        world = running()
        world.end(2, KILLED)
        world.signal("SIGTERM")
        world.end(1)
        world.end(3)
        assert world.fleet.over
        assert world.fleet.due is None
        # It died and was not restored.
        assert world.fleet.exit_code == 1

    @pytest.mark.parametrize(("signal", "span"), [("SIGTERM", 25), ("SIGINT", 5), ("SIGQUIT", 2)])
    def test_one_that_does_not_end_is_killed(self, signal, span):
        world = running(2)
        world.signal(signal)
        world.taken()
        world.end(1)
        assert world.fleet.due == world.clock.monotonic() + span + MARGIN
        world.pass_time(span + MARGIN - 0.5)
        assert world.taken() == []
        world.pass_time(0.5)
        assert world.taken() == [(2, "SIGKILL")]
        assert world.said[-1][0] == logging.CRITICAL
        assert world.fleet.due is None
        world.end(2, KILLED)
        assert world.fleet.exit_code == 1

    def test_a_harder_stop_never_gains_time(self):
        world = running(1)
        world.signal("SIGTERM")
        limit = world.fleet.due
        world.clock.advance(24)
        world.signal("SIGINT")
        assert world.fleet.due == limit

    def test_the_limits_are_those_that_a_worker_has(self):
        world = World(1)
        world(world.fleet.ready(1, Limits(shutdown_timeout=100.0, soft_margin=5.0, hard_margin=2.0)))
        world.signal("SIGTERM")
        assert world.fleet.due == world.clock.monotonic() + 100 + MARGIN

    def test_quiet_has_no_end_and_starts_nothing(self):
        world = running(2)
        world.signal("SIGTSTP")
        assert world.fleet.due is None
        world.end(1, KILLED)
        world.pass_time(1000)
        assert world.alive == [2]
        assert not world.fleet.over

    def test_stacks_are_asked_of_those_that_can_tell(self):
        world = World(2).up(1)
        world.signal("SIGUSR1")
        assert world.taken() == [(1, "SIGUSR1")]


class TestReplacing:
    def test_one_after_another_and_never_fewer(self):
        world = running()
        world.signal("SIGHUP")
        order = []
        while len(world.alive) > 3:
            new = world.alive[-1]
            assert world.taken() == []
            world.up(new)
            ((old, signal),) = world.taken()
            assert signal == "SIGTERM"
            order.append((new, old))
            assert len(world.alive) == 4
            world.end(old, 0)
        assert order == [(4, 1), (1, 2), (2, 3)]
        assert sorted(world.alive) == [1, 2, 4]
        assert world.fleet.due is None

    def test_a_second_hangup_replaces_those_too_that_came_since(self):
        world = running(2)
        world.signal("SIGHUP")
        world.up(3)
        world.end(1)
        world.signal("SIGHUP")
        started = [3]
        while len(world.alive) > 2:
            started.append(world.alive[-1])
            world.up(started[-1])
            ((old, _),) = world.taken()[-1:]
            world.end(old)
        assert len(started) == 4
        assert sorted(world.alive) == sorted(started[-2:])

    def test_a_new_one_that_cannot_start_leaves_the_old_ones_in_peace(self):
        world = running(2)
        world.signal("SIGHUP")
        world.end(3, 2, "no such module")
        assert world.said[-1] == (logging.ERROR, "the workers are not replaced and stay: no such module")
        assert (world.alive, world.taken(), world.refused) == ([1, 2], [], [])
        world.pass_time(1000)
        assert world.alive == [1, 2]
        world.signal("SIGHUP")
        assert world.alive == [1, 2, 3]

    def test_a_new_one_that_dies_is_tried_again(self):
        world = running(2)
        world.signal("SIGHUP")
        world.end(3, 1)
        assert world.alive == [1, 2]
        world.pass_time(0.5)
        assert world.alive == [1, 2, 3]
        world.up(3)
        assert world.taken() == [(1, "SIGTERM")]

    def test_an_old_one_that_dies_meanwhile_is_not_restarted(self):
        world = running(2)
        world.signal("SIGHUP")
        world.end(2, KILLED)
        # It was to be replaced anyway; the other one is the next.
        assert world.alive == [1, 3, 2]
        world.up(2)
        # Two are ready now, and so many there have to be.
        assert world.taken() == []
        world.up(3)
        assert world.taken() == [(1, "SIGTERM")]

    def test_an_old_one_that_drains_for_too_long_is_killed(self):
        world = running(1)
        world.signal("SIGHUP")
        world.up(2)
        world.taken()
        world.pass_time(25 + MARGIN)
        assert world.taken() == [(1, "SIGKILL")]
        world.end(1, KILLED)
        world.signal("SIGTERM")
        world.end(2)
        assert world.fleet.exit_code == 0

    def test_a_stop_while_one_drains_does_not_hurry_it(self):
        world = running(1)
        world.signal("SIGHUP")
        world.up(2)
        world.taken()
        world.signal("SIGTERM")
        assert world.taken() == [(2, "SIGTERM")]
        world.signal("SIGTERM")
        assert world.taken() == [(1, "SIGINT"), (2, "SIGINT")]

    @pytest.mark.parametrize("options", [{"hangup_stops": True}, {"burst": True}])
    def test_where_nothing_is_to_be_replaced_a_hangup_stops(self, options):
        world = running(2, **options)
        world.signal("SIGHUP")
        assert world.taken() == [(1, "SIGTERM"), (2, "SIGTERM")]


class TestBurst:
    def test_each_ends_by_itself(self):
        world = running(2, burst=True)
        world.end(1, 0)
        assert not world.fleet.over
        world.end(2, 0)
        assert world.fleet.over
        assert world.fleet.exit_code == 0

    def test_one_that_dies_is_started_again(self):
        world = running(2, burst=True)
        world.end(1, 0)
        world.end(2, KILLED)
        assert not world.fleet.over
        world.pass_time(0.5)
        assert world.alive == [2]

    def test_it_ends_when_the_first_cannot_start(self):
        world = World(2, burst=True)
        world.end(1, 1)
        assert world.fleet.over
        assert world.fleet.exit_code == 1
        assert world.said == [(logging.ERROR, "worker 1 ended with 1")]

    def test_a_first_one_that_was_killed_is_started_again(self):
        world = World(2, burst=True)
        world.end(1, KILLED)
        world.pass_time(0.5)
        assert world.alive == [1]


STEPS = st.one_of(
    st.tuples(st.just("up"), st.integers(0, 4)),
    st.tuples(st.just("end"), st.integers(0, 4), st.sampled_from([0, 1, 2, 3, 4, KILLED])),
    st.tuples(st.just("signal"), st.sampled_from(["SIGHUP", "SIGUSR1"])),
    st.tuples(st.just("pass_time"), st.sampled_from([0.25, 1.0, 40.0, 100.0])),
)


@given(size=st.integers(1, 3), steps=st.lists(STEPS, max_size=60))
def test_whatever_happens_it_comes_back_and_it_ends(size, steps):
    world = World(size).up(1)
    for name, *arguments in steps:
        if world.fleet.over:
            break
        if name in ("up", "end") and world.alive:
            number = world.alive[arguments[0] % len(world.alive)]
            if name == "end":
                world.end(number, arguments[1])
            elif world.fleet._replicas[number].state == "starting":
                world.up(number)
        elif name not in ("up", "end"):
            getattr(world, name)(*arguments)
        replicas = world.fleet._replicas
        if any(name == "SIGTERM" and replicas[number].state == "ready" for number, name in world.taken()):
            # One that works was told to go: so many stay that do.
            working = sum(replica.state == "ready" and not replica.mode for replica in replicas.values())
            assert working >= size or world.refused
        assert len(world.alive) <= size + 1
        assert sum(not replica.mode for replica in world.fleet._replicas.values()) >= size or world.refused
    if not world.refused:
        # Left alone, all that should be there come up, and nothing is left to do.
        for _ in range(4 * size + 4):
            for number in [n for n in world.alive if world.fleet._replicas[n].state == "starting"]:
                world.up(number)
            world.pass_time(100)
            for number in [n for n in world.alive if world.fleet._replicas[n].mode]:
                world.end(number, 0)
        assert len(world.alive) == size
        assert world.fleet.due is None
    world.signal("SIGTERM")
    for number in list(world.alive):
        world.end(number, 0)
    assert world.fleet.over


@pytest.mark.parametrize(
    ("name", "expected"), [("web1", "web1-2"), ("web1@%h", "web1-2@%h"), ("a@b@c", "a-2@b@c"), ("%h", "%h-2")]
)
def test_replicas_are_numbered_before_their_host(name, expected):
    assert numbered(name, 2) == expected


def test_a_worker_inside_a_program_is_one_worker():
    app = Stem("shop", broker_url="memory://")
    with pytest.raises(ConfigurationError, match="replicas=2: this is one worker") as refused:
        Worker(app, replicas=2)
    assert "test_replicas.py:" in str(refused.value)
    assert "stem worker --replicas N" in refused.value.hint


def test_who_sets_replicas_from_outside_means_the_command(monkeypatch):
    monkeypatch.setenv("STEM_WORKER_REPLICAS", "2")
    Worker(Stem("shop", broker_url="memory://"))


def test_one_replica_is_a_worker():
    Worker(Stem("shop", broker_url="memory://"), replicas=1)
