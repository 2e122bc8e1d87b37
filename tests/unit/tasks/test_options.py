from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import attrs
import pytest

from stem_core.errors import InvalidName, InvalidOption
from stem_core.model import DEFAULT_RETRY, RetryPolicy
from stem_core.tasks import CallArguments, CallOptions, TaskArguments, TaskOptions
from support.task_host import FakeHost

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_task_that_says_nothing_has_the_documented_defaults():
    assert TaskOptions.build({}) == TaskOptions(
        queue=None,
        priority=5,
        max_retries=None,
        retry=DEFAULT_RETRY,
        retry_on=None,
        give_up_on=None,
        soft_time_limit=None,
        time_limit=None,
        strategy="auto",
        store_result=True,
        result_ttl=None,
        expires=None,
    )


def test_every_option_of_a_task_is_taken():
    given = {
        "queue": "mail",
        "priority": 9,
        "max_retries": 0,
        "retry": RetryPolicy.fixed(1),
        "retry_on": (OSError,),
        "give_up_on": (PermissionError,),
        "soft_time_limit": timedelta(minutes=2),
        "time_limit": timedelta(minutes=3),
        "strategy": "threads",
        "store_result": False,
        "result_ttl": 60,
        "expires": timedelta(hours=1),
    }
    built = TaskOptions.build(given)
    expected = given | {"soft_time_limit": 120.0, "time_limit": 180.0, "result_ttl": 60.0, "expires": 3600.0}
    assert attrs.asdict(built, recurse=False) == expected
    assert set(given) == set(TaskArguments.__annotations__)


def test_every_option_of_a_call_is_taken():
    given = {
        "delay": timedelta(seconds=1.5),
        "priority": 0,
        "expires": 10,
        "headers": {"tenant": "a"},
        "id": "order-42@eu",
        "queue": "mail",
        "max_retries": 2,
        "retry": RetryPolicy.fixed(1),
        "soft_time_limit": 3,
        "time_limit": 4,
        "store_result": False,
        "result_ttl": timedelta(days=1),
    }
    built = CallOptions.build(given)
    converted = {"delay": 1.5, "expires": 10.0, "result_ttl": 86_400.0}
    assert attrs.asdict(built, recurse=False) == given | converted | {"at": None, "expires_at": None}
    assert {*given, "at"} == set(CallArguments.__annotations__)


def test_none_means_as_the_task_says():
    assert CallOptions.build(dict.fromkeys(CallArguments.__annotations__)) == CallOptions()


def test_moments_are_aware_datetimes_of_any_zone():
    east = NOON.astimezone(timezone(timedelta(hours=5)))
    assert CallOptions.build({"at": NOON}).at == CallOptions.build({"at": east}).at == NOON.timestamp()
    built = CallOptions.build({"expires": NOON})
    assert (built.expires, built.expires_at) == (None, NOON.timestamp())


A_SPAN = "a number of seconds or a timedelta, above 0"
A_CENTURY = "a span of at most 100 years, 3155760000 s"
A_DELAY = "a number of seconds or a timedelta, 0 or more"
A_POLICY = "a RetryPolicy, such as RetryPolicy.exponential(base=2, cap=600)"
A_MOMENT = "a datetime with a time zone, such as datetime.now(timezone.utc)"


