import asyncio
import threading

import pytest

from stem_core.errors import InvalidOption
from stem_core.testing.clock import FakeClock
from stem_core.worker.stopping import StopMachine, check_mode


@pytest.fixture
def clock():
    return FakeClock()


def machine_of(clock, timeout=25.0, *, soft=5.0, hard=2.0):
    machine = StopMachine(
        clock, asyncio.get_running_loop(), shutdown_timeout=timeout, soft_margin=soft, hard_margin=hard
    )
    machine.begin()
    return machine


class TestDeadlines:
    async def test_a_warm_stop_becomes_soft_and_hard_within_its_budget(self, clock):
        machine = machine_of(clock)
        machine.request("warm", "SIGTERM")
        clock.advance(19.5)
        machine.advance()
        assert machine.phase == "warm"
        clock.advance(0.5)
        machine.advance()
        assert (machine.phase, machine.reason) == ("soft", "SIGTERM: time is nearly up")
        clock.advance(2.5)
        machine.advance()
        assert machine.phase == "soft"
        clock.advance(0.5)
        machine.advance()
        assert machine.phase == "hard"

    async def test_a_soft_stop_becomes_hard_after_the_grace_between_the_margins(self, clock):
        machine = machine_of(clock)
        machine.request("soft", "SIGINT")
        clock.advance(2.5)
        machine.advance()
        assert machine.phase == "soft"
        clock.advance(0.5)
        machine.advance()
        assert machine.phase == "hard"

    async def test_a_soft_stop_late_in_a_warm_one_gains_no_time(self, clock):
        machine = machine_of(clock)
        machine.request("warm", "")
        hard_at = machine.hard_at
        clock.advance(19)
        machine.request("soft", "")
        assert machine.hard_at <= hard_at

    async def test_a_timeout_given_with_the_request_replaces_the_budget(self, clock):
        machine = machine_of(clock)
        machine.request("warm", "", 10)
        clock.advance(5)
        machine.advance()
        assert machine.phase == "soft"
        clock.advance(3)
        machine.advance()
        assert machine.phase == "hard"

    @pytest.mark.parametrize(("timeout", "soft_after", "hard_after"), [(4, 2, 3.2), (1, 0.5, 0.8), (0, 0, 0)])
    async def test_a_budget_below_the_margins_is_shared_out(self, clock, timeout, soft_after, hard_after):
        machine = machine_of(clock, timeout)
        machine.request("warm", "")
        assert machine.soft_at - clock.monotonic() == pytest.approx(soft_after)
        assert machine.hard_at - clock.monotonic() == pytest.approx(hard_after)

    async def test_quiet_has_no_end(self, clock):
        machine = machine_of(clock)
        machine.request("quiet", "SIGTSTP")
        clock.advance(100_000)
        machine.advance()
        assert machine.phase == "quiet"

    async def test_a_machine_that_was_not_asked_goes_on(self, clock):
        machine = machine_of(clock)
        clock.advance(100_000)
        machine.advance()
        assert machine.phase == "running"


class TestOrder:
    async def test_stopping_only_goes_forward(self, clock):
        machine = machine_of(clock)
        machine.request("soft", "first")
        for mode in ("quiet", "warm", "soft"):
            machine.request(mode, "later")
        assert (machine.phase, machine.reason) == ("soft", "first")

    async def test_each_phase_lets_those_go_who_wait_for_it_or_an_earlier_one(self, clock):
        machine = machine_of(clock)
        waits = {
            phase: asyncio.create_task(machine.reached(phase)) for phase in ("running", "quiet", "warm", "soft", "hard")
        }
        machine.request("soft", "")
        await asyncio.gather(*(waits[phase] for phase in ("running", "quiet", "warm", "soft")))
        assert not waits["hard"].done()
        waits["hard"].cancel()

    async def test_a_request_from_another_thread_is_heard_on_the_loop(self, clock):
        machine = machine_of(clock)
        threading.Thread(target=machine.request, args=("warm", "thread")).start()
        async with asyncio.timeout(5):
            await machine.reached("warm")

    async def test_a_machine_that_has_ended_stays_ended(self, clock):
        machine = machine_of(clock)
        machine.end()
        machine.request("hard", "")
        machine.escalate("hard", "")
        assert machine.phase == "stopped"

    @pytest.mark.parametrize("mode", ["running", "cold", "", "HARD"])
    def test_an_unknown_mode_is_refused(self, mode):
        with pytest.raises(InvalidOption, match="quiet, warm, soft or hard"):
            check_mode(mode)


class TestEscalation:
    @pytest.mark.parametrize(
        ("signals", "phases"),
        [
            (["warm", "warm", "warm", "warm"], ["warm", "soft", "hard", "hard"]),
            (["soft", "soft", "soft"], ["soft", "hard", "hard"]),
            (["hard", "hard"], ["hard", "hard"]),
            (["quiet", "quiet", "quiet", "quiet"], ["quiet", "warm", "soft", "hard"]),
            (["quiet", "warm", "soft", "hard"], ["quiet", "warm", "soft", "hard"]),
            # A gentler one after a harder one is a repeated wish to end: it goes on.
            (["soft", "warm"], ["soft", "hard"]),
            (["warm", "hard"], ["warm", "hard"]),
        ],
    )
    async def test_a_repeated_signal_goes_one_step_further(self, clock, signals, phases):
        machine = machine_of(clock)
        seen = []
        for mode in signals:
            machine.escalate(mode, "signal")
            seen.append(machine.phase)
        assert seen == phases

    async def test_hard_is_due_at_once_however_it_was_reached(self, clock):
        machine = machine_of(clock)
        machine.escalate("warm", "")
        machine.escalate("warm", "")
        machine.escalate("warm", "")
        assert machine.hard_at == clock.monotonic()
