"""One socket to the server: what is sent in one turn of the loop leaves in one write, replies come in order.

redis-py is not on this way: per command its client costs three times as much (``tests/benchmarks``), and importing it
60 ms and 10 MB in every process.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

Argument = bytes | str | int | float
#: Is given the reply, or the exception that came instead; a :class:`hiredis.ReplyError` is one too.
OnReply = Callable[[Any], None]

#: A peer that is gone without a word is noticed after some 25 s, also by a connection that only listens.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

#: One command as bytes. The stub of hiredis promises less than it takes.
pack: Callable[[Sequence[Argument]], bytes] = cast("Any", hiredis.pack_command)


class Connection(asyncio.Protocol):
    """One connection. Belongs to the event loop that made it.

    A server that leaves a command unanswered for ``patience`` seconds has the connection closed under it, so every
    future that :meth:`send` returned ends.
    """

    def __init__(self, patience: float, on_push: Callable[[list[Any]], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._on_push = on_push
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._waiting: deque[tuple[OnReply, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        #: When the server was last heard of, in the loop's time.
        self._heard = 0.0
        #: Why the connection is of no use any more; None while it is.
        self.broken: Exception | None = None
        #: Done when the connection is closed.
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def idle(self) -> bool:
        """Whether every command was answered."""
        return not self._waiting

    def send(self, *command: Argument, at_once: bool = False) -> asyncio.Future[Any]:
        """Send a command at the end of this turn of the loop, or now; its reply, or :class:`hiredis.ReplyError`.

        The future fails with ``OSError`` or ``hiredis.ProtocolError`` when the connection breaks before the reply.
        """
        future = self._loop.create_future()
        self.post(command, functools.partial(_answer, future), at_once=at_once)
        return future

    def post(self, command: Sequence[Argument], on_reply: OnReply, *, at_once: bool = False) -> None:
        """As :meth:`send`, but the reply, or the exception, is given to ``on_reply`` in the turn in which it comes."""
        self.write(pack(command), on_reply, at_once=at_once)

    def write(self, command: bytes, on_reply: OnReply, *, at_once: bool = False) -> None:
        """As :meth:`post`, of a command that is packed already."""
        if self.broken is not None:
            on_reply(ConnectionError(str(self.broken)))
            return
        if not self._outgoing and not at_once:
            self._loop.call_soon(self._flush)
        self._outgoing.append(command)
        self._waiting.append((on_reply, self._loop.time()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._check)
        if at_once:
            self._flush()

    def tell(self, *command: Argument) -> None:
        """Send a command whose answers come through ``on_push``, as those of subscriptions do."""
        if self.broken is None:
            if not self._outgoing:
                self._loop.call_soon(self._flush)
            self._outgoing.append(pack(command))

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None:
            data = self._outgoing[0] if len(self._outgoing) == 1 else b"".join(self._outgoing)
            self._outgoing = []
            self._transport.write(data)

    def close(self, error: Exception | None = None) -> None:
        """Close at once; unanswered commands fail."""
        self._fail(error or ConnectionError("the connection was closed"))
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A duck by contract: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, seconds in _KEEPALIVE.items():
                # Not every system has all of them.
                if (option := getattr(socket, name, None)) is not None:
                    sock.setsockopt(socket.IPPROTO_TCP, option, seconds)

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        self._heard = self._loop.time()
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not Ellipsis:
                if self._on_push is not None and (isinstance(reply, hiredis.PushNotification) or not waiting):
                    self._on_push(reply)
                elif isinstance(reply, hiredis.PushNotification):
                    continue
                elif not waiting:
                    raise hiredis.ProtocolError("a reply that nobody asked for")
                else:
                    waiting.popleft()[0](reply)
        except hiredis.ProtocolError as error:
            self.close(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the server closed the connection"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self.broken is None:
            self.broken = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outgoing = []
        while self._waiting:
            self._waiting.popleft()[0](self.broken)

    def _check(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        # A long line of commands takes its time: the server is slow only when nothing comes at all.
        left = max(self._waiting[0][1], self._heard) + self._patience - self._loop.time()
        if left <= 0:
            self.close(TimeoutError(f"no answer within {self._patience:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._check)


def _answer(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
        # Whoever sent it may have gone.
        future.exception()
    else:
        future.set_result(reply)
