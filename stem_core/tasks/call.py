"""One request in the producer: a task, its checked arguments, and the options of this call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack

import attrs
import msgspec

from stem_core.tasks.host import TaskHost
from stem_core.tasks.options import NO_OPTIONS, CallArguments, CallOptions

if TYPE_CHECKING:
    from stem_core.client.results import TaskHandle
    from stem_core.tasks.task import Task

P = ParamSpec("P")
R = TypeVar("R")


class TaskCall(msgspec.Struct, Generic[R], eq=False, gc=False):
    """A call that is ready to be published; what ``task.call(...)`` makes and ``app.enqueue_many`` takes."""

    # Ten thousand objects that Python's collector keeps an eye on make it look through all there is, in the middle of
    # an ``enqueue_many``: 20 ms. So it does not know of calls and handles. The price: an app that can be reached only
    # from its own calls and handles, as from a closure of a task that keeps some, is never freed.

    #: The registered name.
    name: str
    #: The encoded arguments, JSON text ``[args, kwargs]``.
    payload: bytes
    #: The app that publishes it.
    host: TaskHost
    options: CallOptions = NO_OPTIONS
    #: The task itself; None when it is called by name and its code is not here.
    task: Task[Any, R, Any] | None = None


@attrs.define(slots=True, eq=False)
class BoundTask(Generic[P, R]):
    """A task together with options for the next calls; may be kept and used many times."""

    task: Task[P, R, Any]
    call_options: CallOptions

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R]:
        """As :meth:`Task.call`, with these options."""
        task = self.task
        return TaskCall(task.name, task.signature.encode_arguments(args, kwargs), task.host, self.call_options, task)

    async def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """As :meth:`Task.enqueue`, with these options."""
        return await self.task.host.submit(self.call(*args, **kwargs))

    def enqueue_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """As :meth:`Task.enqueue_sync`, with these options."""
        return self.task.host.submit_sync(self.call(*args, **kwargs))

    def options(self, **options: Unpack[CallArguments]) -> BoundTask[P, R]:
        """The same with more options; those named here replace earlier ones."""
        return BoundTask(self.task, self.task.checked(self.call_options.merged(options)))
