"""What a broker must do. Docstrings are obligations; the conformance suite checks them.

An object belongs to the event loop that opened it. Only ``StoreError`` and its children may leave a method:
``StoreUnavailable`` for what may work later, ``StoreRefused`` for what will not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from stem_core.model import (
    DeadMessage,
    Delivery,
    Message,
    QueueDepth,
    Receipt,
    Settlement,
    StoredMessage,
    Subscription,
    TaskStatus,
    Verdict,
)
from stem_core.model._value import value


@value
class BrokerCapabilities:
    """Qualities of a broker that are no methods."""

    #: Whether messages outlive the process that holds them.
    durable: bool
    #: Whether other processes see the same messages.
    shared: bool


class Broker(ABC):
    """Keeps messages, hands each to one worker at a time, and remembers what workers report.

    The delivery contract: at least once, acknowledged late, fenced. A delivery is leased; the lease's deadline is
    stored beside it by the store's clock. A lease that is over is found by the next :meth:`receive` of anybody, which
    counts a crash and grants the message anew with a higher run. Until that grant the old receipt is still good;
    from then on it is ``lost`` for every verb.

    The core puts every call but :meth:`receive` under a deadline and cancels it then; the same call may be made again.
    """

    @property
    def max_message_size(self) -> int | None:
        """The most bytes of header and payload of one message that this broker can store; None: no limit of its own.
        Producers are held to it before anything is sent."""
        return None

    @abstractmethod
    async def publish(self, messages: Sequence[Message]) -> None:
        """Store the messages. Idempotent by id: an id that is queued, leased, dead or finished within the dedupe
        window changes nothing. All are stored when this returns; after an error any subset may be, and the same
        messages may be sent again.
        """

    @abstractmethod
    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        """Claim up to ``limit`` ready messages for ``lease`` seconds each, at once, without waiting for more.

        At most ``suspects`` of them have ``crashes`` above 0, the crash that this very claim finds included; further
        suspects stay where they are and neither hide nor delay what is no suspect. A worker holds one suspect at a
        time, so that a message that kills its worker does not drag the same neighbours into quarantine again.

        Walks ``subscription.plan(limit)``. Within a queue: highest priority first, then the one that became ready
        first. Messages whose delay is over and leases that have ended count as ready; delays are never cut short.
        Never more than ``limit`` in total. The order holds for one claimer; several at once may overtake each other.
        The core never cancels this call. A claim whose answer was lost on the way is given to its claimer again, or
        its lease ends like any other.
        """

    @abstractmethod
    async def wait_for_work(self, subscription: Subscription, timeout: float) -> None:
        """Return when the queues may hold something to receive, at the latest after ``timeout`` seconds.

        A hint: it may return for nothing, may be cancelled at any time, and no delivery depends on it.
        Returns in time for the next delayed message or lease end that the broker knows of.
        """

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        """Apply each settlement as one atomic step; one verdict each, in order, one failure not touching the others.

        ``done`` also when the same receipt was settled before (a reply was lost), within the dedupe window; of one id
        a store may forget all but the last 64 settlements.
        ``lost`` when the message was granted to another since, purged, or settled by another: nothing is changed.
        An acked id leaves only a marker behind, for the dedupe window.
        """

    @abstractmethod
    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        """Let the leases end ``lease`` seconds from now; one verdict each, in order. Can never win back a message
        that was granted to another; a lease that is over but not granted elsewhere is good again.
        """

    @abstractmethod
    async def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        """The depth of each named queue; zeros for one that never held anything."""

    @abstractmethod
    async def purge(self, queue: str) -> int:
        """Remove what is ready or delayed; leased and dead messages stay. Returns how many were removed."""

    @abstractmethod
    async def queues(self) -> list[str]:
        """The names of all queues that hold a message in any state, sorted."""


class Broadcasts(ABC):
    """Facet: channels on which every listener gets every message."""

    @abstractmethod
    async def send(self, channel: str, message: bytes, ttl: float) -> None:
        """Hand ``message`` to all who listen now, and to those who start listening within ``ttl`` seconds
        with a ``since`` before it."""

    @abstractmethod
    def listen(self, channels: Sequence[str], since: float | None = None) -> AsyncIterator[tuple[str, bytes]]:
        """Yield ``(channel, message)`` in order of sending: those kept since ``since`` (seconds since the epoch;
        None: from now on), then each as it comes. Ends when closed. What this session sends after the call is heard;
        what others send, from the moment at which the store knows of the listener.

        A step that raises StoreError may end the iterator: the core closes it and listens anew, with a ``since`` from
        before, and knows by their ids what it hears twice."""


class KeepsDeadLetters(ABC):
    """Facet: messages that were given up can be looked at and run again.

    Kept for 30 days, about 100,000 a queue at most; the oldest go first.
    """

    @abstractmethod
    async def dead_letters(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[DeadMessage]:
        """Up to ``limit`` dead letters of the queue, oldest first; ``after`` is the last id of the page before."""

    @abstractmethod
    async def dead_letter(self, id: str) -> DeadMessage | None:
        """One dead letter, or None."""

    @abstractmethod
    async def replay(self, ids: Sequence[str]) -> list[str]:
        """Put dead letters back into their queues: attempt 1, crashes 0, same id, the run goes on. One atomic step
        each, which also removes the marker of the id. Returns the ids that were put back."""

    @abstractmethod
    async def purge_dead(self, queue: str, ids: Sequence[str] | None = None) -> int:
        """Remove the named dead letters of the queue, or all. Returns how many."""


class Inspectable(ABC):
    """Facet: messages can be found, looked at and moved by hand."""

    @abstractmethod
    async def peek(
        self, queue: str, state: str = "ready", *, limit: int = 100, after: str | None = None
    ) -> list[StoredMessage]:
        """Up to ``limit`` messages in one state (``ready delayed leased``), in the order of delivery; nothing is
        claimed. ``after`` is the last id of the page before."""

    @abstractmethod
    async def find(self, ids: Sequence[str]) -> dict[str, StoredMessage]:
        """The messages with these ids, in any state, ``dead`` included; unknown ids are left out."""

    @abstractmethod
    async def remove(self, ids: Sequence[str]) -> list[str]:
        """Remove ready and delayed messages; returns the ids removed. Leaves the marker of a finished id."""

    @abstractmethod
    async def move(self, queue: str, other: str) -> int:
        """Put all that is ready or delayed in ``queue`` into ``other``, as it is. Returns how many."""


class SettlesWithResults(ABC):
    """Facet: settle and record in one atomic step, when the result backend lives in the same store."""

    @abstractmethod
    def shares_store(self, backend: object) -> bool:
        """Whether :meth:`settle_with_results` writes to the store of this opened backend."""

    @abstractmethod
    async def settle_with_results(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None]
    ) -> list[Verdict]:
        """As :meth:`Broker.settle`, and record the status beside each settlement in the same step.
        The status of a settlement that is ``lost`` or ``refused`` is not recorded."""
