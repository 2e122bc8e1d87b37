"""Reading the routing configuration: from a file of its own, from ``[routing]``, or from code. The result is right, or
the error names the file, the key, the value and what is accepted there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from stem_core.errors import ConfigurationError, InvalidSetting
from stem_core.model import MAX_PRIORITY, MIN_PRIORITY, Channel, QueueRule, Route, Routing, check_channel, check_queue
from stem_core.settings import parsers, problems
from stem_core.settings.origins import Found, Origin
from stem_core.settings.sources import Sources

T = TypeVar("T")

_NAME = "1 to 128 of the characters A-Z a-z 0-9 _ . -, without '.control.'"
_QUEUE, _CHANNEL = f"a queue name: {_NAME}", f"a channel name: {_NAME}"
_RANGE = f"[LEAST, GREATEST], two whole numbers from {MIN_PRIORITY} to {MAX_PRIORITY} such as [0, 5]"
_PATTERN_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-*?[]!")
_PATTERN = "the name of a task or a pattern such as 'emails.*', of the characters A-Z a-z 0-9 _ . - * ? [ ] !"


def read_routing(found: Found, sources: Sources) -> tuple[Routing, Origin]:
    """What ``routing_config`` stands for, and where it came from: a path to a TOML file, or the tables themselves.

    Raises:
        InvalidSetting: a file that cannot be read, or a value that cannot be used.
    """
    raw = parsers.routing()(found.raw)
    if isinstance(raw, Routing):
        # Nothing was checked when it was made, and it has the shape of the tables.
        return _Reader(found.origin, "routing_config.").routing(attrs.asdict(cast("Any", raw))), found.origin
    if isinstance(raw, Mapping):
        if found.origin.kind == "file" and sources.file is not None:
            return _Reader(sources.file.origin("routing"), "routing.").routing(raw), sources.file.origin("routing")
        return _Reader(found.origin, "routing_config.").routing(raw), found.origin
    path = sources.directory / Path(raw).expanduser()
    data, shown = sources.toml(path, found)
    reader = _Reader(Origin(kind="file", detail=shown), "")
    return reader.routing(data), Origin(kind=found.origin.kind, detail=f"{found.origin.detail} ({shown})")


class _Reader:
    """Reads the tables of one source. ``prefix`` goes before every key in messages."""

    def __init__(self, origin: Origin, prefix: str) -> None:
        self._origin = origin
        self._prefix = prefix

    def routing(self, data: Mapping[str, Any]) -> Routing:
        data = self._table(data, "", {"default_queue", "queues", "channels", "routes"})
        default = data.get("default_queue")
        if default is not None:
            self._name("default_queue", default, check_queue, _QUEUE)
        queues = {
            self._name(f"queues.{name}", name, check_queue, _QUEUE, table=True): self._queue(f"queues.{name}", table)
            for name, table in self._tables(data, "queues").items()
        }
        channels = {
            self._name(f"channels.{name}", name, check_channel, _CHANNEL, table=True): self._channel(
                f"channels.{name}", table
            )
            for name, table in self._tables(data, "channels").items()
        }
        raw = data.get("routes")
        if raw is None:
            raw = ()
        if not isinstance(raw, list | tuple):
            raise self._problem("routes", raw, "an array of tables [[routes]]")
        routes = tuple(self._route(f"routes[{n}]", table, channels) for n, table in enumerate(raw))
        self._refuse_shared_names(channels, {*queues, *(route.queue for route in routes), default})
        self._refuse_unreachable(routes)
        return Routing(default_queue=default, queues=queues, channels=channels, routes=routes)

    def _queue(self, key: str, raw: Any) -> QueueRule:
        table = self._table(raw, key, {"priority"})
        given = table.get("priority")
        if given is None:
            return QueueRule()
        key = f"{key}.priority"
        if not isinstance(given, list | tuple) or len(given) != 2 or not all(map(_is_priority, given)):
            raise self._problem(key, given, _RANGE)
        least, greatest = given
        if least > greatest:
            raise self._problem(key, given, _RANGE, f"the range is empty; write [{greatest}, {least}]")
        return QueueRule(priority=(least, greatest))

    def _channel(self, key: str, raw: Any) -> Channel:
        table = self._table(raw, key, {"delivery", "ttl"})
        default = Channel()
        delivery = self._parsed(f"{key}.delivery", table, parsers.choice("live", "retained"), default.delivery)
        ttl = self._parsed(f"{key}.ttl", table, parsers.duration(0.001), default.ttl)
        return Channel(delivery=delivery, ttl=ttl)

    def _route(self, key: str, raw: Any, channels: Mapping[str, Channel]) -> Route:
        table = self._table(raw, key, {"task", "queue", "channel"})
        pattern, queue, channel = (table.get(name) for name in ("task", "queue", "channel"))
        if not isinstance(pattern, str) or not pattern or not _PATTERN_CHARACTERS.issuperset(pattern):
            raise self._problem(f"{key}.task", pattern, _PATTERN)
        if (queue is None) == (channel is None):
            what = "both a queue and a channel" if queue is not None else "neither a queue nor a channel"
            raise InvalidSetting(
                f"{self._origin}: {self._prefix}{key} (task = {pattern!r}): has {what}",
                key=self._prefix + key,
                origin=str(self._origin),
                hint="give exactly one: queue = NAME for one worker, or channel = NAME for every worker that listens",
            )
        if queue is not None:
            self._name(f"{key}.queue", queue, check_queue, _QUEUE)
        if channel is not None:
            self._name(f"{key}.channel", channel, check_channel, _CHANNEL)
            if channel not in channels:
                raise self._problem(
                    f"{key}.channel", channel, "a channel that is declared", undeclared(channel, channels)
                )
        return Route(task=pattern, queue=queue, channel=channel)

    def _refuse_shared_names(self, channels: Collection[str], queues: Collection[str | None]) -> None:
        for name in channels:
            if name in queues:
                raise self._problem(
                    f"channels.{name}", {}, "a name that no queue has", f"{name!r} is the name of a queue, too"
                )

    def _refuse_unreachable(self, routes: tuple[Route, ...]) -> None:
        for n, later in enumerate(routes):
            for earlier_n, earlier in enumerate(routes[:n]):
                if _covers(earlier.task, later.task):
                    raise self._problem(
                        f"routes[{n}].task",
                        later.task,
                        "a pattern that is not covered by an earlier one",
                        f"routes[{earlier_n}] (task = {earlier.task!r}) goes first and takes all that it matches; "
                        "write the narrower one before it",
                    )

    def _table(self, raw: Any, key: str, known: Collection[str]) -> Mapping[str, Any]:
        if not isinstance(raw, Mapping):
            raise self._problem(key, raw, "a table")
        for name, given in raw.items():
            if name not in known:
                dotted = f"{key}.{name}".lstrip(".")
                match = problems.close_match(str(name), known)
                raise InvalidSetting(
                    f"{self._origin}: {self._prefix}{dotted} = {problems.show_raw(given)}: there is no such setting",
                    key=self._prefix + dotted,
                    origin=str(self._origin),
                    hint=f"did you mean {match}?" if match else f"known here: {', '.join(sorted(known))}",
                )
        return raw

    def _tables(self, data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        raw = data.get(key)
        if raw is None:
            return {}
        if not isinstance(raw, Mapping):
            raise self._problem(key, raw, f"a table for each, [{self._prefix}{key}.NAME]")
        return raw

    def _parsed(self, key: str, table: Mapping[str, Any], parser: parsers.Parser[T], default: T) -> T:
        given = table.get(key.rpartition(".")[2])
        if given is None:
            return default
        try:
            return parser(given)
        except parsers.NotAccepted:
            match = problems.close_match(str(given), ("live", "retained"))
            raise self._problem(key, given, parser.accepts, f"did you mean {match}?" if match else "") from None

    def _name(self, key: str, name: Any, check: Callable[[str], str], accepts: str, *, table: bool = False) -> str:
        try:
            return check(name)
        except ConfigurationError:
            raise self._problem(key, {} if table else name, accepts) from None

    def _problem(self, key: str, raw: object, accepts: str, hint: str = "") -> InvalidSetting:
        dotted = (self._prefix + key).rstrip(".")
        if raw is None:
            told = f"{dotted} is missing"
        elif isinstance(raw, Mapping):
            told = f"[{dotted}]"
        else:
            told = f"{dotted} = {problems.show_raw(raw)}"
        return InvalidSetting(
            f"{self._origin}: {told}: expected {accepts}", key=dotted, origin=str(self._origin), hint=hint
        )


def undeclared(channel: str, channels: Collection[str]) -> str:
    """What to do about a channel that the routing configuration does not declare."""
    match = problems.close_match(channel, channels)
    declare = f"declare it: [channels.{channel}]" if not channels else f"declared are {', '.join(sorted(channels))}"
    return f"did you mean {match}?" if match else declare


def _is_priority(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and MIN_PRIORITY <= given <= MAX_PRIORITY


def _covers(earlier: str, later: str) -> bool:
    """Whether all that ``later`` matches is matched by ``earlier``; False where that is hard to tell."""
    if earlier == later:
        return True
    # A star of the earlier one takes the stars of the later one as well, so the later one can be looked at as a name.
    return not set("?[") & {*earlier, *later} and fnmatchcase(later, earlier)
