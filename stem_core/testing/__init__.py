"""For tests: of tasks, and of plugins.

``FakeClock``, ``Harness``, ``FlakyBroker`` and ``SignalRecorder`` are here; :mod:`stem_core.testing.contracts` has the
suites for authors of plugins, and :mod:`stem_core.testing.plugin` the fixtures that pytest finds by itself.
Importing this package loads nothing: pytest does so in every run of everybody who has Stem installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stem_core.testing.clock import FakeClock
    from stem_core.testing.enqueued import Enqueued
    from stem_core.testing.flaky import Faults, FlakyBackend, FlakyBroker, FlakyState
    from stem_core.testing.harness import Harness
    from stem_core.testing.recorder import SignalRecorder

__all__ = [
    "Enqueued",
    "FakeClock",
    "Faults",
    "FlakyBackend",
    "FlakyBroker",
    "FlakyState",
    "Harness",
    "SignalRecorder",
]

_HOMES = {
    "Enqueued": "enqueued",
    "FakeClock": "clock",
    "Faults": "flaky",
    "FlakyBackend": "flaky",
    "FlakyBroker": "flaky",
    "FlakyState": "flaky",
    "Harness": "harness",
    "SignalRecorder": "recorder",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
