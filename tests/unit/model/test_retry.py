from __future__ import annotations

from datetime import timedelta

import pytest

from stem_core.errors import InvalidOption
from stem_core.model import DEFAULT_RETRY, Header, RetryPolicy
from stem_core.model.retry import DEFAULT_CAP
from stem_core.wire import decode_header, encode_header


def test_exponential_doubles_up_to_its_cap():
    policy = RetryPolicy.exponential(2, cap=30, jitter=False)
    assert [policy.delay(n) for n in range(1, 8)] == [2, 4, 8, 16, 30, 30, 30]
    assert policy.delay(10_000) == 30


def test_full_jitter_draws_from_nothing_to_the_whole_wait():
    policy = RetryPolicy.exponential(8, cap=16)
    for failures, longest in ((1, 8), (2, 16), (3, 16)):
        drawn = [policy.delay(failures) for _ in range(2000)]
        assert 0 <= min(drawn) < longest * 0.05
        assert longest * 0.95 < max(drawn) <= longest
        assert longest * 0.45 < sum(drawn) / len(drawn) < longest * 0.55


def test_fixed():
    policy = RetryPolicy.fixed(5)
    assert [policy.delay(n) for n in (1, 2, 100)] == [5, 5, 5]
    assert 0 <= min(RetryPolicy.fixed(5, jitter=True).delay(1) for _ in range(200)) < 1


def test_a_list_of_waits_whose_last_one_repeats():
    policy = RetryPolicy.after([1, 10, 60])
    assert [policy.delay(n) for n in range(1, 6)] == [1, 10, 60, 60, 60]


def test_waits_are_seconds_or_timedeltas():
    minute = timedelta(minutes=1)
    assert RetryPolicy.fixed(minute) == RetryPolicy.fixed(60)
    assert RetryPolicy.exponential(minute, cap=timedelta(hours=1)) == RetryPolicy.exponential(60, cap=3600)
    assert RetryPolicy.after([1, minute]) == RetryPolicy.after([1, 60])


def test_what_a_task_gets_that_says_nothing():
    assert RetryPolicy.exponential() == DEFAULT_RETRY
    assert (DEFAULT_RETRY.base, DEFAULT_RETRY.cap, DEFAULT_RETRY.jitter) == (1.0, DEFAULT_CAP, True)


@pytest.mark.parametrize(
    "policy",
    [RetryPolicy.exponential(2, cap=9), RetryPolicy.fixed(3, jitter=True), RetryPolicy.after([0, 1.5, 60])],
)
def test_a_policy_travels_in_the_header(policy):
    header = Header(id="a", task="t", queue="q", enqueued_at=0.0, retry=policy)
    assert decode_header(encode_header(header)).retry == policy


A_WAIT = "give a number of seconds or a timedelta, 0 or more"
A_CENTURY = "give a span of at most 100 years, 3155760000 s"
WAITS = "give a list of waits, such as [1, 10, 60]"


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (lambda: RetryPolicy.exponential(-1), "base=-1 cannot be used", A_WAIT),
        (lambda: RetryPolicy.exponential(cap="10m"), "cap='10m' cannot be used", A_WAIT),
        (lambda: RetryPolicy.fixed(True), "seconds=True cannot be used", A_WAIT),
        (lambda: RetryPolicy.fixed(float("inf")), "seconds=inf cannot be used", A_WAIT),
        (lambda: RetryPolicy.after([1, float("nan")]), "delays=nan cannot be used", A_WAIT),
        (lambda: RetryPolicy.fixed(1e12), "seconds=1000000000000.0 cannot be used", A_CENTURY),
        (lambda: RetryPolicy.after([1, timedelta.max]), f"delays={timedelta.max!r} cannot be used", A_CENTURY),
        (lambda: RetryPolicy.after([]), "delays=[] cannot be used", WAITS),
        (lambda: RetryPolicy.after(5), "delays=5 cannot be used", WAITS),
    ],
)
def test_waits_that_cannot_be_used(make, message, hint):
    with pytest.raises(InvalidOption) as caught:
        make()
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_policy_that_was_not_made_by_a_constructor_may_be_unusable():
    assert RetryPolicy.after([0]).usable
    assert not RetryPolicy(kind="delays").usable
    assert not RetryPolicy(kind="fixed", base=-1).usable
    assert not RetryPolicy(kind="fixed", base="3").usable
    assert not RetryPolicy(kind="fixed", cap=None).usable
    assert not RetryPolicy(kind="delays", delays=5).usable
    assert not RetryPolicy(kind="delays", delays=(1, "2")).usable
    assert not RetryPolicy(kind="exponential", cap=float("nan")).usable
    assert not RetryPolicy(kind="exponential", cap=float("inf")).usable
    assert not RetryPolicy(kind="fixed", base=10**400).usable
    assert not RetryPolicy(kind="fixed", base=True).usable
    assert not RetryPolicy(kind="fixed", base=False).usable
    assert not RetryPolicy(kind="fixed", jitter=1).usable
    assert not RetryPolicy(kind="linear").usable
