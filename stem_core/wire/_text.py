"""What decoders say about bytes that somebody else wrote."""

from __future__ import annotations

#: What decoding arbitrary bytes can raise. msgspec's own errors are ValueErrors, and so is bad UTF-8.
UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)

_LONGEST = 200


def cause(error: BaseException) -> str:
    """The error as one short printable line: it may quote bytes of a stranger."""
    text = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    line = "".join(char if char.isprintable() else "?" for char in text)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
