"""How values are read. One parser serves all sources: text from the environment and the command line, typed values
from TOML and code. Each says in words what it accepts, and shows a value in the form it would read back."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic, TypeVar

from stem_core.errors import ConfigurationError
from stem_core.model import Routing, StoreUrl, Subscription, check_channel, check_id, check_name, check_queue, mask

T = TypeVar("T")

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|h|d)?", re.IGNORECASE)
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_SIZE_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class NotAccepted(ValueError):
    """A value that a parser does not read; its :attr:`Parser.accepts` says what it would."""


class Parser(Generic[T]):
    """Reads one kind of value: ``parser(raw)`` gives the value or raises :class:`NotAccepted`, whatever the source.

    Args:
        accepts: What is accepted, as it ends the sentence "expected ...".
        read: The value of ``str``, typed or any other raw input; raises ValueError for one that is not accepted.
        show: The text of a value that ``read`` would read.
        credentials: Whether a value may have credentials inside; ``show`` masks them.
    """

    __slots__ = ("_read", "_show", "accepts", "credentials")

    def __init__(
        self,
        accepts: str,
        read: Callable[[object], T],
        show: Callable[[T], str] = str,
        *,
        credentials: bool = False,
    ) -> None:
        #: What is accepted, as it ends the sentence "expected ...".
        self.accepts = accepts
        #: Whether a value may have credentials inside, so that one that cannot be read is shown with care.
        self.credentials = credentials
        self._read = read
        self._show = show

    def __call__(self, raw: object) -> T:
        """The value that ``raw`` stands for.

        Raises:
            NotAccepted: it is not what :attr:`accepts` says.
        """
        try:
            return self._read(raw)
        except ValueError as error:
            raise NotAccepted from error

    def show(self, value: T) -> str:
        """The value for people: readable by this parser again, save for masked secrets."""
        return self._show(value)


def text(accepts: str = "a text that is not empty") -> Parser[str]:
    """Any text but an empty one; white space around it is dropped."""
    return Parser(accepts, _text)


def boolean() -> Parser[bool]:
    """``true yes on 1`` or ``false no off 0``, in any case."""
    return Parser("true or false (or yes/no, on/off, 1/0)", _boolean, lambda value: "true" if value else "false")


def integer(minimum: int | None = None, maximum: int | None = None) -> Parser[int]:
    """A whole number within the bounds, both included."""

    def read(raw: object) -> int:
        if isinstance(raw, str) and _INTEGER.fullmatch(raw.strip()):
            raw = int(raw)
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise NotAccepted
        return _within(raw, minimum, maximum)

    return Parser("a whole number" + _bounds(minimum, maximum, str), read)


def number(minimum: float | None = None, maximum: float | None = None) -> Parser[float]:
    """A finite number within the bounds, both included."""

    def read(raw: object) -> float:
        return _within(_finite(raw), minimum, maximum)

    def show(value: float) -> str:
        return f"{value:.10g}"

    return Parser("a number" + _bounds(minimum, maximum, show), read, show)


def duration(minimum: float | None = None, maximum: float | None = None) -> Parser[float]:
    """A span of time in seconds: ``250ms``, ``5s``, ``2m``, ``1h``, ``1d``, a number of seconds, or a timedelta.

    The bounds are seconds, both included; a span is never negative.
    """

    def read(raw: object) -> float:
        if isinstance(raw, timedelta):
            raw = raw.total_seconds()
        elif isinstance(raw, str):
            match = _DURATION.fullmatch(raw.strip())
            if match is None:
                raise NotAccepted
            raw = float(match[1]) * _DURATION_UNITS[(match[2] or "s").lower()]
        return _within(_finite(raw), minimum or 0.0, maximum)

    accepts = "a duration such as 250ms, 5s, 2m or 1h, or a number of seconds"
    return Parser(accepts + _bounds(minimum, maximum, show_duration), read, show_duration)


def show_duration(seconds: float) -> str:
    """``25s``, ``10m``, ``250ms``: in the largest unit that leaves a whole number, else in seconds."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds / _DURATION_UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.10g}ms" if 0 < seconds < 1 else f"{seconds:.10g}s"


def size(minimum: int = 0) -> Parser[int]:
    """A number of bytes: ``64KiB``, ``1MiB`` (powers of 1024), ``10MB`` (powers of 1000), or the plain number."""

    def read(raw: object) -> int:
        if isinstance(raw, str):
            match = _SIZE.fullmatch(raw.strip())
            if match is None:
                raise NotAccepted
            raw = int(_finite(match[1]) * _SIZE_UNITS[(match[2] or "b").lower()])
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise NotAccepted
        return _within(raw, minimum, None)

    def show(value: int) -> str:
        for unit in ("GiB", "MiB", "KiB"):
            if value and value % _SIZE_UNITS[unit.lower()] == 0:
                return f"{value // _SIZE_UNITS[unit.lower()]}{unit}"
        return str(value)

    accepts = "a size such as 64KiB, 1MiB or 10MB, or a number of bytes"
    return Parser(accepts + (f", at least {show(minimum)}" if minimum else ""), read, show)


