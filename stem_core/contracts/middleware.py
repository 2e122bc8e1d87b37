"""What wraps publishing and running. Middleware changes; signals only tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from stem_core.model import Envelope

if TYPE_CHECKING:
    from stem_core.tasks.context import TaskContext


class Middleware:
    """Base class of middleware; override what you need. The first in the list is the outermost."""

    def enqueue(self, envelope: Envelope) -> Envelope:
        """Called in the producer before the envelope is sealed; return it, or a changed copy. Raise to refuse."""
        return envelope

    async def run(self, ctx: TaskContext, proceed: Callable[[], Awaitable[bytes]]) -> bytes:
        """Called on the worker's loop around each run. ``await proceed()`` runs the task and gives its encoded
        result (JSON text); return that or another. What this raises counts as raised by the task."""
        return await proceed()
