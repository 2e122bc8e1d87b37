"""What can be said about a task where it is defined, and about one call of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypedDict, cast

import attrs

from stem_core.errors import InvalidOption
from stem_core.model import DEFAULT_PRIORITY, DEFAULT_RETRY, MAX_PRIORITY, MIN_PRIORITY, RetryPolicy
from stem_core.model._value import value
from stem_core.model.names import check_id, check_name, check_queue
from stem_core.model.spans import Span, in_seconds
from stem_core.tasks import retrying
from stem_core.tasks.retrying import ErrorClasses, RetryRule


class TaskArguments(TypedDict, total=False):
    """The keyword arguments of ``@app.task``; what is left out has the default of :class:`TaskOptions`."""

    queue: str | None
    priority: int
    max_retries: int | None
    retry: RetryPolicy | RetryRule
    retry_on: ErrorClasses | None
    give_up_on: ErrorClasses | None
    soft_time_limit: Span | None
    time_limit: Span | None
    strategy: str
    store_result: bool
    result_ttl: Span | None
    expires: Span | None


class CallArguments(TypedDict, total=False):
    """The keyword arguments of ``task.options(...)``; what is left out is as the task says."""

    delay: Span | None
    at: datetime | None
    priority: int | None
    expires: Span | datetime | None
    headers: Mapping[str, str] | None
    id: str | None
    queue: str | None
    max_retries: int | None
    retry: RetryPolicy | None
    soft_time_limit: Span | None
    time_limit: Span | None
    store_result: bool | None
    result_ttl: Span | None


@value
class TaskOptions:
    """The options of a task. Spans are in seconds."""

    #: None: the default queue of the app.
    queue: str | None = None
    priority: int = DEFAULT_PRIORITY
    #: None: the default of the app, 3.
    max_retries: int | None = None
    retry: RetryPolicy | RetryRule = DEFAULT_RETRY
    #: The only errors that are tried again; None: every one. What is interrupted by a time limit counts as a
    #: TaskInterrupted, and ``ctx.retry`` always counts.
    retry_on: tuple[type[BaseException], ...] | None = None
    #: Errors that are given up at once, also where ``retry_on`` names them.
    give_up_on: tuple[type[BaseException], ...] | None = None
    #: How long one attempt may take before it is interrupted; None: no limit.
    soft_time_limit: float | None = None
    #: How long one attempt may take before it is ended against its will; None: no limit.
    time_limit: float | None = None
    #: Where it runs: ``auto`` or the name of a strategy.
    strategy: str = "auto"
    store_result: bool = True
    #: How long the result is kept; None: as the app says, 1 day.
    result_ttl: float | None = None
    #: Not to start later than this long after it was enqueued; None: no limit.
    expires: float | None = None

    @classmethod
    def build(cls, options: Mapping[str, Any]) -> TaskOptions:
        """From the keyword arguments of the task decorator, each checked.

        Raises:
            InvalidOption: an unknown option, or a value that cannot be used.
            InvalidName: a queue or strategy with a name that it may not have.
        """
        built = cls(**_checked(options, _TASK_CHECKS, "a task"))
        retrying.must_not_contradict(built.retry_on or (), built.give_up_on or ())
        return built


@value
class CallOptions:
    """The options of one call; None means: as the task says. Spans are in seconds, times seconds since the epoch."""

    #: How long to wait before the first attempt; not together with ``at``.
    delay: float | None = None
    at: float | None = None
    priority: int | None = None
    #: Not to start later than this long after it was enqueued; not together with ``expires_at``.
    expires: float | None = None
    expires_at: float | None = None
    headers: Mapping[str, str] | None = attrs.field(default=None, hash=False)
    id: str | None = None
    queue: str | None = None
    max_retries: int | None = None
    retry: RetryPolicy | None = None
    soft_time_limit: float | None = None
    time_limit: float | None = None
    store_result: bool | None = None
    result_ttl: float | None = None

    @classmethod
    def build(cls, options: Mapping[str, Any]) -> CallOptions:
        """From the keyword arguments of ``task.options``, each checked.

        Raises:
            InvalidOption: an unknown option, a value that cannot be used, ``delay`` together with ``at``.
            InvalidName: a queue or id with a name that it may not have.
        """
        checked = _checked(options, _CALL_CHECKS, "a call")
        if isinstance(options.get("expires"), datetime):
            checked["expires_at"] = checked.pop("expires")
        if checked.get("delay") is not None and checked.get("at") is not None:
            raise InvalidOption("at", options["at"], "either delay or at, not both")
        return cls(**checked)

    def merged(self, options: Mapping[str, Any]) -> CallOptions:
        """These options, those named in ``options`` replaced. A new start or expiry replaces the old in either form."""
        newer = CallOptions.build(options)
        changes = {name: getattr(newer, name) for name in options}
        if "delay" in options or "at" in options:
            changes |= {"delay": newer.delay, "at": newer.at}
        if "expires" in options:
            changes |= {"expires": newer.expires, "expires_at": newer.expires_at}
        merged: CallOptions = attrs.evolve(cast("Any", self), **changes)
        return merged


#: The options of a call that says nothing.
NO_OPTIONS = CallOptions()


def _checked(options: Mapping[str, Any], checks: Mapping[str, Callable[[str, Any], Any]], what: str) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, given in options.items():
        check = checks.get(name)
        if check is None:
            raise InvalidOption(name, given, f"{_instead(name, checks)}; {what} has no option {name!r}")
        checked[name] = check(name, given)
    return checked


def _instead(name: str, checks: Mapping[str, Callable[[str, Any], Any]]) -> str:
    if name in _TASK_CHECKS:
        return f"it where the task is defined, @app.task({name}=...)"
    close = get_close_matches(name, checks, n=1)
    return f"{close[0]!r} instead" if close else "one of " + ", ".join(checks)


def _optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, given: None if given is None else check(name, given)


def _delay(name: str, given: Any) -> float:
    return in_seconds(name, given, least="0")


def _moment(name: str, given: Any) -> float:
    if not isinstance(given, datetime) or given.tzinfo is None or given.utcoffset() is None:
        raise InvalidOption(name, given, "a datetime with a time zone, such as datetime.now(timezone.utc)")
    return given.timestamp()


def _expiry(name: str, given: Any) -> float:
    return _moment(name, given) if isinstance(given, datetime) else in_seconds(name, given)


def _whole(least: int, most: int) -> Callable[[str, Any], int]:
    def check(name: str, given: Any) -> int:
        if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
            raise InvalidOption(name, given, f"a whole number from {least} to {most}")
        return int(given)

    return check


def _flag(name: str, given: Any) -> bool:
    if not isinstance(given, bool):
        raise InvalidOption(name, given, "True or False")
    return given


def _headers(name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(t, str) for pair in given.items() for t in pair):
        raise InvalidOption(name, given, "a mapping of text to text")
    return dict(given)


_priority = _whole(MIN_PRIORITY, MAX_PRIORITY)
_retries = _optional(_whole(0, 1_000_000))
_span = _optional(in_seconds)
_errors = _optional(retrying.error_classes)
_queue = _optional(lambda _, given: check_queue(given))

_TASK_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "queue": _queue,
    "priority": _priority,
    "max_retries": _retries,
    "retry": retrying.policy_or_rule,
    "retry_on": _errors,
    "give_up_on": _errors,
    "soft_time_limit": _span,
    "time_limit": _span,
    "strategy": check_name,
    "store_result": _flag,
    "result_ttl": _span,
    "expires": _span,
}

_CALL_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "delay": _optional(_delay),
    "at": _optional(_moment),
    "priority": _optional(_priority),
    "expires": _optional(_expiry),
    "headers": _optional(_headers),
    "id": _optional(lambda _, given: check_id("task id", given)),
    "queue": _queue,
    "max_retries": _retries,
    "retry": _optional(retrying.policy),
    "soft_time_limit": _span,
    "time_limit": _span,
    "store_result": _optional(_flag),
    "result_ttl": _span,
}
