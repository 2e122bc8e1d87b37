"""What a strategy needs that runs functions in processes of its own, and what the worker gives it for that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from stem_core.contracts.strategy import Call, Invoker
from stem_core.model._value import value


@value
class ChildPlan:
    """How child processes are made, and when one is replaced."""

    #: ``package.module:function``: a :class:`ChildOpener` that the child imports.
    host: str
    #: What that function is given: the app, resolved settings, plugins. Opaque to the strategy.
    setup: bytes
    #: The most children at once.
    processes: int = 1
    #: A child is replaced after so many calls.
    max_tasks: int | None = None
    #: A child is replaced when it holds more resident memory than this after a call, in bytes.
    max_memory: int | None = None
    #: A child is replaced when it is so old, in seconds.
    max_age: float | None = None


class RemoteInvoker(Invoker, Protocol):
    """What a worker hands to every strategy. One whose functions run elsewhere uses these; the others do not.

    All are called on the worker's event loop.
    """

    @property
    def children(self) -> ChildPlan:
        """How to make child processes.

        Raises:
            ConfigurationError: a child process could not import the app.
        """
        ...

    def begin(self, call: Call) -> bytes:
        """The request for :meth:`ChildHost.run`. Call it when a process is free for the call: its clocks start.

        Raises:
            TaskInterrupted: the call is not to run any more; :meth:`ConcurrencyStrategy.run` raises it.
        """
        ...

    def news(self, call: Call, message: bytes) -> None:
        """Take what the child told while the call runs."""
        ...

    def finish(self, call: Call, report: bytes) -> bytes:
        """The result in the report that :meth:`ChildHost.run` returned.

        Raises:
            RemoteError: what the function raised, as text.
            TaskInterrupted: it was interrupted.
        """
        ...


class ChildLink(Protocol):
    """One call, seen from the child: its line to the parent."""

    def tell(self, message: bytes) -> None:
        """Send something to :meth:`RemoteInvoker.news`; any thread. After the end of the call nothing is sent."""
        ...

    def on_interrupt(self, callback: Callable[[str], None]) -> None:
        """Call this once when the call has to stop, with the reason: in a thread of its own, or at once when it is
        interrupted already."""
        ...


class ChildHost(Protocol):
    """The worker's side of a child process."""

    def run(self, request: bytes, link: ChildLink) -> bytes:
        """Run one call in the main thread; returns a report, whatever the function did. One at a time."""
        ...


#: Entered in the main thread of a child with :attr:`ChildPlan.setup`; left after its last call.
ChildOpener = Callable[[bytes], AbstractContextManager[ChildHost]]
