"""What is packed in parts is what hiredis would make of the whole."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from stem_core.model import Message
from stem_redis.bodies import milliseconds, pack
from stem_redis.keys import KEPT, Keys
from stem_redis.packing import END, command, head, packed
from stem_redis.publishing import Publisher

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
arguments = st.lists(texts | st.binary(max_size=20) | st.integers() | st.floats(), max_size=5)


@given(arguments, arguments, st.sampled_from([0, 9, 1023, 1024, 1025, 70_000]).map(bytes))
def test_parts_make_the_command(first: list[Any], second: list[Any], long: bytes) -> None:
    whole: Any = (*first, long, *second)
    parts = (packed(*first), head(len(long)), long, END, packed(*second))
    assert command(len(whole), parts) == hiredis.pack_command(whole)


class FakeLink:
    """Writes down the commands, as hiredis would read them, and answers at once."""

    def __init__(self) -> None:
        self.posted: list[Any] = []

    def post(self, name: str, count: int, parts: Sequence[bytes], done: Any) -> bool:
        reader = hiredis.Reader()
        reader.feed(command(count, parts))
        self.posted.append([name, *reader.gets()])
        done(1)
        return True


class FakeStore:
    def __init__(self) -> None:
        self.commands = FakeLink()


some_messages = st.builds(
    Message,
    id=texts,
    queue=st.sampled_from(["default", "mail"]),
    priority=st.integers(0, 9),
    delay=st.sampled_from([0.0, -1.0, 0.5, 1e300]),
    header=st.binary(max_size=20),
    payload=st.binary(max_size=20) | st.just(b"x" * 2000),
    signature=st.none() | st.binary(max_size=5),
)


def expected(keys: Keys, queue: str, messages: Sequence[Message]) -> list[Any]:
    """Name and arguments of the script that is to store them."""
    first = messages[0]
    if first.delay <= 0:
        names: Sequence[bytes] = keys.to_run_at_once(queue, first.priority, first.id)
        if len(messages) == 1:
            return ["publish_one", names, [queue, first.id, first.priority, pack(first)]]
        names = [*keys.to_run_alike(queue, first.priority), *keys.outcomes([message.id for message in messages])]
        return ["publish_alike", names, [queue, first.priority, keys.outcome(""), *map(pack, messages)]]
    names = [*keys.head(queue), *keys.outcomes([message.id for message in messages])]
    rest: list[Any] = [queue]
    for message in messages:
        when = f",{milliseconds(message.delay)}" if message.delay > 0 else ""
        rest += [message.id, f"{message.priority}{when}", pack(message)]
    return ["publish", names, rest]


@given(st.lists(some_messages, min_size=1, max_size=5, unique_by=lambda one: one.id))
def test_scripts_get_what_their_heads_promise(messages: list[Message]) -> None:
    keys, store = Keys("tést"), FakeStore()

    async def main() -> None:
        publisher = Publisher(store, keys)  # type: ignore[arg-type]
        await publisher.publish(messages)

    asyncio.run(main())
    alike: dict[tuple[str, int | None], list[Message]] = {}
    for message in messages:
        alike.setdefault((message.queue, message.priority if message.delay <= 0 else None), []).append(message)
    wanted = []
    for (queue, _), some in alike.items():
        name, names, rest = expected(keys, queue, some)
        texts = [one if isinstance(one, bytes) else str(one).encode() for one in rest]
        wanted.append([name, str(len(names)).encode(), *names, *texts])
    assert store.commands.posted == wanted


async def test_what_is_kept_of_queues_has_an_end() -> None:
    store = FakeStore()
    publisher = Publisher(store, Keys("ns"))  # type: ignore[arg-type]

    async def publish(queues: range) -> None:
        for queue in queues:
            message = Message(id="a", queue=f"user.{queue}", priority=5, header=b"{}", payload=b"[]")
            await publisher.publish([message])
            await publisher.publish([message, message])
            store.commands.posted.clear()

    await publish(range(KEPT))
    tracemalloc.start()
    try:
        await publish(range(KEPT, 3 * KEPT))
        grown, _ = tracemalloc.get_traced_memory()
        await publish(range(3 * KEPT, 6 * KEPT))
        assert tracemalloc.get_traced_memory()[0] < grown + 100 * KEPT
    finally:
        tracemalloc.stop()
