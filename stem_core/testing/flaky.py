"""Stores that fail on demand: wrappers around any broker, result backend or state store."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any, Literal, Self

from stem_core.contracts import (
    Broadcasts,
    Broker,
    Inspectable,
    KeepsDeadLetters,
    Record,
    ResultBackend,
    SettlesWithResults,
    StateStore,
    TellsTime,
)
from stem_core.errors import StoreUnavailable
from stem_core.model import (
    DeadMessage,
    Delivery,
    Message,
    QueueDepth,
    Receipt,
    Settlement,
    StoredMessage,
    Subscription,
    TaskState,
    TaskStatus,
    Verdict,
)

#: What one call of a verb meets: nothing; an outage; a reply that is lost after the work was done; a delivery that is
#: granted twice; an error; or a pause of so many seconds.
Step = Literal["ok", "down", "lost reply", "duplicate"] | Exception | float


class Faults:
    """What is to go wrong with the stores that share this object, and what was asked of them.

    Verbs are the names of methods: ``publish receive settle extend depth ...`` of a broker, with ``settle`` for
    ``settle_with_results`` too, ``record get ...`` of a backend, ``put list ...`` of a state store, and ``open`` where
    an opener asks for it. Nothing goes wrong by chance.
    """

    def __init__(self) -> None:
        #: Verbs that raise StoreUnavailable until they are taken out again.
        self.down: set[str] = set()
        #: Raised by the next calls of the verb, one after the other; the call changes nothing.
        self.errors: dict[str, list[Exception]] = {}
        #: Verbs whose next call is carried out and then fails, as when the reply is lost.
        self.lost_replies: set[str] = set()
        #: Seconds that each call of the verb takes longer, in real time.
        self.delays: dict[str, float] = {}
        #: A call of the verb waits for this event before it does anything. On the loop of the event only.
        self.held: dict[str, asyncio.Event] = {}
        #: How many of the next deliveries are granted to somebody else as well: their leases end at once.
        self.duplicates = 0
        #: Whether settlements and results are written in one step, where the stores can.
        self.together = True
        #: How often each verb was called.
        self.calls: Counter[str] = Counter()
        #: How many settlements each call of ``settle`` brought.
        self.batches: list[int] = []
        #: Calls that wait at a held verb now.
        self.waiting: Counter[str] = Counter()
        #: How many calls were cancelled while they waited.
        self.cancelled: Counter[str] = Counter()
        self._scripts: dict[str, deque[Step]] = {}

    def script(self, verb: str, *steps: Step) -> None:
        """What the next calls of the verb meet, one step a call; then all is well again.

        ``faults.script("publish", "down", "lost reply", 0.5)``: the first call fails, the second is carried out and
        fails, the third takes half a second.
        """
        self._scripts.setdefault(verb, deque()).extend(steps)

    async def before(self, verb: str) -> Step | None:
        """Called by every verb first; what to give to :meth:`after`.

        Raises:
            StoreUnavailable: the verb is down.
            Exception: what was put into :attr:`errors` or a script.
        """
        self.calls[verb] += 1
        script = self._scripts.get(verb)
        step = script.popleft() if script else None
        if seconds := (step if isinstance(step, float) else self.delays.get(verb, 0.0)):
            await asyncio.sleep(seconds)
        if (gate := self.held.get(verb)) is not None:
            await self._wait(verb, gate)
        if verb in self.down or step == "down":
            raise StoreUnavailable(f"{verb}: the store is down")
        if isinstance(step, Exception):
            raise step
        if errors := self.errors.get(verb):
            raise errors.pop(0)
        return step

    def after(self, verb: str, step: Step | None = None) -> None:
        """Called by every verb once it is carried out.

        Raises:
            StoreUnavailable: the reply is lost.
        """
        if verb in self.lost_replies or step == "lost reply":
            self.lost_replies.discard(verb)
            raise StoreUnavailable(f"{verb}: the reply was lost")

    async def _wait(self, verb: str, gate: asyncio.Event) -> None:
        self.waiting[verb] += 1
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled[verb] += 1
            raise
        finally:
            self.waiting[verb] -= 1


class _Wrapper:
    """Hands each verb on to the store inside, past the faults."""

    def __init__(self, inner: Any, faults: Faults | None = None) -> None:
        #: The store that is wrapped.
        self.inner = inner
        self.faults = Faults() if faults is None else faults

    async def _pass(self, verb: str, *args: Any, name: str = "", **kwargs: Any) -> Any:
        step = await self.faults.before(verb)
        answer = await getattr(self.inner, name or verb)(*args, **kwargs)
        self.faults.after(verb, step)
        return answer


class FlakyBroker(_Wrapper, Broker):
    """``FlakyBroker(broker, faults)``: a broker that behaves as the one inside until ``faults`` say otherwise.

    It has the facets that the one inside has. The faults are shared with every other wrapper that is given them.
    """

    def __new__(cls, inner: Broker, faults: Faults | None = None) -> Self:  # noqa: ARG004 - what __init__ takes
        kinds = tuple(ours for facet, ours in _FACETS.items() if isinstance(inner, facet))
        made: Self = object.__new__(_with(cls, kinds))
        return made

    async def publish(self, messages: Sequence[Message]) -> None:
        await self._pass("publish", messages)

    async def receive(
        self, subscription: Subscription, limit: int, lease: float, *, suspects: int = 1
    ) -> list[Delivery]:
        step = await self.faults.before("receive")
        deliveries: list[Delivery] = await self.inner.receive(subscription, limit, lease, suspects=suspects)
        doubled = len(deliveries) if step == "duplicate" else min(self.faults.duplicates, len(deliveries))
        if doubled:
            self.faults.duplicates = max(0, self.faults.duplicates - doubled)
            # What the store itself does when it takes a worker for lost: the next claim is given it too.
            await self.inner.extend([delivery.receipt for delivery in deliveries[:doubled]], 0.0)
        self.faults.after("receive", step)
        return deliveries

    async def wait_for_work(self, subscription: Subscription, timeout: float) -> None:
        await self._pass("wait_for_work", subscription, timeout)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        self.faults.batches.append(len(settlements))
        verdicts: list[Verdict] = await self._pass("settle", settlements)
        return verdicts

    async def extend(self, receipts: Sequence[Receipt], lease: float) -> list[Verdict]:
        verdicts: list[Verdict] = await self._pass("extend", receipts, lease)
        return verdicts

    async def depth(self, queues: Sequence[str]) -> dict[str, QueueDepth]:
        depths: dict[str, QueueDepth] = await self._pass("depth", queues)
        return depths

    async def purge(self, queue: str) -> int:
        removed: int = await self._pass("purge", queue)
        return removed

    async def queues(self) -> list[str]:
        names: list[str] = await self._pass("queues")
        return names


class _FlakySettlesWithResults(_Wrapper, SettlesWithResults):
    def shares_store(self, backend: object) -> bool:
        if isinstance(backend, FlakyBackend):
            backend = backend.inner
        return self.faults.together and bool(self.inner.shares_store(backend))

    async def settle_with_results(
        self, settlements: Sequence[Settlement], statuses: Sequence[TaskStatus | None]
    ) -> list[Verdict]:
        self.faults.batches.append(len(settlements))
        verdicts: list[Verdict] = await self._pass("settle", settlements, statuses, name="settle_with_results")
        return verdicts


class _FlakyBroadcasts(_Wrapper, Broadcasts):
    async def send(self, channel: str, message: bytes, ttl: float) -> None:
        await self._pass("send", channel, message, ttl)

    def listen(self, channels: Sequence[str], since: float | None = None) -> AsyncIterator[tuple[str, bytes]]:
        stream: AsyncIterator[tuple[str, bytes]] = self.inner.listen(channels, since)
        return stream


class _FlakyDeadLetters(_Wrapper, KeepsDeadLetters):
    async def dead_letters(self, queue: str, *, limit: int = 100, after: str | None = None) -> list[DeadMessage]:
        letters: list[DeadMessage] = await self._pass("dead_letters", queue, limit=limit, after=after)
        return letters

    async def dead_letter(self, id: str) -> DeadMessage | None:
        letter: DeadMessage | None = await self._pass("dead_letter", id)
        return letter

    async def replay(self, ids: Sequence[str]) -> list[str]:
        replayed: list[str] = await self._pass("replay", ids)
        return replayed

    async def purge_dead(self, queue: str, ids: Sequence[str] | None = None) -> int:
        removed: int = await self._pass("purge_dead", queue, ids)
        return removed


class _FlakyInspection(_Wrapper, Inspectable):
    async def peek(
        self, queue: str, state: str = "ready", *, limit: int = 100, after: str | None = None
    ) -> list[StoredMessage]:
        found: list[StoredMessage] = await self._pass("peek", queue, state, limit=limit, after=after)
        return found

    async def find(self, ids: Sequence[str]) -> dict[str, StoredMessage]:
        found: dict[str, StoredMessage] = await self._pass("find", ids)
        return found

    async def remove(self, ids: Sequence[str]) -> list[str]:
        removed: list[str] = await self._pass("remove", ids)
        return removed

    async def move(self, queue: str, other: str) -> int:
        moved: int = await self._pass("move", queue, other)
        return moved


class _FlakyTime(_Wrapper, TellsTime):
    async def now(self) -> float:
        now: float = await self._pass("now")
        return now


_FACETS: dict[type, type] = {
    SettlesWithResults: _FlakySettlesWithResults,
    Broadcasts: _FlakyBroadcasts,
    KeepsDeadLetters: _FlakyDeadLetters,
    Inspectable: _FlakyInspection,
    TellsTime: _FlakyTime,
}


@cache
def _with(cls: type, kinds: tuple[type, ...]) -> type:
    """The class with these facets."""
    return type(cls.__name__, (*kinds, cls), {"__doc__": cls.__doc__}) if kinds else cls


class FlakyBackend(_Wrapper, ResultBackend):
    """``FlakyBackend(backend, faults)``: as :class:`FlakyBroker`, for results."""

    async def record(self, statuses: Sequence[TaskStatus]) -> None:
        await self._pass("record", statuses)

    async def get(self, ids: Sequence[str]) -> dict[str, TaskStatus]:
        found: dict[str, TaskStatus] = await self._pass("get", ids)
        return found

    async def wait(self, id: str, timeout: float) -> TaskStatus | None:
        status: TaskStatus | None = await self._pass("wait", id, timeout)
        return status

    async def list(
        self, *, state: TaskState | None = None, task: str | None = None, limit: int = 100, after: str | None = None
    ) -> list[TaskStatus]:
        found: list[TaskStatus] = await self._pass("list", state=state, task=task, limit=limit, after=after)
        return found

    async def forget(self, ids: Sequence[str]) -> int:
        forgotten: int = await self._pass("forget", ids)
        return forgotten


class FlakyState(_Wrapper, StateStore):
    """``FlakyState(store, faults)``: as :class:`FlakyBroker`, for state."""

    async def put(
        self, collection: str, key: str, value: bytes, *, ttl: float | None = None, if_version: int | None = None
    ) -> int:
        version: int = await self._pass("put", collection, key, value, ttl=ttl, if_version=if_version)
        return version

    async def get(self, collection: str, key: str) -> Record | None:
        record: Record | None = await self._pass("get", collection, key)
        return record

    async def list(self, collection: str, *, since_version: int = 0) -> list[Record]:
        found: list[Record] = await self._pass("list", collection, since_version=since_version)
        return found

    async def delete(self, collection: str, key: str) -> bool:
        was_there: bool = await self._pass("delete", collection, key)
        return was_there
