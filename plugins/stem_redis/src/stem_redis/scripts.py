"""The Lua scripts: read from the package, put together, and known by their hashes."""

from __future__ import annotations

import functools
import hashlib
import re
from importlib.resources import files

from stem_core.model._value import value
from stem_redis.packing import packed

#: The scripts by name. ``clock``, ``since``, ``queue``, ``bundles``, ``suspects`` and ``outcome`` are parts of others.
NAMES = (
    "publish", "publish_one", "publish_alike", "confirm", "withdraw", "claim", "recover", "settle", "extend",
    "look", "depth", "fetch", "peek", "drop", "replay", "move", "record", "results", "await", "forget", "state", "send",
    "place", "news",
)  # fmt: skip
#: Parts that have another form for a clock that is given.
_CLOCKS = {"clock", "since"}


@value
class Script:
    """One script as the server knows it."""

    name: str
    source: bytes
    #: The SHA-1 of the source in hexadecimal.
    sha: bytes
    #: How a command that calls it begins, packed.
    call: bytes


def read(name: str) -> str:
    """The text of one file of the package."""
    return files("stem_redis").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


@functools.cache
def load(*, flags: bool, given_clock: bool) -> dict[str, Script]:
    """All scripts.

    Args:
        flags: The server knows the flags of scripts (Redis 7.0 and newer).
        given_clock: The time is the last argument of each call, instead of the server's own.
    """
    return {name: _compose(name, flags=flags, given_clock=given_clock) for name in NAMES}


def _compose(name: str, *, flags: bool, given_clock: bool) -> Script:
    body = read(name)
    uses = re.search(r"^-- uses: (.+)$", body, re.MULTILINE)
    names = uses.group(1).split() if uses else []
    parts = [read(f"given_{part}" if given_clock and part in _CLOCKS else part) for part in names]
    if re.search(r"^-- frees$", body, re.MULTILINE):
        # It makes room, or is needed to make room, so it runs although the memory is full.
        if flags:
            parts.insert(0, "#!lua flags=allow-oom\n")
        else:
            # Before 7.0 a script is let on once it has written anything that needs no memory.
            parts.insert(0, "redis.call('DEL', KEYS[1] .. ':none')\n")
    source = "".join([*parts, body]).encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return Script(name=name, source=source, sha=sha, call=packed("EVALSHA", sha))
