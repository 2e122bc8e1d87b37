"""Does JSON carry a value unharmed? What msgspec would change without a word is found here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

#: The whole numbers of 64 bits, with a sign and without.
LEAST_NUMBER, MOST_NUMBER = -(2**63), 2**64 - 1
_PLAIN = frozenset({str, int, float, bool, type(None)})

_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_MANY = b"0" * 19


def has_long_number(text: bytes) -> bool:
    """Whether encoded ``text`` may hold a whole number of more than 64 bits: msgspec writes them at any length.

    0.15 us for a short text, against 0.1 us for each value by itself.
    """
    return _MANY in text.translate(_DIGITS)


def unfit(value: Any) -> str:
    """Why JSON cannot carry a value that msgspec encodes: a float that is no number, which it writes as ``null``, or
    a whole number of more than 64 bits. Empty when it can."""
    left = [msgspec.to_builtins(value)]
    while left:
        part = left.pop()
        if isinstance(part, str) or part is None:
            continue
        if isinstance(part, float):
            if not math.isfinite(part):
                return f"{part} is no JSON number"
        elif isinstance(part, int):
            if not LEAST_NUMBER <= part <= MOST_NUMBER:
                return "a whole number of more than 64 bits"
        elif isinstance(part, Mapping):
            left.extend(part.keys())
            left.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            left.extend(part)
    return ""


def loss(given: Any, back: Any) -> str:
    """What is lost when ``given`` arrives as ``back``; empty when nothing is.

    Tuples may arrive as lists, and an annotation may make a richer value of a plain one. The other way round is a
    loss: a date that arrives as text, a set as a list, a whole number as a key of text.
    """
    if _equal(given, back):
        return ""
    kind = type(back)
    if kind is dict:
        return _loss_of_pairs(given, back)
    if kind is list or kind is tuple:
        if not isinstance(given, list | tuple) or len(given) != len(back):
            return _change(given, back)
        return _first(loss(*pair) for pair in zip(given, back, strict=True))
    if kind in _PLAIN or isinstance(back, set | frozenset):
        return _change(given, back)
    if kind is type(given):
        return _first(loss(getattr(given, name), getattr(back, name)) for name in _fields(back))
    return ""


def _loss_of_pairs(given: Any, back: dict[Any, Any]) -> str:
    if not isinstance(given, Mapping):
        return _change(given, back)
    if given.keys() != back.keys():
        key = next((key for key in given if not isinstance(key, str)), None)
        return f"keys of dicts have to be str; {type(key).__name__} would arrive as str" if key is not None else "keys"
    return _first(loss(given[key], back[key]) for key in given)


def _fields(value: Any) -> Iterable[str]:
    """The names of the fields of a dataclass, an attrs class or a Struct."""
    kind = type(value)
    names = getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__struct_fields__", None)
    return names or [field.name for field in getattr(kind, "__attrs_attrs__", ())]


def _equal(given: Any, back: Any) -> bool:
    try:
        return bool(given == back)
    except Exception:  # the class of the user may refuse to be compared; then its fields are
        return False


def _change(given: Any, back: Any) -> str:
    before, after = type(given).__name__, type(back).__name__
    return f"{before} would arrive as {after}" if before != after else f"another {after} would arrive"


def _first(findings: Iterable[str]) -> str:
    return next(filter(None, findings), "")
