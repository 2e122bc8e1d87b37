"""Which errors are tried again, and what may be said of it where a task is defined."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from stem_core.errors import InvalidOption, RetryTask, StemError, TaskInterrupted
from stem_core.model import RetryPolicy
from support.task_host import FakeHost

WAIT = RetryPolicy.fixed(7)


def function(): ...


def define(**options):
    return FakeHost().task(function, name="t", **options)


class Transient(Exception): ...


class Worse(Transient): ...


def group(*errors):
    return BaseExceptionGroup("several", errors)


@pytest.mark.parametrize(
    ("options", "retried", "given_up"),
    [
        ({}, [ValueError(), asyncio.CancelledError(), TaskInterrupted("time-limit"), group(OSError())], []),
        ({"retry_on": Transient}, [Transient(), Worse()], [ValueError(), TaskInterrupted("time-limit")]),
        ({"retry_on": [Transient, OSError]}, [Worse(), ConnectionError()], [ValueError(), SystemExit(1)]),
        ({"give_up_on": (Transient,)}, [ValueError(), SystemExit(1)], [Transient(), Worse()]),
        ({"give_up_on": {TaskInterrupted}}, [ValueError()], [TaskInterrupted("time-limit")]),
        ({"retry_on": Transient, "give_up_on": Worse}, [Transient()], [Worse(), ValueError()]),
        ({"retry_on": None, "give_up_on": None}, [ValueError()], []),
        # A group is given up when one of its members is, and tried again when all of them are.
        (
            {"retry_on": Transient, "give_up_on": Worse},
            [group(Transient(), Transient()), group(Transient(), group(Transient()))],
            [group(Transient(), Worse()), group(Transient(), ValueError()), group(group(Worse()))],
        ),
        ({"give_up_on": OSError}, [group(ValueError())], [group(ValueError(), group(ConnectionError()))]),
        ({"retry_on": ExceptionGroup}, [group(ValueError())], [ValueError()]),
        ({"give_up_on": ExceptionGroup}, [ValueError()], [group(ValueError())]),
    ],
)
def test_which_errors_are_tried_again(options, retried, given_up):
    task = define(retry=WAIT, **options)
    assert [task.retry_delay(error, 1) for error in retried] == [7.0] * len(retried)
    assert [task.retry_delay(error, 1) for error in given_up] == [None] * len(given_up)


def test_what_a_task_asks_for_by_name_is_always_tried_again():
    task = define(retry=WAIT, retry_on=Transient, give_up_on=(StemError, ValueError))
    assert task.retry_delay(RetryTask("again", delay=3), 1) == 3
    assert task.retry_delay(RetryTask("again"), 1) == 7
    assert define(retry=WAIT, retry_on=Transient).retry_delay(group(Transient(), RetryTask("again")), 1) == 7


def test_they_go_before_the_policy_of_the_call_and_the_rule_of_the_task():
    asked = []

    def rule(failures, error):
        asked.append(error)
        return timedelta(minutes=1)

    task = define(retry=rule, retry_on=Transient)
    assert task.retry_delay(ValueError(), 1) is None
    assert task.retry_delay(ValueError(), 1, WAIT) is None
    assert asked == []
    assert task.retry_delay(Worse(), 1) == 60.0
    assert task.retry_delay(Worse(), 1, WAIT) == 7.0


CLASSES = "give classes of exceptions, such as (ConnectionError, TimeoutError)"

TWO_ARGUMENTS = "a function that takes two arguments, the number of failures and the error"


async def awaited(failures, error): ...


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"retry_on": "OSError"}, "retry_on='OSError' cannot be used", CLASSES),
        ({"retry_on": (OSError, int)}, "retry_on=<class 'int'> cannot be used", CLASSES),
        ({"give_up_on": ValueError("x")}, "give_up_on=ValueError('x') cannot be used", CLASSES),
        (
            {"retry_on": ()},
            "retry_on=() cannot be used",
            "give at least one class of exceptions, or leave it out; max_retries=0 retries nothing",
        ),
        (
            {"retry_on": (ValueError, ConnectionError), "give_up_on": OSError},
            "retry_on=<class 'ConnectionError'> cannot be used",
            "give classes that give_up_on leaves over: OSError is in it, and give_up_on wins",
        ),
        (
            {"retry": awaited},
            f"retry={awaited!r} cannot be used",
            "give a plain function (def): it is asked between two runs, and awaits nothing",
        ),
        (
            {"retry": function},
            f"retry={function!r} cannot be used",
            f"give {TWO_ARGUMENTS} (too many positional arguments)",
        ),
        (
            {"retry": RetryPolicy.fixed},
            f"retry={RetryPolicy.fixed!r} cannot be used",
            f"give {TWO_ARGUMENTS} (too many positional arguments)",
        ),
        (
            {"retry": RetryPolicy(kind="fixed", base="3")},
            f"retry={RetryPolicy(kind='fixed', base='3')!r} cannot be used",
            "give a policy made by RetryPolicy.exponential, .fixed or .after",
        ),
        (
            {"retry": RetryPolicy(kind="delays")},
            f"retry={RetryPolicy(kind='delays')!r} cannot be used",
            "give a policy made by RetryPolicy.exponential, .fixed or .after",
        ),
    ],
    # Texts with addresses would make ids that differ from process to process.
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_what_cannot_be_said_of_retries(options, message, hint):
    with pytest.raises(InvalidOption) as caught:
        define(**options)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_rules_that_do_not_tell_what_they_take_are_believed():
    # max() tells nobody; asked, it raises, and the default policy decides.
    assert define(retry=max).retry_delay(ValueError(), 1) is not None
    assert define(retry=lambda _failures, _error, _more=1: 5).retry_delay(ValueError(), 1) == 5.0


def test_a_rule_that_raises_what_a_wrong_wait_raises_leaves_it_to_the_default_policy(caplog):
    task = define(retry=lambda _failures, error: RetryPolicy.after(error.args).delay(1))
    assert 0 <= task.retry_delay(ValueError(), 1) <= 1
    assert "the retry rule of task t raised; the default policy decides" in caplog.text
    assert task.retry_delay(ValueError(5), 1) == 5.0
