"""Waiting for results: a session says for which ids it waits, and is told of them by publication."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from stem_core.model import TaskState
from stem_redis.keys import Keys
from stem_redis.store import Store

#: Seconds after which somebody who waits looks again, should a publication have been lost.
_LOOK_AGAIN = 5.0
#: What a session waits for is forgotten after this many milliseconds without another wait.
_FORGOTTEN = 60_000

#: Number those who wait in this process.
_numbers = itertools.count()

_TERMINAL = b"t"
assert TaskState.SUCCEEDED.terminal


class _Wait:
    """Somebody who waits for one id."""

    def __init__(self) -> None:
        #: Set when there is news of the id.
        self.news = asyncio.Event()
        #: Its status, where the publication carried it.
        self.status: bytes | None = None


class ResultWaiters:
    """Who waits in this session, and the one channel on which it hears of results."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        # One of its own, though others share the store: what one does not wait for any more, another may.
        self._channel = keys.session(f"{store.session}.{next(_numbers)}")
        self._waiting: dict[str, set[_Wait]] = {}
        self._listening = False

    async def wait(self, id: str, timeout: float) -> bytes:
        """The status as bytes once it is terminal, or what is known after ``timeout`` seconds; empty for none."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if timeout <= 0:
            # Only a look: others of this session may wait for the id.
            found: list[bytes] = await self._store.run("results", (self._keys.outcome(id),), (), urgent=True)
            return found[0]
        ended = False
        with self._heard_of(id) as wait:
            # First listen, then look: what ends in between is heard.
            await self._listen()
            try:
                while True:
                    wait.news.clear()
                    kind, status = await self._look(id)
                    left = deadline - loop.time()
                    ended = kind == _TERMINAL
                    if ended or left <= 0:
                        return status
                    try:
                        async with asyncio.timeout(min(left, _LOOK_AGAIN)):
                            await wait.news.wait()
                    except TimeoutError:
                        continue
                    if wait.status is not None:
                        ended = True
                        return wait.status
            finally:
                # The server forgets those who wait for what has ended.
                if not ended and len(self._waiting[id]) == 1:
                    self._forget(id)

    @contextmanager
    def _heard_of(self, id: str) -> Iterator[_Wait]:
        wait = _Wait()
        self._waiting.setdefault(id, set()).add(wait)
        try:
            yield wait
        finally:
            waiting = self._waiting[id]
            waiting.discard(wait)
            if not waiting:
                del self._waiting[id]

    async def _listen(self) -> None:
        self._listening = True
        await self._store.ears.join(self._channel, self._heard)

    def _heard(self, text: bytes) -> None:
        if not text:
            # Something may have been missed.
            for waiting in self._waiting.values():
                for wait in waiting:
                    wait.news.set()
        at = 0
        while at < len(text):
            line = text.index(b"\n", at)
            id, size = text[at:line].decode().split(" ")
            at = line + 1
            status = None
            if size != "-":
                status, at = text[at : at + int(size)], at + int(size)
            for wait in self._waiting.get(id, ()):
                wait.status = status
                wait.news.set()

    async def _look(self, id: str) -> tuple[bytes, bytes]:
        kind, body = await self._store.run(
            "await", (self._keys.waiters, self._keys.outcome(id)), (id, self._channel, _FORGOTTEN), urgent=True
        )
        return kind, body

    def _forget(self, id: str) -> None:
        commands = self._store.commands
        if commands.connection is not None:
            # Sent before this returns: whoever waits for the id next says so after it.
            task = commands.begin("await", (self._keys.waiters, self._keys.outcome(id)), (id, self._channel, 0))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def close(self) -> None:
        """Hear no more."""
        if self._listening:
            self._store.ears.leave(self._channel, self._heard)
