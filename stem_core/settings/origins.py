"""Where a value came from."""

from __future__ import annotations

from typing import Literal, get_args

import attrs

from stem_core.model._value import value

OriginKind = Literal["command-line", "environment", "code", "file", "default"]


@value
class Origin:
    """Where the value of a setting came from; ``str()`` says it: ``environment STEM_WORKER_LEASE``."""

    kind: OriginKind
    #: The option, the variable, ``tasks.py:5``, or ``stem.toml [worker]``; may be empty.
    detail: str = ""

    def goes_before(self, other: Origin) -> bool:
        """Whether a value from here wins over one from there."""
        return _RANK[self.kind] < _RANK[other.kind]

    def __str__(self) -> str:
        return f"{self.kind.replace('-', ' ')} {self.detail}".rstrip()


_RANK = {kind: rank for rank, kind in enumerate(get_args(OriginKind))}

DEFAULT = Origin(kind="default")


@value
class Found:
    """A value as one source has it, before it is parsed."""

    raw: object = attrs.field(repr=False)
    origin: Origin
    #: The dotted key as that source spells it.
    key: str
    #: Whether it was read from a file of secrets, and is never shown.
    hidden: bool = False
