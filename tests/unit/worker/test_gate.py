import logging

import attrs
import pytest

from stem_core.builtin.memory_state import MemoryState
from stem_core.builtin.memory_store import MemoryStore
from stem_core.model import REVOCATIONS, Cancelled, HandedBack, Rejected, Revocation
from stem_core.testing.clock import FakeClock
from stem_core.wire import encode_revocation
from stem_core.worker.gate import UNKNOWN_DELAY, WARN_EVERY, Gate
from stem_core.worker.revocations import Revocations
from support.deliveries import entry, sealed
from support.task_host import FakeHost


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def revocations(clock):
    return Revocations(clock)


@pytest.fixture
def gate(clock, revocations):
    host = FakeHost()

    def t():
        pass

    host.task(t, name="t", aliases=("old_t",))
    return Gate(host.tasks, revocations, clock, max_message_size=1000, max_crashes=3, unknown_task_grace=600)


async def revoke(clock, revocations, *ids, reason="no more"):
    state = MemoryState(MemoryStore(), clock)
    for id in ids:
        record = Revocation(id=id, reason=reason, revoked_at=clock.now())
        await state.put(REVOCATIONS, id, encode_revocation(record))
    return await revocations.refresh(state)


class TestLetsThrough:
    def test_a_known_task(self, gate):
        one = entry()
        assert gate.judge(one) is None
        assert one.header.task == "t"
        assert one.task.name == "t"

    def test_a_former_name(self, gate):
        one = entry(sealed(task="old_t"))
        assert gate.judge(one) is None
        assert one.task.name == "t"

    def test_a_message_of_exactly_the_largest_size(self, gate):
        message = sealed()
        room = 1000 - len(message.header) - len(b'[[""],{}]')
        assert gate.judge(entry(sealed(payload=b'[["' + b"x" * room + b'"],{}]'))) is None

    def test_a_suspect_below_the_limit(self, gate):
        assert gate.judge(entry(crashes=2)) is None


class TestRefuses:
    def test_what_is_too_large_without_reading_it(self, gate):
        one = entry(attrs.evolve(sealed(), header=b"x" * 1001))
        assert gate.judge(one) == Rejected(reason="too-large", detail="1,008 bytes, over 1,000", readable=False)
        assert one.header is None

    @pytest.mark.parametrize("header", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"v":1}'])
    def test_what_cannot_be_read(self, gate, header):
        one = entry(attrs.evolve(sealed(), header=header))
        outcome = gate.judge(one)
        assert (outcome.reason, outcome.readable) == ("unreadable", False)
        assert outcome.detail

    @pytest.mark.parametrize("outer", [{"id": "other"}, {"queue": "other"}, {"priority": 9}])
    def test_an_outside_that_differs_from_the_inside(self, gate, outer):
        outcome = gate.judge(entry(attrs.evolve(sealed(), **outer)))
        assert (outcome.reason, outcome.readable) == ("unreadable", False)

    def test_the_one_that_was_there_when_too_many_workers_died(self, gate):
        outcome = gate.judge(entry(crashes=3))
        assert outcome == Rejected(reason="max-crashes", detail="lost 3 times with the worker or process that ran it")

    def test_a_poison_message_before_asking_whether_its_task_is_known(self, gate):
        assert gate.judge(entry(sealed(task="nobody"), crashes=3)).reason == "max-crashes"


class TestUnknownTask:
    def test_is_handed_back_with_a_delay_and_named(self, gate, caplog):
        outcome = gate.judge(entry(sealed(task="tt")))
        assert isinstance(outcome, HandedBack)
        assert outcome.reason == "unknown-task"
        assert UNKNOWN_DELAY / 2 <= outcome.delay <= UNKNOWN_DELAY * 1.5
        assert outcome.detail == "no task 'tt' is registered here; close: t"
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "include" in record.message
        assert "600 s" in record.message

    def test_is_warned_of_once_a_minute_for_each_name(self, gate, clock, caplog):
        for _ in range(3):
            gate.judge(entry(sealed(task="x")))
        assert len(caplog.records) == 1
        gate.judge(entry(sealed(task="y")))
        assert len(caplog.records) == 2
        clock.advance(WARN_EVERY)
        gate.judge(entry(sealed(task="x")))
        assert len(caplog.records) == 3

    def test_is_given_up_after_the_grace_by_the_clock_of_the_store(self, gate):
        late = entry(sealed(task="x"), now=1600.0, first_delivered_at=1000.0)
        outcome = gate.judge(late)
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "unknown-task"
        assert "nobody could run it for 600 s" in outcome.detail
        assert isinstance(gate.judge(entry(sealed(task="x"), now=1599.0, first_delivered_at=1000.0)), HandedBack)

    def test_a_newer_wire_version_waits_for_a_newer_worker(self, gate):
        newer = attrs.evolve(sealed(), header=sealed().header.replace(b'"v":1', b'"v":2'))
        outcome = gate.judge(entry(newer))
        assert (type(outcome), outcome.reason) == (HandedBack, "unsupported-version")
        given_up = gate.judge(entry(newer, now=600.0, first_delivered_at=0.0))
        assert (type(given_up), given_up.reason) == (Rejected, "unsupported-version")


class TestCancels:
    async def test_the_revoked(self, gate, clock, revocations):
        assert await revoke(clock, revocations, "job-1") == ["job-1"]
        assert gate.judge(entry()) == Cancelled(reason="revoked", detail="no more")
        assert gate.judge(entry(sealed("job-2"))) is None

    async def test_a_revocation_that_cannot_be_read_hides_no_other(self, clock, revocations, caplog):
        state = MemoryState(MemoryStore(), clock)
        await state.put(REVOCATIONS, "bad", b"{")
        await state.put(REVOCATIONS, "good", encode_revocation(Revocation(id="good", reason="", revoked_at=1.0)))
        assert await revocations.refresh(state) == ["good"]
        assert "good" in revocations.known
        assert await revocations.refresh(state) == []
        assert len(caplog.records) == 1

    def test_the_expired_by_the_time_of_the_store(self, gate):
        assert gate.judge(entry(sealed(expires_at=100.0), now=99.0, claimed_at=1000.0)) is None
        outcome = gate.judge(entry(sealed(expires_at=100.0), now=102.0, claimed_at=1000.0))
        assert outcome == Cancelled(reason="expired", detail="2.0 s too late")

    def test_what_expired_while_it_was_prefetched(self, gate, clock):
        waiting = entry(sealed(expires_at=100.0), now=99.0, claimed_at=clock.monotonic())
        clock.advance(1.5)
        assert gate.judge(waiting) == Cancelled(reason="expired", detail="0.5 s too late")

    def test_a_clock_of_the_worker_that_is_set_expires_nothing(self, gate, clock):
        one = entry(sealed(expires_at=100.0), now=99.0, claimed_at=clock.monotonic())
        clock.step(3600)
        assert gate.judge(one) is None
