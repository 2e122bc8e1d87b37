"""Waiting for results: a session says for which ids it waits, and is told of them by publication."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from stem_core.model import TaskState
from stem_redis.keys import Keys
from stem_redis.store import Store

#: Seconds after which somebody who waits looks again, should a publication have been lost.
_LOOK_AGAIN = 5.0
#: What a session waits for is forgotten after this many milliseconds without another wait.
_FORGOTTEN = 60_000

_TERMINAL = b"t"
assert TaskState.SUCCEEDED.terminal


class ResultWaiters:
    """Who waits in this session, and the one channel on which it hears of results."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._channel = keys.session(store.session)
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._listening = False

    async def wait(self, id: str, timeout: float) -> bytes:
        """The status as bytes once it is terminal, or what is known after ``timeout`` seconds; empty for none."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if timeout <= 0:
            return (await self._look(id, again=0))[1]
        with self._heard_of(id) as finished:
            # First listen, then look: what ends in between is heard.
            await self._listen()
            body = b""
            try:
                while True:
                    finished.clear()
                    kind, body = await self._look(id, again=_FORGOTTEN)
                    left = deadline - loop.time()
                    if kind == _TERMINAL or left <= 0:
                        break
                    try:
                        async with asyncio.timeout(min(left, _LOOK_AGAIN)):
                            await finished.wait()
                    except TimeoutError:
                        continue
            finally:
                if len(self._waiting[id]) == 1:
                    self._forget(id)
            return body

    @contextmanager
    def _heard_of(self, id: str) -> Iterator[asyncio.Event]:
        finished = asyncio.Event()
        self._waiting.setdefault(id, set()).add(finished)
        try:
            yield finished
        finally:
            waiting = self._waiting[id]
            waiting.discard(finished)
            if not waiting:
                del self._waiting[id]

    async def _listen(self) -> None:
        self._listening = True
        await self._store.ears.join(self._channel, self._heard)

    def _heard(self, text: bytes) -> None:
        # An empty text: something may have been missed.
        for id in text.decode().split() or tuple(self._waiting):
            for finished in self._waiting.get(id, ()):
                finished.set()

    async def _look(self, id: str, *, again: int) -> tuple[bytes, bytes]:
        kind, body = await self._store.run(
            "await", (self._keys.waiters, self._keys.outcome(id)), (id, self._channel, again)
        )
        return kind, body

    def _forget(self, id: str) -> None:
        connection = self._store.commands.connection
        if connection is not None:
            task = asyncio.ensure_future(self._look(id, again=0))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def close(self) -> None:
        """Hear no more."""
        if self._listening:
            self._store.ears.leave(self._channel, self._heard)
