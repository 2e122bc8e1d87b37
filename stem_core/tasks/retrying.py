"""Whether a failed attempt is tried again, and when: what a task may say of it, and what that decides."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any

from stem_core.errors import InvalidOption, RetryTask
from stem_core.model import DEFAULT_RETRY, RetryPolicy
from stem_core.model.spans import Span, in_seconds

logger = logging.getLogger("stem_core.tasks")

#: Given the number of failed attempts (from 1) and the error of the last: how long to wait, or None to give up.
RetryRule = Callable[[int, BaseException], Span | None]

#: One class of exceptions, or several; as for ``except``, their subclasses are meant too.
ErrorClasses = type[BaseException] | Collection[type[BaseException]]


def policy_or_rule(name: str, given: Any) -> RetryPolicy | RetryRule:
    """The option ``retry`` of a task, checked.

    Raises:
        InvalidOption: neither a policy nor a plain function that can be called with two arguments.
    """
    if isinstance(given, RetryPolicy):
        return policy(name, given)
    if not callable(given):
        raise InvalidOption(name, given, "a RetryPolicy, or a function of the number of failures and the error")
    if inspect.iscoroutinefunction(given):
        raise InvalidOption(name, given, "a plain function (def): it is asked between two runs, and awaits nothing")
    try:
        inspect.signature(given).bind(1, ValueError())
    except TypeError as error:
        accepted = f"a function that takes two arguments, the number of failures and the error ({error})"
        raise InvalidOption(name, given, accepted) from None
    except ValueError:
        pass  # something built in that does not tell what it takes
    rule: RetryRule = given
    return rule


def policy(name: str, given: Any) -> RetryPolicy:
    """The option ``retry`` of a call, checked: a policy travels with the call, a function cannot.

    Raises:
        InvalidOption: no policy, or one without a wait.
    """
    if not isinstance(given, RetryPolicy):
        accepted = "a RetryPolicy, such as RetryPolicy.exponential(base=2, cap=600)"
        if callable(given):
            accepted += "; a function cannot travel, so it belongs to the task: @app.task(retry=...)"
        raise InvalidOption(name, given, accepted)
    if not given.usable:
        raise InvalidOption(name, given, "a policy made by RetryPolicy.exponential, .fixed or .after")
    return given


def error_classes(name: str, given: Any) -> tuple[type[BaseException], ...]:
    """The option ``retry_on`` or ``give_up_on``, checked.

    Raises:
        InvalidOption: none, or something else than classes of exceptions.
    """
    several = isinstance(given, Collection) and not isinstance(given, str | bytes)
    classes = tuple(given) if several else (given,)
    if not classes:
        raise InvalidOption(
            name, given, "at least one class of exceptions, or leave it out; max_retries=0 retries nothing"
        )
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise InvalidOption(name, cls, "classes of exceptions, such as (ConnectionError, TimeoutError)")
    return classes


def must_not_contradict(retry_on: tuple[type[BaseException], ...], give_up_on: tuple[type[BaseException], ...]) -> None:
    """Raises:
    InvalidOption: what is in ``retry_on`` is given up all the same.
    """
    for cls in retry_on:
        over = next((base for base in give_up_on if issubclass(cls, base)), None)
        if over is not None:
            raise InvalidOption(
                "retry_on", cls, f"classes that give_up_on leaves over: {over.__name__} is in it, and give_up_on wins"
            )


def retried(
    error: BaseException, retry_on: tuple[type[BaseException], ...], give_up_on: tuple[type[BaseException], ...]
) -> bool:
    """Whether the error is one that is tried again. An empty ``retry_on`` means every error; ``give_up_on`` wins.

    A group of exceptions is given up when one of its members is, and tried again when all of them are.
    """
    if isinstance(error, RetryTask):
        return True  # the task asked for it by name
    if give_up_on and any(isinstance(each, give_up_on) for each in (error, *_members(error))):
        return False
    wanted = (*retry_on, RetryTask)
    return not retry_on or isinstance(error, wanted) or all(isinstance(each, wanted) for each in _members(error))


def asked(task: str, rule: RetryRule, failures: int, error: BaseException) -> float | None:
    """What the rule of a task says: seconds, or None to give up. A rule that raises, or returns no span of time, is
    logged, and the default policy decides."""
    try:
        wait = rule(failures, error)
    except Exception:
        logger.exception("the retry rule of task %s raised; the default policy decides", task)
        return DEFAULT_RETRY.delay(failures)
    try:
        return None if wait is None else in_seconds("retry", wait, least="0")
    except InvalidOption:
        logger.error("the retry rule of task %s returned %r; the default policy decides", task, wait)
        return DEFAULT_RETRY.delay(failures)


def _members(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _members(inner)
    else:
        yield error
