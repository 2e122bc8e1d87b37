"""Broadcasts in a worker: its copy of each message goes down the same line as a delivery, but is nobody else's.

A copy has no lease, no result and no place in the broker. It runs at most once, retries are kept in memory, and what is
left at a stop is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, cast

import attrs

from stem_core.client.broadcasting import on_wire, require_broadcasts
from stem_core.contracts import Broadcasts, TellsTime
from stem_core.errors import MessageUnreadable, StoreError
from stem_core.model import DONE, Delivery, HandedBack, Message, Outcome, Receipt, Retried
from stem_core.wire import decode_copy
from stem_core.worker.backoff import Backoff
from stem_core.worker.inflight import GONE, Entry, InFlight
from stem_core.worker.settle import Batch, Settler

if TYPE_CHECKING:
    from stem_core.client.session import Session
    from stem_core.worker.announce import Announcer
    from stem_core.worker.slots import Slots

logger = logging.getLogger("stem_core.worker")

#: With so many waiting for a slot, the next are left in the channel for now.
MAX_WAITING = 1000
#: Seconds between two looks whether there is room again.
LOOK_AGAIN = 0.05
#: The id of a copy is remembered at least so long, in seconds: its sender may have sent it again after a lost reply.
REMEMBERED = 600.0
#: Seconds between two warnings that listening fails.
WARN_EVERY = 60.0

#: Takes what was heard: the name of the channel in the broker, and the message.
Hear = Callable[[str, bytes], Awaitable[None]]

Service = Callable[[], Coroutine[Any, Any, None]]


def listen(
    session: Session,
    channels: Sequence[str],
    inflight: InFlight,
    *,
    slots: Slots,
    settler: Settler,
    announcer: Announcer,
) -> Copies | None:
    """Begin to listen to the channels; None where there are none to listen to.

    Raises:
        ConfigurationError: the broker has no broadcasts.
    """
    if not channels:
        return None
    copies = Copies(session, channels, inflight, slots=slots, settler=settler, announcer=announcer)
    settler.without_copies = copies.end
    return copies


class Copies:
    """Listens to the channels of a worker, admits its copies, and takes them back at their end."""

    def __init__(
        self,
        session: Session,
        channels: Sequence[str],
        inflight: InFlight,
        *,
        slots: Slots,
        settler: Settler,
        announcer: Announcer,
    ) -> None:
        settings = session.runtime.settings.app
        broker = require_broadcasts(session.broker, channels, "this worker is to listen to")
        self._clock = session.clock
        self._signals = session.app.signals
        self._inflight = inflight
        self._slots = slots
        self._settler = settler
        self._announcer = announcer
        declared = {name: settings.routing_config.channels[name] for name in channels}
        self._on_wire = {on_wire(settings.namespace, name): name for name in channels}
        self._remembered = max(REMEMBERED, *(channel.ttl for channel in declared.values()))
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        #: Channels and ids of what was admitted, and when they may be forgotten (monotonic time); the oldest first.
        self._seen: dict[tuple[str, str], float] = {}
        #: Copies that wait for their next attempt, by channel and id.
        self._retries: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._open = True
        self._listening: list[Listening] = []
        for mode in ("live", "retained"):
            wanted = [wire for wire, name in self._on_wire.items() if declared[name].delivery == mode]
            if wanted:
                listening = Listening(session, broker, wanted, retained=mode == "retained", hear=self._hear)
                self._listening.append(listening)

    @property
    def services(self) -> tuple[Service, ...]:
        """What listens, and what admits: to be run beside the intake, and cancelled when a stop begins."""
        return (*(listening.run for listening in self._listening), self._admit)

    async def close(self) -> None:
        """Listen no more, whether the services ever ran or not."""
        for listening in self._listening:
            await listening.close()

    def end(self, batch: Batch) -> Batch:
        """Take the copies out of what the settler is about to write; returns what is to be written."""
        leased: Batch = []
        ended = False
        for entry, outcome in batch:
            if entry.leased:
                leased.append((entry, outcome))
            elif entry.stage is not GONE:
                ended = True
                self._settler.finish(entry, DONE)
                self._run_again(entry, outcome)
        if ended:
            self._settler.on_released()
        return leased

    def _run_again(self, entry: Entry, outcome: Outcome) -> None:
        delivery = entry.delivery
        if isinstance(outcome, Retried):
            self._later(outcome.delay, delivery, attempt=delivery.attempt + 1)
        elif isinstance(outcome, HandedBack) and outcome.charge:
            self._later(outcome.delay, delivery, crashes=delivery.crashes + 1)

    def _later(self, delay: float, delivery: Delivery, **changes: int) -> None:
        message = delivery.message
        if not self._open:
            logger.warning("dropped the copy %s of %s: the worker stops before its retry", message.id, message.queue)
            return
        receipt = _receipt(message, delivery.receipt.run + 1)
        again: Any = attrs.evolve(cast("Any", delivery), receipt=receipt, **changes)

        def arrive() -> None:
            del self._retries[message.queue, message.id]
            # Whether it has expired is judged by the time of its arrival, as with any delivery.
            self._arrived.put_nowait(attrs.evolve(again, now=self._clock.now()))

        self._retries[message.queue, message.id] = asyncio.get_running_loop().call_later(delay, arrive)

    async def _hear(self, wire: str, data: bytes) -> None:
        channel = self._on_wire[wire]
        try:
            message = decode_copy(data)
            if message.queue != channel:
                raise MessageUnreadable(f"it was sealed for {message.queue!r}")
        except MessageUnreadable as error:
            logger.error("dropped a message on the channel %s: %s", channel, error.message)
            return
        if self._is_new((channel, message.id)):
            now = self._clock.now()
            receipt = _receipt(message, 1)
            self._arrived.put_nowait(
                Delivery(message=message, receipt=receipt, attempt=1, crashes=0, first_delivered_at=now, now=now)
            )
            await self._room()

    def _is_new(self, copy: tuple[str, str]) -> bool:
        seen, now = self._seen, self._clock.monotonic()
        while seen and next(iter(seen.values())) < now:
            del seen[next(iter(seen))]
        if copy in seen:
            return False
        seen[copy] = now + self._remembered
        return True

    async def _admit(self) -> None:
        try:
            while True:
                entry = Entry(await self._arrived.get(), self._clock.monotonic(), math.inf)
                self._inflight.add(entry)
                try:
                    if self._signals.task_received or self._signals.task_crashed:
                        await self._announcer.received(entry)
                except asyncio.CancelledError:
                    self._settler.take(entry, HandedBack(reason="shutdown"))
                    raise
                self._inflight.waiting.append(entry)
                self._slots.start_waiting()
        finally:
            self._close()

    async def _room(self) -> None:
        # Looked at from time to time, so that the slots need not know who waits for them.
        while len(self._inflight.waiting) + self._arrived.qsize() >= MAX_WAITING:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN)

    def _close(self) -> None:
        self._open = False
        dropped = self._arrived.qsize() + len(self._retries)
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        if dropped:
            logger.warning("copies of broadcasts dropped, which had not started or waited for a retry: %d", dropped)


class Listening:
    """Hears some channels for ever: a stream that fails is replaced, and the next hears what this one missed."""

    def __init__(
        self, session: Session, broker: Broadcasts, channels: Sequence[str], *, retained: bool, hear: Hear
    ) -> None:
        self._session = session
        self._broker = broker
        self._channels = channels
        # All that is kept, or what is sent from now on. What is heard twice is known by its id.
        self._since = 0.0 if retained else None
        self._began = session.clock.now()
        self._hear = hear
        # Here and not in a task of its own: who waits for the worker to be ready may send at once.
        self._stream = broker.listen(channels, self._since)

    async def close(self) -> None:
        """Leave the channels."""
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()

    async def run(self) -> None:
        """Listen until cancelled."""
        if self._since is None:
            self._since = self._began + await ahead(self._session)
        backoff, warned_at = Backoff(), -math.inf
        while True:
            try:
                async for channel, data in self._stream:
                    backoff.reset()
                    await self._hear(channel, data)
            except StoreError as error:
                now = self._session.clock.monotonic()
                if now - warned_at >= WARN_EVERY:
                    warned_at = now
                    logger.warning("cannot listen to broadcasts, trying on: %s", error.message)
            finally:
                await self.close()
            await backoff.sleep()
            self._stream = self._broker.listen(self._channels, self._since)


async def ahead(session: Session) -> float:
    """How far the store's clock is ahead of ours, in seconds; 0 where it does not tell."""
    broker = session.broker
    if not isinstance(broker, TellsTime):
        return 0.0
    try:
        return await session.deadline("broker: now", broker.now()) - session.clock.now()
    except StoreError:
        return 0.0


def _receipt(message: Message, run: int) -> Receipt:
    """No broker knows it: the run counts the starts in this worker."""
    return Receipt(id=message.id, queue=message.queue, run=run, token="")
