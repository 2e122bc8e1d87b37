"""What tasks need of the app that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from stem_core.client.results import TaskHandle
    from stem_core.model import Envelope
    from stem_core.tasks.call import TaskCall
    from stem_core.tasks.context import TaskContext
    from stem_core.tasks.registry import TaskRegistry

R = TypeVar("R")


class TaskHost(Protocol):
    """The side of an app that tasks call: it publishes what they ask for."""

    @property
    def tasks(self) -> TaskRegistry:
        """The tasks of the app."""
        ...

    async def submit(self, call: TaskCall[R]) -> TaskHandle[R]:
        """Publish one call through the session of the running loop."""
        ...

    def submit_sync(self, call: TaskCall[R]) -> TaskHandle[R]:
        """Publish one call from code without an event loop; blocks until it is stored."""
        ...

    def stage(self, call: TaskCall[R], parent: TaskContext, id: str) -> tuple[Envelope, TaskHandle[R]]:
        """Build the envelope of a call made inside ``parent``, and its handle; publish nothing.

        ``id`` is the job's id unless the call has one of its own. May be called in any thread.
        """
        ...
