"""The steps of the state machine. Imports hypothesis, so only who has it imports this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stem_core.contracts import Inspectable, KeepsDeadLetters
from stem_core.model import (
    ACK,
    Action,
    DeadLetter,
    Message,
    Receipt,
    Release,
    Retry,
    Settlement,
    StoredMessage,
    Subscription,
)
from stem_core.testing.contracts.machine import History
from stem_core.testing.contracts.model import DEAD, TOLERANCE

QUEUES = ("a", "b")
IDS = [f"job-{n}" for n in range(8)]
_ids = st.sampled_from(IDS)
_queues = st.sampled_from(QUEUES)
_delays = st.sampled_from([0.0, 0.0, 0.0, 5.0, 40.0])
_messages = st.builds(
    Message,
    id=_ids,
    queue=_queues,
    priority=st.sampled_from([1, 5, 5, 9]),
    delay=_delays,
    header=st.just(b"{}"),
    payload=st.sampled_from([b"x", b"y"]),
    signature=st.none(),
)
_subscriptions = st.sampled_from(
    [
        Subscription.of("a"),
        Subscription.of("b"),
        Subscription.of("a", "b"),
        Subscription.of("b", "a", strict=True),
        Subscription.parse(["a:3", "b"]),
    ]
)
_actions: st.SearchStrategy[Action] = st.one_of(
    st.just(ACK),
    st.builds(lambda delay: Retry(delay=delay), _delays),
    st.builds(lambda delay, charge: Release(delay=delay, charge=charge), _delays, st.booleans()),
    st.just(DeadLetter(reason="failed")),
)
_leases = st.sampled_from([10.0, 30.0])
_sessions = st.integers(0, 1)
#: Counted from the newest receipt, so that what is good comes up often and what is old now and then.
_receipts = st.one_of(st.integers(0, 2), st.integers(0, 20))


def broker_machine(start: Callable[[], History]) -> type[RuleBasedStateMachine]:
    """The state machine over the histories that ``start`` begins."""
    return type("BrokerMachine", (_BrokerMachine,), {"start": staticmethod(start)})


class _BrokerMachine(RuleBasedStateMachine):
    start: Callable[[], History]

    def __init__(self) -> None:
        super().__init__()
        self.history = type(self).start()
        self.model = self.history.model
        self.receipts: list[Receipt] = []

    def teardown(self) -> None:
        self.history.close()

    def _broker(self, session: int = 0) -> Any:
        return self.history.sessions[session]

    def _receipt(self, back: int) -> Receipt:
        return self.receipts[-1 - back % len(self.receipts)]

    @rule(batch=st.lists(_messages, min_size=1, max_size=4), session=_sessions)
    def publish(self, batch: list[Message], session: int) -> None:
        now = self.history.tick()
        self.history.ask(self._broker(session).publish(batch))
        self.model.publish(batch, now)

    @rule(
        subscription=_subscriptions,
        limit=st.integers(0, 4),
        suspects=st.integers(0, 3),
        lease=_leases,
        session=_sessions,
    )
    def receive(self, subscription: Subscription, limit: int, suspects: int, lease: float, session: int) -> None:
        now = self.history.tick()
        got = self.history.ask(self._broker(session).receive(subscription, limit, lease, suspects=suspects))
        self.model.claim(got, subscription, limit, suspects, lease, now=now)
        self.receipts += [delivery.receipt for delivery in got]

    @precondition(lambda self: self.receipts)
    @rule(which=st.lists(_receipts, min_size=1, max_size=3), action=_actions, session=_sessions)
    def settle(self, which: list[int], action: Action, session: int) -> None:
        now = self.history.tick()
        receipts = [self._receipt(back) for back in which]
        settlements = [Settlement(receipt=receipt, action=action) for receipt in receipts]
        verdicts = self.history.ask(self._broker(session).settle(settlements))
        assert len(verdicts) == len(receipts)
        for receipt, verdict in zip(receipts, verdicts, strict=True):
            assert verdict.kind in self.model.settle(receipt, action, now), (receipt, action, verdict)

    @precondition(lambda self: self.receipts)
    @rule(which=st.lists(_receipts, min_size=1, max_size=3), lease=_leases, session=_sessions)
    def extend(self, which: list[int], lease: float, session: int) -> None:
        now = self.history.tick()
        receipts = [self._receipt(back) for back in which]
        verdicts = self.history.ask(self._broker(session).extend(receipts, lease))
        for receipt, verdict in zip(receipts, verdicts, strict=True):
            assert verdict.kind in self.model.extend(receipt, lease, now), (receipt, verdict)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0, 31.0, 31.0, 700.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.history.clock.advance(seconds)

    @rule(session=_sessions, subscription=_subscriptions, actions=st.lists(_actions, min_size=1, max_size=4))
    def work(self, session: int, subscription: Subscription, actions: list[Action]) -> None:
        before = len(self.receipts)
        self.receive(subscription, len(actions), len(actions), 30.0, session)
        for back in range(len(self.receipts) - before):
            self.settle([back], actions[back], session)

    # One rule for all that people do by hand: it undoes what the others build up, and must not come up too often.
    @rule(
        verb=st.sampled_from(["look", "look", "purge", "remove", "move", "replay", "replay", "purge_dead"]),
        queue=_queues,
        ids=st.lists(_ids, min_size=1, max_size=4),
        all_of_them=st.booleans(),
    )
    def by_hand(self, verb: str, queue: str, ids: list[str], all_of_them: bool) -> None:
        now = self.history.tick()
        broker, model, ask = self._broker(1), self.model, self.history.ask
        dead = [job for job, item in model.items.items() if item.state == DEAD]
        if verb == "purge":
            assert ask(broker.purge(queue)) == model.purge(queue, now)
        elif verb == "replay" and isinstance(broker, KeepsDeadLetters):
            wanted = dead if all_of_them else ids
            assert sorted(ask(broker.replay(wanted))) == sorted(model.replay(wanted, now))
        elif verb == "purge_dead" and isinstance(broker, KeepsDeadLetters):
            chosen = None if all_of_them else ids
            assert ask(broker.purge_dead(queue, chosen)) == model.purge_dead(queue, chosen, now)
        elif verb == "remove" and isinstance(broker, Inspectable):
            assert sorted(ask(broker.remove(ids))) == sorted(model.remove(ids, now))
        elif verb == "move" and isinstance(broker, Inspectable):
            # Whether the old receipt of one whose lease is over is still good then is left to the broker.
            other = "b" if queue == "a" else "a"
            before = not self.history.moves_in_order and any(item.ready(now) for item in model.waiting(other, now))
            if not before and not any(item.lapsed(now) for item in model.waiting(queue, now)):
                assert ask(broker.move(queue, other)) == model.move(queue, other, now)
        elif verb == "look" and isinstance(broker, Inspectable):
            self._look(ask(broker.find(IDS)), now)

    def _look(self, found: dict[str, StoredMessage], now: float) -> None:
        assert sorted(found) == sorted(self.model.items)
        for job, stored in found.items():
            item = self.model.items[job]
            expected = (item.shown_state(now), item.attempt, item.crashes)
            assert (stored.state, stored.attempt, stored.crashes) == expected, job
            assert abs(stored.at - item.at) < TOLERANCE
            assert stored.run == item.run or not item.run_known

    @invariant()
    def depths_are_right(self) -> None:
        now = self.history.clock.now()
        depths = self.history.ask(self._broker(1).depth(QUEUES))
        for queue in QUEUES:
            expected, got = self.model.depth(queue, now), depths[queue]
            for state in ("ready", "delayed", "leased", "dead"):
                assert getattr(got, state) == getattr(expected, state), (queue, state)
            assert (got.oldest_ready_age is None) == (expected.oldest_ready_age is None)
            if got.oldest_ready_age is not None and expected.oldest_ready_age is not None:
                assert abs(got.oldest_ready_age - expected.oldest_ready_age) < TOLERANCE
