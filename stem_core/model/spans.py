"""Spans of time, as people give them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, Literal

from stem_core.errors import InvalidOption

#: A span: seconds, or a timedelta.
Span = float | timedelta

#: The longest span that is taken, in seconds: 100 years. Beyond it, moments leave what a calendar can show.
LONGEST = 100 * 365.25 * 86_400


def in_seconds(name: str, given: Any, *, least: Literal["0", "above 0"] = "above 0") -> float:
    """The span in seconds; ``name`` is what the caller calls it.

    Raises:
        InvalidOption: no finite number of seconds and no timedelta, less than ``least``, or more than 100 years.
    """
    number = given.total_seconds() if isinstance(given, timedelta) else given
    usable = isinstance(number, int | float) and not isinstance(number, bool) and number < math.inf
    if not usable or not (number >= 0 if least == "0" else number > 0):
        accepted = "a number of seconds or a timedelta, " + ("0 or more" if least == "0" else least)
        raise InvalidOption(name, given, accepted)
    if number > LONGEST:
        raise InvalidOption(name, given, f"a span of at most 100 years, {LONGEST:.0f} s")
    return float(number)
