"""Messages go out: what is published in one turn of the loop goes in one script call a queue.

Only the first does not wait for the end of the turn when nothing is under way: who publishes one after the other would
pay a turn of the loop for each, 5 us of 60.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from stem_core.model import MAX_PRIORITY, MIN_PRIORITY, Message
from stem_redis.bodies import milliseconds, pack
from stem_redis.connection import OnReply
from stem_redis.keys import KEPT, Keys
from stem_redis.packing import END, head, packed
from stem_redis.store import Store

#: The most that one script call stores, so that the server has time for others.
_MESSAGES, _BYTES = 250, 2 * 2**20
#: So many are not kept until the end of the turn: the server stores them while the next are made.
_ENOUGH = 50
#: The most messages of one call that are under way at once.
_WINDOW = 10_000

#: Stands for any priority of what is delayed.
_DELAYED = -1
#: The priorities of messages that are to run at once, packed.
_AT_ONCE = {priority: packed(priority) for priority in range(MIN_PRIORITY, MAX_PRIORITY + 1)}


class _Batch:
    """What was published in one turn, and who waits for it."""

    def __init__(self, stored: Callable[[], None]) -> None:
        self.messages: list[Message] = []
        self.waiting: list[asyncio.Future[None]] = []
        self._stored = stored
        self._left = 0
        self._error: Exception | None = None

    def begin(self, portions: int) -> None:
        """There are so many portions to be stored."""
        self._left = portions

    def done(self, answer: object) -> None:
        """One portion was stored, or ``answer`` is the error that says why not."""
        self._left -= 1
        if isinstance(answer, Exception):
            self._error = self._error or answer
        if self._left:
            return
        self._stored()
        for waiting in self.waiting:
            # Each has a future of its own: a caller that leaves does not take the others along.
            if waiting.done():
                continue
            if self._error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(self._error)


class _Place:
    """What all messages of one queue and priority have in common that are to run at once, packed."""

    def __init__(self, keys: Keys, queue: str, priority: int) -> None:
        # The outcome of the id comes last; without the id it is what all begin with.
        *fixed, self.outcome = keys.to_run_at_once(queue, priority, "")
        self.queue, self.priority = packed(queue), packed(priority)
        #: What the script ``publish_one`` gets first, and how many arguments in all: how many keys, these, four more.
        self.one = packed(len(fixed) + 1, *fixed)
        self.count_of_one = len(fixed) + 6
        #: The keys that ``publish_alike`` gets first.
        alike = keys.to_run_alike(queue, priority)
        self.alike, self.keys_alike = packed(*alike), len(alike)


class Publisher:
    """Gathers what the calls of one turn of the loop publish."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._loop = asyncio.get_running_loop()
        #: What messages of a queue and priority have in common; the keys that ``publish`` gets first for a queue.
        self._place = functools.lru_cache(KEPT)(functools.partial(_Place, keys))
        self._head = functools.lru_cache(KEPT)(functools.partial(_head, keys))
        self._batch: _Batch | None = None
        #: How many batches were sent and are not stored yet.
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, messages: Sequence[Message]) -> Awaitable[None]:
        """All are stored when what this returns is done; raises as :meth:`Link.call`."""
        return self._publish(messages) if 0 < len(messages) <= _WINDOW else self._publish_in_windows(messages)

    async def _publish_in_windows(self, messages: Sequence[Message]) -> None:
        for start in range(0, len(messages), _WINDOW):
            await self._publish(messages[start : start + _WINDOW])

    def _publish(self, messages: Sequence[Message]) -> asyncio.Future[None]:
        batch = self._batch
        if len(messages) == 1 and batch is None and not self._under_way and messages[0].delay <= 0:
            return self._publish_alone(messages)
        stored = self._loop.create_future()
        if batch is None:
            batch = self._batch = _Batch(self._stored)
            if self._under_way:
                self._loop.call_soon(self._send)
        batch.messages.extend(messages)
        batch.waiting.append(stored)
        if not self._under_way or len(batch.messages) >= _ENOUGH:
            self._send()
        return stored

    def _publish_alone(self, messages: Sequence[Message]) -> asyncio.Future[None]:
        """As :meth:`_publish`, of one message for which nothing has to be kept: 4 us less."""
        done: asyncio.Future[None] = self._loop.create_future()

        def stored(answer: Any) -> None:
            if answer == 1:
                self._under_way -= 1
                if not done.done():
                    done.set_result(None)
                return
            batch = _Batch(self._stored)
            batch.waiting.append(done)
            batch.begin(1)
            self._send_again(batch, (message,), answer)

        (message,) = messages
        self._under_way += 1
        try:
            if not self._send_one(self._place(message.queue, message.priority), (message,), stored):
                stored(0)
        except Exception as error:
            stored(error)
        return done

    def _send(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        self._under_way += 1
        try:
            portions = list(_portions(batch.messages))
        except Exception as error:
            batch.begin(1)
            batch.done(error)
            return
        batch.begin(len(portions))
        for some in portions:
            try:
                self._send_portion(batch, some)
            except Exception as error:
                # No message that anything can be made of: it ends for those who wait, and stops nobody after them.
                batch.done(error)

    def _send_portion(self, batch: _Batch, messages: Sequence[Message]) -> None:
        def stored(answer: Any) -> None:
            self._send_again(batch, messages, answer)

        first = messages[0]
        if first.delay > 0:
            self._send_some(batch, messages)
            return
        place = self._place(first.queue, first.priority)
        send = self._send_one if len(messages) == 1 else self._send_alike
        if not send(place, messages, stored):
            self._send_some(batch, messages)

    def _send_again(self, batch: _Batch, messages: Sequence[Message], answer: object) -> None:
        """Where the answer to a first try is that something was out of the ordinary."""
        if answer != 0:
            batch.done(answer)
            return
        try:
            self._send_some(batch, messages)
        except Exception as error:
            # Not for who reads the answers of this connection.
            batch.done(error)

    def _send_one(self, place: _Place, messages: Sequence[Message], stored: OnReply) -> bool:
        (message,) = messages
        id, body, outcome = message.id.encode(), pack(message), place.outcome
        parts = (
            place.one, head(len(outcome) + len(id)), outcome, id, END,
            place.queue, head(len(id)), id, END, place.priority, head(len(body)), body, END,
        )  # fmt: skip
        return self._store.commands.post("publish_one", place.count_of_one, parts, stored)

    def _send_alike(self, place: _Place, messages: Sequence[Message], stored: OnReply) -> bool:
        outcome, keys = place.outcome, place.keys_alike + len(messages)
        parts: list[bytes] = [packed(keys), place.alike]
        bodies: list[bytes] = [place.queue, place.priority, packed(outcome)]
        for message in messages:
            id, body = message.id.encode(), pack(message)
            parts += (head(len(outcome) + len(id)), outcome, id, END)
            bodies += (head(len(body)), body, END)
        parts += bodies
        return self._store.commands.post("publish_alike", keys + 4 + len(messages), parts, stored)

    def _send_some(self, batch: _Batch, messages: Sequence[Message]) -> None:
        queue = messages[0].queue
        count, keys = self._head(queue)
        outcome = self._keys.outcome("")
        outcomes: list[bytes] = []
        arguments: list[bytes] = [packed(queue)]
        for message in messages:
            id, body, delay, priority = message.id.encode(), pack(message), message.delay, message.priority
            when = _AT_ONCE[priority] if delay <= 0 else packed(f"{priority},{milliseconds(delay)}")
            outcomes += (head(len(outcome) + len(id)), outcome, id, END)
            arguments += (head(len(id)), id, END, when, head(len(body)), body, END)
        parts = [packed(count + len(messages)), keys, *outcomes, *arguments]
        if not self._store.commands.post("publish", 2 + count + 4 * len(messages), parts, batch.done):
            task = self._loop.create_task(self._send_later(batch, messages))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _stored(self) -> None:
        self._under_way -= 1

    async def _send_later(self, batch: _Batch, messages: Sequence[Message]) -> None:
        try:
            await self._store.commands.open()
            self._send_some(batch, messages)
        except Exception as error:
            batch.done(error)
        # So that closing waits until all is stored.
        await asyncio.wait(batch.waiting)

    async def close(self) -> None:
        """Let what is under way come to its end."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def _head(keys: Keys, queue: str) -> tuple[int, bytes]:
    of_queue = keys.head(queue)
    return len(of_queue), packed(*of_queue)


def _portions(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Of one script call each: of one queue, and to run at once with one priority, or delayed."""
    if len(messages) == 1:
        yield messages
        return
    if len({message.id for message in messages}) < len(messages):
        # Of an id that comes several times the first is stored.
        firsts: dict[str, Message] = {}
        for message in messages:
            firsts.setdefault(message.id, message)
        messages = list(firsts.values())
    alike: dict[tuple[str, int], list[Message]] = {}
    for message in messages:
        place = message.queue, message.priority if message.delay <= 0 else _DELAYED
        alike.setdefault(place, []).append(message)
    for some in alike.values():
        start = size = 0
        for position, message in enumerate(some):
            size += len(message.header) + len(message.payload)
            if position - start >= _MESSAGES or (size > _BYTES and position > start):
                yield some[start:position]
                start, size = position, len(message.header) + len(message.payload)
        yield some[start:]
