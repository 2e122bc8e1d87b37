"""The worker: pulls deliveries, runs them, and tells the stores what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stem_core.worker.worker import Worker

__all__ = ["Worker"]


def __getattr__(name: str) -> object:
    # Loaded when it is asked for: the supervisor of replicas is a small process, and no worker itself.
    if name != "Worker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stem_core.worker.worker import Worker

    globals()[name] = Worker
    return Worker
