"""Messages go out: what is published in one turn of the loop goes in one script call a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from stem_core.model import Message
from stem_redis.bodies import pack
from stem_redis.connection import Argument
from stem_redis.keys import Keys
from stem_redis.store import Store

#: The most that one script call stores, so that the server has time for others.
_MESSAGES, _BYTES = 500, 2 * 2**20
#: The most messages of one call that are under way at once.
_WINDOW = 10_000


class _Batch:
    """What was published in one turn, and who waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.messages: list[Message] = []
        self.stored: asyncio.Future[None] = loop.create_future()


class Publisher:
    """Gathers what the calls of one turn of the loop publish."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        self._batch: _Batch | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish(self, messages: Sequence[Message]) -> None:
        """All are stored when this returns; raises as :meth:`Link.call`."""
        for start in range(0, len(messages), _WINDOW):
            batch = self._batch
            if batch is None:
                batch = self._batch = _Batch(self._loop)
                self._loop.call_soon(self._send)
            batch.messages.extend(messages[start : start + _WINDOW])
            # Shielded: a caller that leaves does not take the others along.
            await asyncio.shield(batch.stored)

    def _send(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            task = self._loop.create_task(self._store_all(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _store_all(self, batch: _Batch) -> None:
        try:
            await asyncio.gather(*(self._store_some(queue, some) for queue, some in _portions(batch.messages)))
        except asyncio.CancelledError:
            batch.stored.cancel()
            raise
        except Exception as error:
            if not batch.stored.done():
                batch.stored.set_exception(error)
                # Everybody may have left.
                batch.stored.exception()
        else:
            if not batch.stored.done():
                batch.stored.set_result(None)

    async def _store_some(self, queue: str, messages: Sequence[Message]) -> None:
        arguments: list[Argument] = [queue]
        for message in messages:
            arguments += (message.id, message.priority, max(0.0, message.delay) * 1000, pack(message))
        keys = self._keys.head(queue) + tuple(self._keys.outcomes([message.id for message in messages]))
        await self._store.run("publish", keys, arguments)

    async def close(self) -> None:
        """Let what is under way come to its end."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def _portions(messages: Sequence[Message]) -> Iterator[tuple[str, Sequence[Message]]]:
    queues: dict[str, list[Message]] = {}
    for message in messages:
        queues.setdefault(message.queue, []).append(message)
    for queue, some in queues.items():
        start = size = 0
        for position, message in enumerate(some):
            size += len(message.header) + len(message.payload)
            if position - start >= _MESSAGES or (size > _BYTES and position > start):
                yield queue, some[start:position]
                start, size = position, len(message.header) + len(message.payload)
        yield queue, some[start:]
