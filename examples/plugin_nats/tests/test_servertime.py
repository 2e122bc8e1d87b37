"""The server's clock, read from here."""

from __future__ import annotations

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")

from datetime import UTC, datetime

from stem_core.clock import SYSTEM_CLOCK
from stem_nats import servertime
from stem_nats.servertime import ServerTime


class Clock:
    """A wrong clock that goes on by hand, and passes for the system's."""

    def __init__(self) -> None:
        self.spent = 50.0

    def now(self) -> float:
        raise AssertionError("the wall clock of this machine is not to be asked")

    def monotonic(self) -> float:
        return self.spent


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(servertime, "SYSTEM_CLOCK", made)
    return made


def test_the_time_is_the_servers_to_half_a_round_trip(clock) -> None:
    time = ServerTime(clock)
    clock.spent = 50.5
    time.sample(50.0, stamp(1_000_000.0))
    assert time.now() == pytest.approx(1_000_000.25)
    assert time.error == pytest.approx(0.25)
    assert time.passed() == pytest.approx(1_000_000.0)


def test_the_error_grows_until_the_next_sample(clock) -> None:
    time = ServerTime(clock)
    time.sample(50.0, stamp(1_000_000.0))
    clock.spent += 100.0
    assert 0.0 < time.error <= 0.05
    time.sample(clock.spent, stamp(1_000_100.01))
    assert time.now() == pytest.approx(1_000_100.01)
    assert time.error == 0.0


def test_a_worse_sample_teaches_nothing(clock) -> None:
    time = ServerTime(clock)
    time.sample(50.0, stamp(1_000_000.0))
    clock.spent += 4.0
    time.sample(50.0, stamp(1_000_003.5))
    assert time.now() == pytest.approx(1_000_004.0)


def test_a_server_whose_clock_was_set_is_followed(clock) -> None:
    time = ServerTime(clock)
    time.sample(50.0, stamp(1_000_000.0))
    clock.spent += 4.0
    time.sample(53.0, stamp(2_000_000.0))
    assert time.now() == pytest.approx(2_000_000.5)


def test_a_clock_that_is_turned_by_hand_is_the_stores_clock() -> None:
    class Turned:
        def now(self) -> float:
            return 12.0

        def monotonic(self) -> float:
            return 1.0

    time = ServerTime(Turned())
    time.sample(0.0, stamp(1_000_000.0))
    assert (time.now(), time.passed(), time.error, time.turned_by_hand) == (12.0, 12.0, 0.0, True)
    assert not ServerTime(SYSTEM_CLOCK).turned_by_hand
