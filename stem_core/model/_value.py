"""The decorator behind every value of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, dataclass_transform

import attrs

T = TypeVar("T")

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(attrs.field,))
    def value(cls: type[T]) -> type[T]: ...

else:
    # A value is immutable by contract, and mypy holds everybody to it. At run time it is a plain slotted class:
    # ``attrs.frozen`` builds a 12-field object in 1.4 us, ``attrs.define`` in 0.5 us, and a delivery builds several.
    value = attrs.define(kw_only=True, slots=True, unsafe_hash=True)
