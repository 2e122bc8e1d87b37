"""What a concurrency strategy must do: decide where a function runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Protocol

from stem_core.errors import InterruptReason
from stem_core.model._value import value


@value
class Call:
    """One run of one task, as strategies see it: bytes in, bytes out."""

    #: Id of the task being run, and its attempt: what a cancellation aims at.
    id: str
    attempt: int
    task: str
    #: JSON text ``[args, kwargs]``.
    payload: bytes
    #: What the invoker needs to give the function its ``ctx``; opaque to the strategy.
    context: object


class Invoker(Protocol):
    """Handed to a strategy by the worker: decodes the arguments, calls the function, encodes what it returns."""

    async def call(self, call: Call) -> bytes:
        """Run the function on the current event loop. Raises what the function raises."""
        ...

    def call_sync(self, call: Call) -> bytes:
        """Run a plain function in the current thread. Raises what the function raises."""
        ...


class ConcurrencyStrategy(ABC):
    """Runs calls. Belongs to the worker's event loop."""

    #: Whether a running call can be ended against its will: see :meth:`kill`.
    preemptible: bool = False

    async def start(self) -> None:  # noqa: B027 - most have nothing to do
        """Make ready what takes time, before the worker's first claim. :meth:`run` works without it, only later.

        Raises:
            StemError: nothing could ever run here.
        """

    @abstractmethod
    async def run(self, call: Call) -> bytes:
        """Run the call and return the encoded result; raise what the function raised, from another process as a
        RemoteError. When the process ended before the function did, raise ProcessLost.

        Each call comes in an asyncio task of its own. When that task is cancelled, this method lets the
        ``CancelledError`` through as soon as the function can be left: at its next await on the event loop;
        a thread or a process cannot be left, so there it goes on waiting, and the function sees ``ctx.check()``.
        """

    def interrupt(self, call: Call, reason: InterruptReason) -> bool:
        """Ask a running call to stop at its next checkpoint; on the event loop.

        Returns False where the function sees the context of this process, so that the worker has told it already, and
        cancels the task of a coroutine. Where it runs elsewhere, tell it there and return True.
        """
        return False

    def kill(self, call: Call, reason: InterruptReason) -> bool:
        """End a running call against its will, and soon; any thread. :meth:`run` then raises TaskInterrupted.

        Returns whether that is under way; always False when not :attr:`preemptible`.
        """
        return False

    @abstractmethod
    async def resize(self, slots: int) -> None:
        """Have room for this many calls at once; never cuts a running one."""

    def memory_for(self, slots: int) -> int:
        """About how many bytes of memory :meth:`resize` to this many slots would take by itself; 0 where that costs
        nothing worth counting. Autoscaling steps up only as far as there is memory."""
        return 0

    @abstractmethod
    async def close(self, mode: Literal["drain", "abandon"]) -> None:
        """``drain``: return when all calls have ended. ``abandon``: return at once and let go of what still runs."""
