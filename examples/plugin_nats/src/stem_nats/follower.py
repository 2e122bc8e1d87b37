"""Keeps a :class:`~stem_nats.view.View` up to date, by a consumer that delivers the headers of every record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from stem_core.errors import StoreError, StoreUnavailable
from stem_nats.failures import refusal
from stem_nats.records import Meta, decode_meta
from stem_nats.store import META, Stream, api_error
from stem_nats.view import View

logger = logging.getLogger("stem_nats")

_NANO = 10**9
#: How often the server says that the consumer lives when there is nothing to deliver, in seconds.
_HEARTBEAT = 2
#: How long the server keeps the consumer of a session that is gone, in seconds.
_INACTIVE = 30
#: How long a record that the server has may stay under way before the consumer is made anew, in seconds.
_PATIENCE = 1.0


class _Waiter:
    __slots__ = ("future", "queues")

    def __init__(self, queues: Sequence[str], future: asyncio.Future[None]) -> None:
        self.queues = queues
        self.future = future


class Follower:
    """Reads the stream as it grows. Started by the first who needs the view; a producer never does."""

    def __init__(self, stream: Stream) -> None:
        self.view = View()
        self._stream = stream
        self._starting = asyncio.Lock()
        self._subscription: NatsSubscription | None = None
        #: Numbers in the stream and of the consumer, of what was delivered last.
        self._reached = 0
        self._delivered = 0
        #: When the consumer gave its last sign of life, by the event loop.
        self._heard = 0.0
        #: Which stream the view is of.
        self._created = ""
        self._moved: set[asyncio.Future[None]] = set()
        self._waiters: set[_Waiter] = set()

    @property
    def started(self) -> bool:
        """Whether the view is of any use."""
        return self._subscription is not None

    async def close(self) -> None:
        """Read no more."""
        await self._unsubscribe()

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            # Nobody would be told any more: let them look for themselves.
            for waiter in self._waiters:
                if not waiter.future.done():
                    waiter.future.set_result(None)
            try:
                await subscription.unsubscribe()
            except Exception:
                # The connection is closed, and the subscription with it.
                logger.debug("a subscription was gone before it was ended")

    async def current(self) -> View:
        """The view, with everything in it that the server had stored when this was called.

        Raises:
            StoreUnavailable: the server does not answer.
        """
        newest = await self._stream.newest()
        silent = asyncio.get_running_loop().time() - self._heard > 3 * _HEARTBEAT
        if self.started and (silent or self._stream.created != self._created):
            await self._unsubscribe()
        for _ in range(3):
            if not self.started:
                await self._start()
            if await self._reach(newest):
                return self.view
            logger.info("the consumer of %s is behind: making it anew", self._stream.name)
            await self._unsubscribe()
        raise StoreUnavailable(f"NATS does not deliver what the stream {self._stream.name} holds")

    async def _reach(self, sequence: int) -> bool:
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while self._reached < sequence:
            before = self._reached
            moved: asyncio.Future[None] = loop.create_future()
            self._moved.add(moved)
            await asyncio.wait((moved,), timeout=_PATIENCE)
            self._moved.discard(moved)
            if self._reached > before:
                heard = loop.time()
            elif loop.time() - heard >= _PATIENCE:
                return False
        return True

    async def _start(self) -> None:
        async with self._starting:
            if self.started:
                return
            stream = self._stream
            await stream.ensure()
            if stream.created != self._created:
                if self._created:
                    logger.warning("the stream %s was deleted, and what it held", stream.name)
                self._created = stream.created
                self._reached = 0
                self.view.clear()
            inbox = stream.link.client.new_inbox()
            self._delivered = 0
            subscription = await stream.link.client.subscribe(inbox, cb=self._on_message, pending_bytes_limit=0)
            config = {
                "deliver_subject": inbox,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": self._reached + 1,
                "filter_subject": stream.everything,
                "ack_policy": "none",
                "max_deliver": 1,
                "headers_only": True,
                "flow_control": True,
                "idle_heartbeat": _HEARTBEAT * _NANO,
                "inactive_threshold": _INACTIVE * _NANO,
                "mem_storage": True,
                "num_replicas": 1,
            }
            try:
                answer = await stream.link.api(
                    f"CONSUMER.CREATE.{stream.name}", {"stream_name": stream.name, "config": config}
                )
                if "error" in answer:
                    raise refusal(api_error(answer["error"]), f"a consumer of {stream.name}")
            except StoreError:
                await subscription.unsubscribe()
                raise
            self._subscription = subscription
            self._heard = asyncio.get_running_loop().time()

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        self._heard = asyncio.get_running_loop().time()
        if "Status" in headers:
            await self._on_sign_of_life(message, headers)
            return
        # $JS.ACK.<stream>.<consumer>.<deliveries>.<number in the stream>.<number of the consumer>.<time>.<left>,
        # with two tokens more behind $JS.ACK where there are domains.
        tokens = message.reply.split(".")
        sequence, delivered = int(tokens[-4]), int(tokens[-3])
        if delivered != self._delivered + 1:
            await self._unsubscribe()
            return
        self._delivered = delivered
        try:
            meta = decode_meta(headers[META])
        except (KeyError, msgspec.DecodeError):
            logger.warning("passing over %s, which Stem did not write", message.subject)
        else:
            self.learn(self._stream.id(message.subject), sequence, meta)
        self._move(sequence)

    async def _on_sign_of_life(self, message: Msg, headers: dict[str, str]) -> None:
        stalled = message.reply or headers.get("Nats-Consumer-Stalled", "")
        if stalled:
            # Flow control: the server goes on when it hears that all before this was taken.
            await self._stream.link.client.publish(stalled)
        elif int(headers.get("Nats-Last-Consumer", self._delivered)) != self._delivered:
            await self._unsubscribe()

    def _move(self, sequence: int) -> None:
        self._reached = max(self._reached, sequence)
        if self._moved:
            moved, self._moved = self._moved, set()
            for future in moved:
                if not future.done():
                    future.set_result(None)

    def learn(self, id: str, sequence: int, meta: Meta, body: bytes | None = None) -> None:
        """Tell the view, and whoever waits for work of that queue."""
        self.view.apply(id, sequence, meta, body)
        self.wake()

    def wake(self) -> None:
        """Let those look again in whose queues something changed."""
        changed = self.view.changed
        if changed and self._waiters:
            for waiter in [waiter for waiter in self._waiters if not changed.isdisjoint(waiter.queues)]:
                self._waiters.discard(waiter)
                if not waiter.future.done():
                    waiter.future.set_result(None)
        changed.clear()

    async def change(self, queues: Sequence[str], timeout: float) -> None:
        """Return when something changed in one of the queues, or after ``timeout`` seconds."""
        waiter = _Waiter(queues, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter.future,), timeout=timeout)
        finally:
            self._waiters.discard(waiter)
