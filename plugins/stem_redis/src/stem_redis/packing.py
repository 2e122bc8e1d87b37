"""Parts of commands as they go over the wire, so that what many have in common is packed once.

hiredis packs an argument in 0.5 us, and a script call has a dozen: for one published message more than
the script takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from stem_redis.connection import Argument, pack

#: What stands behind every argument.
END = b"\r\n"
_HEADS = tuple(b"$%d\r\n" % size for size in range(1024))


def head(size: int) -> bytes:
    """What stands before an argument of so many bytes."""
    return _HEADS[size] if size < 1024 else b"$%d\r\n" % size


def packed(*arguments: Argument) -> bytes:
    """Some arguments of a command."""
    return pack(arguments).partition(END)[2]


def command(count: int, parts: Sequence[bytes]) -> bytes:
    """A whole command of ``count`` arguments, of which these are the parts."""
    return b"*%d\r\n%b" % (count, b"".join(parts))