def choice(*options: str) -> Parser[Any]:
    """One of the words, in any case. The value is the word as it stands here."""
    by_lower = {option.lower(): option for option in options}

    def read(raw: object) -> str:
        option = by_lower.get(_text(raw).lower())
        if option is None:
            raise NotAccepted
        return option

    return Parser("one of " + ", ".join(options), read)


def name(kind: str) -> Parser[str]:
    """A name of the ``kind``: 1 to 128 of the characters ``A-Z a-z 0-9 _ . -``."""
    accepts = f"a {kind} name: 1 to 128 of the characters A-Z a-z 0-9 _ . -"
    return Parser(accepts, _checked(lambda raw: check_name(kind, raw)))


def queue() -> Parser[str]:
    """The name of a queue that users may use."""
    accepts = "a queue name: 1 to 128 of the characters A-Z a-z 0-9 _ . -, without '.control.'"
    return Parser(accepts, _checked(check_queue))


def queues() -> Parser[tuple[str, ...]]:
    """What a worker reads: ``high:5,default`` or an array of such; a weight is a whole number above 0."""

    def read(raw: object) -> tuple[str, ...]:
        specs = _items(raw, _text)
        try:
            Subscription.parse(specs)
        except ConfigurationError as error:
            raise NotAccepted from error
        return specs

    return Parser("queues as NAME or NAME:WEIGHT, each once, such as high:5,default", read, ",".join)


def channel() -> Parser[str]:
    """The name of a broadcast channel."""
    accepts = "a channel name: 1 to 128 of the characters A-Z a-z 0-9 _ . -, without '.control.'"
    return Parser(accepts, _checked(check_channel))


def routing() -> Parser[Any]:
    """The routing configuration: the path of a TOML file, none, or its tables, which :mod:`~stem_core.settings.routing`
    reads when it is known what they are relative to."""

    def read(raw: object) -> object:
        if isinstance(raw, Routing | Mapping):
            return raw
        path = _text(raw)
        return Routing() if path.lower() == "none" else path

    return Parser("the path of a TOML file, none, or in stem.toml a table [routing]", read)


def worker_name() -> Parser[str]:
    """The name of a worker; ``%h`` stands for the host's name."""
    accepts = "1 to 128 of the characters A-Z a-z 0-9 _ . @ -, with %h for the name of the host"

    def check(raw: str) -> str:
        check_id("worker", raw.replace("%h", "h"))
        return raw

    return Parser(accepts, _checked(check))


def url(*words: str) -> Parser[str]:
    """The address of a store, ``scheme://...``, or one of ``words``. Shown with its secrets masked."""
    accepts = "an address with a scheme, such as sqlite:///jobs.db"

    def check(raw: str) -> str:
        return raw.lower() if raw.lower() in words else StoreUrl.parse(raw).raw

    return Parser(accepts + "".join(f", or {word}" for word in words), _checked(check), mask, credentials=True)


def many(item: Parser[T], accepts: str) -> Parser[tuple[T, ...]]:
    """A list of what ``item`` reads: comma-separated text, an array in TOML, a list or tuple in code; may be empty."""
    return Parser(accepts, lambda raw: _items(raw, item), lambda values: ",".join(map(item.show, values)))


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise NotAccepted
    return raw.strip()


def _boolean(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    word = _WORDS.get(raw.strip().lower()) if isinstance(raw, str) else None
    if word is None:
        raise NotAccepted
    return word


def _finite(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise NotAccepted
    try:
        value = float(raw)
    except (OverflowError, ValueError) as error:
        raise NotAccepted from error
    if not math.isfinite(value):
        raise NotAccepted
    return value


def _items(raw: object, item: Callable[[object], T]) -> tuple[T, ...]:
    if isinstance(raw, str):
        raw = raw.split(",") if raw.strip() else ()
    if not isinstance(raw, list | tuple):
        raise NotAccepted
    return tuple(map(item, raw))


def _checked(check: Callable[[str], str]) -> Callable[[object], str]:
    def read(raw: object) -> str:
        try:
            return check(_text(raw))
        except ConfigurationError as error:
            raise NotAccepted from error

    return read


N = TypeVar("N", int, float)


def _within(value: N, minimum: N | None, maximum: N | None) -> N:
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise NotAccepted
    return value


def _bounds(minimum: N | None, maximum: N | None, show: Callable[[N], str]) -> str:
    if minimum is not None and maximum is not None:
        return f", from {show(minimum)} to {show(maximum)}"
    if minimum is not None:
        return f", at least {show(minimum)}"
    return f", at most {show(maximum)}" if maximum is not None else ""
