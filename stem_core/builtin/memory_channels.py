"""Broadcasts in memory: every listener has a line of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from threading import Lock

from stem_core.builtin.waiter import Waiter


class Channels:
    """What was sent and is still kept, and who listens. Whoever calls holds the store's lock."""

    def __init__(self) -> None:
        # (sent at, expires, channel, message) in order of sending.
        self._kept: list[tuple[float, float, str, bytes]] = []
        self._listeners: list[Listener] = []

    def send(self, channel: str, message: bytes, ttl: float, now: float) -> None:
        """Give the message to all listeners of the channel, and keep it for ``ttl`` seconds."""
        self._kept = [kept for kept in self._kept if kept[1] > now]
        self._kept.append((now, now + ttl, channel, message))
        for listener in self._listeners:
            listener.take(channel, message)

    def join(self, listener: Listener, since: float | None, now: float) -> None:
        """Add the listener; it first gets what was sent from ``since`` on and is still kept."""
        if since is not None:
            for sent, expires, channel, message in self._kept:
                if sent >= since and expires > now:
                    listener.take(channel, message)
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Remove the listener."""
        if listener in self._listeners:
            self._listeners.remove(listener)


class Listener(AsyncIterator[tuple[str, bytes]]):
    """The iterator that ``listen`` returns. Listens from the moment it was made, not from its first step."""

    def __init__(self, channels: Channels, lock: Lock, names: Sequence[str]) -> None:
        self._channels = channels
        self._lock = lock
        self._names = frozenset(names)
        self._line: deque[tuple[str, bytes]] = deque()
        self._waiter: Waiter | None = None
        self._closed = False

    def take(self, channel: str, message: bytes) -> None:
        """Line the message up, if it is for one of the channels listened to. The lock is held."""
        if channel in self._names:
            self._line.append((channel, message))
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()
            self._waiter = None

    async def __anext__(self) -> tuple[str, bytes]:
        while True:
            with self._lock:
                if self._closed:
                    raise StopAsyncIteration
                if self._line:
                    return self._line.popleft()
                waiter = self._waiter = Waiter()
            await waiter.sleep(float("inf"))

    async def aclose(self) -> None:
        """Stop listening; a step that waits ends the iteration."""
        with self._lock:
            self._closed = True
            self._channels.leave(self)
            self._wake()
