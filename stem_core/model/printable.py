"""Text of others, made harmless for a terminal."""

from __future__ import annotations

import unicodedata

# Control, format (bidirectional overrides), surrogate and line separator characters: data that holds them is told,
# not obeyed.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str, *, lines: bool = False) -> str:
    r"""``text`` with what a terminal might obey written as ``\x1b``, ``\u202e`` and so on.

    Args:
        text: Anything that came from a user, a task or a store.
        lines: Keep line ends, for text that has several lines on purpose.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_clean_character(character, lines=lines) for character in text)


def _clean_character(character: str, *, lines: bool) -> str:
    if unicodedata.category(character) not in _UNSAFE or (lines and character == "\n"):
        return character
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