@pytest.mark.parametrize(
    ("build", "name", "value", "accepted"),
    [
        (TaskOptions.build, "priority", 10, "a whole number from 0 to 9"),
        (TaskOptions.build, "priority", True, "a whole number from 0 to 9"),
        (TaskOptions.build, "priority", 1.0, "a whole number from 0 to 9"),
        (TaskOptions.build, "priority", None, "a whole number from 0 to 9"),
        (TaskOptions.build, "max_retries", -1, "a whole number from 0 to 1000000"),
        (TaskOptions.build, "retry", 5, "a RetryPolicy, or a function of the number of failures and the error"),
        (TaskOptions.build, "soft_time_limit", 0, A_SPAN),
        (TaskOptions.build, "time_limit", 0, A_SPAN),
        (TaskOptions.build, "result_ttl", timedelta(0), A_SPAN),
        (TaskOptions.build, "expires", float("inf"), A_SPAN),
        (TaskOptions.build, "expires", NOON, A_SPAN),
        (TaskOptions.build, "store_result", 1, "True or False"),
        (TaskOptions.build, "prority", 1, "'priority' instead; a task has no option 'prority'"),
        (
            TaskOptions.build,
            "x",
            1,
            (
                "one of queue, priority, max_retries, retry, retry_on, give_up_on, soft_time_limit, time_limit, "
                "strategy, store_result, result_ttl, expires; a task has no option 'x'"
            ),
        ),
        (CallOptions.build, "delay", -1, A_DELAY),
        (CallOptions.build, "delay", 10**400, A_CENTURY),
        (CallOptions.build, "delay", 3_155_760_001, A_CENTURY),
        (TaskOptions.build, "result_ttl", 1e300, A_CENTURY),
        (CallOptions.build, "delay", "5s", A_DELAY),
        (CallOptions.build, "delay", True, A_DELAY),
        (CallOptions.build, "delay", float("nan"), A_DELAY),
        (CallOptions.build, "at", NOON.replace(tzinfo=None), A_MOMENT),
        (CallOptions.build, "at", 1_700_000_000, A_MOMENT),
        (CallOptions.build, "expires", NOON.replace(tzinfo=None), A_MOMENT),
        (CallOptions.build, "expires", 0, A_SPAN),
        (CallOptions.build, "headers", {"n": 1}, "a mapping of text to text"),
        (CallOptions.build, "headers", [("a", "b")], "a mapping of text to text"),
        (CallOptions.build, "retry", 5, A_POLICY),
        (
            CallOptions.build,
            "retry",
            len,
            A_POLICY + "; a function cannot travel, so it belongs to the task: @app.task(retry=...)",
        ),
        (
            CallOptions.build,
            "retry_on",
            OSError,
            "it where the task is defined, @app.task(retry_on=...); a call has no option 'retry_on'",
        ),
        (
            CallOptions.build,
            "strategy",
            "threads",
            "it where the task is defined, @app.task(strategy=...); a call has no option 'strategy'",
        ),
        (CallOptions.build, "countdown", 1, None),
    ],
)
def test_options_that_cannot_be_used(build, name, value, accepted):
    with pytest.raises(InvalidOption) as caught:
        build({name: value})
    assert caught.value.message == f"{name}={value!r} cannot be used"
    assert accepted is None or caught.value.hint == f"give {accepted}"


@pytest.mark.parametrize(
    ("name", "value"), [("queue", "a b"), ("queue", "stem.control.x"), ("id", "a b"), ("id", ""), ("id", 7)]
)
def test_names_that_cannot_be_used(name, value):
    with pytest.raises(InvalidName):
        CallOptions.build({name: value})


def test_delay_and_at_exclude_each_other():
    with pytest.raises(InvalidOption, match="either delay or at, not both"):
        CallOptions.build({"delay": 1, "at": NOON})


def test_headers_are_a_copy():
    headers = {"tenant": "a"}
    built = CallOptions.build({"headers": headers})
    headers["tenant"] = "b"
    assert built.headers == {"tenant": "a"}


def test_later_options_replace_earlier_ones_in_either_form():
    def function(): ...

    task = FakeHost().task(function)
    bound = task.options(delay=5, expires=10, priority=1)
    moved = bound.options(at=NOON, expires=NOON).call_options
    assert (moved.delay, moved.at) == (None, NOON.timestamp())
    assert (moved.expires, moved.expires_at, moved.priority) == (None, NOON.timestamp(), 1)
    back = bound.options(at=NOON, expires=NOON).options(delay=7, expires=8).call_options
    assert (back.delay, back.at, back.expires, back.expires_at) == (7.0, None, 8.0, None)
    assert bound.options(priority=None).call_options.priority is None
    assert bound.call_options.delay == 5.0
