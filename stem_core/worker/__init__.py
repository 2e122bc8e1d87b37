"""The worker: pulls deliveries, runs them, and tells the stores what came of them."""

from __future__ import annotations

from stem_core.worker.worker import Worker

__all__ = ["Worker"]
