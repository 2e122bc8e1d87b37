"""The facet of broadcasts: everybody gets everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from stem_core.contracts import Broadcasts, Broker
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import PATIENCE, OpenBroker, StoreContract

#: What a listener is shown first, see :meth:`BroadcastsContract._listening`.
BEGIN = b"begin"


async def following(stream: AsyncIterator[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """The next ``count`` messages but :data:`BEGIN`; they have to be there soon."""
    heard: list[tuple[str, bytes]] = []
    async with asyncio.timeout(PATIENCE):
        while len(heard) < count:
            if (news := await anext(stream))[1] != BEGIN:
                heard.append(news)
    return heard


async def close(stream: AsyncIterator[tuple[str, bytes]]) -> None:
    """Close an iterator as ``contextlib.aclosing`` does."""
    await stream.aclose()  # type: ignore[attr-defined]


class BroadcastsContract(StoreContract):
    """:class:`~stem_core.contracts.Broadcasts`."""

    async def _listening(self, broker: Broker) -> AsyncIterator[tuple[str, bytes]]:
        """A listener that the store knows of: it has heard its own session."""
        session = self.facet(broker, Broadcasts)
        stream = session.listen(["news"])
        await session.send("news", BEGIN, 60.0)
        async with asyncio.timeout(PATIENCE):
            assert await anext(stream) == ("news", BEGIN)
        return stream

    async def test_every_listener_gets_every_message_in_order(self, broker: Broker, other: Broker) -> None:
        sender = self.facet(broker, Broadcasts)
        streams = [await self._listening(b) for b in (broker, other, other)]
        for n in range(5):
            await sender.send("news", b"%d" % n, 60.0)
        for stream in streams:
            assert await following(stream, 5) == [("news", b"%d" % n) for n in range(5)]
            await close(stream)

    async def test_a_listener_that_waits_is_told(self, broker: Broker, other: Broker) -> None:
        stream = await self._listening(broker)
        waiting = asyncio.ensure_future(following(stream, 1))
        await asyncio.sleep(0.02)
        await self.facet(other, Broadcasts).send("news", b"hello", 60.0)
        assert await waiting == [("news", b"hello")]
        await close(stream)

    async def test_only_the_channels_listened_to(self, broker: Broker) -> None:
        sender = self.facet(broker, Broadcasts)
        stream = sender.listen(["a", "b"])
        for channel in ("c", "b", "a", "aa"):
            await sender.send(channel, channel.encode(), 60.0)
        await sender.send("a", b"end", 60.0)
        assert await following(stream, 3) == [("b", b"b"), ("a", b"a"), ("a", b"end")]
        await close(stream)

    async def test_listening_starts_with_the_call(self, broker: Broker) -> None:
        sender = self.facet(broker, Broadcasts)
        await sender.send("news", b"before", 60.0)
        stream = sender.listen(["news"])
        await sender.send("news", b"after", 60.0)
        assert await following(stream, 1) == [("news", b"after")]
        await close(stream)

    async def test_since_gives_what_is_kept(self, broker: Broker, clock: FakeClock) -> None:
        sender = self.facet(broker, Broadcasts)
        await sender.send("news", b"too early", 600.0)
        clock.advance(10.0)
        since = clock.now()
        clock.advance(10.0)
        await sender.send("news", b"kept", 60.0)
        clock.advance(10.0)
        stream = sender.listen(["news"], since=since)
        await sender.send("news", b"new", 60.0)
        assert await following(stream, 2) == [("news", b"kept"), ("news", b"new")]
        await close(stream)

    async def test_what_is_over_is_not_given(self, broker: Broker, clock: FakeClock) -> None:
        sender = self.facet(broker, Broadcasts)
        since = clock.now() - 1
        await sender.send("news", b"short", 5.0)
        await sender.send("news", b"long", 60.0)
        clock.advance(10.0)
        stream = sender.listen(["news"], since=since)
        assert await following(stream, 1) == [("news", b"long")]
        await close(stream)

    async def test_a_message_for_nobody_is_no_error(self, broker: Broker) -> None:
        await self.facet(broker, Broadcasts).send("nobody", b"hello", 60.0)

    async def test_closing_ends_a_listener_that_waits(self, broker: Broker) -> None:
        stream = self.facet(broker, Broadcasts).listen(["news"])
        step = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.02)
        await close(stream)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(StopAsyncIteration):
                await step
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    async def test_closing_the_broker_ends_its_listeners(self, open_broker: OpenBroker) -> None:
        async def follow(stream: AsyncIterator[tuple[str, bytes]]) -> list[bytes]:
            received = []
            async for _, news in stream:
                received.append(news)
                heard.set()
            return received

        heard = asyncio.Event()
        async with open_broker() as passing:
            sender = self.facet(passing, Broadcasts)
            follower = asyncio.create_task(follow(sender.listen(["news"])))
            await sender.send("news", b"hello", 60.0)
            async with asyncio.timeout(PATIENCE):
                await heard.wait()
        async with asyncio.timeout(PATIENCE):
            assert await follower == [b"hello"]

    async def test_a_step_that_is_cancelled_loses_nothing(self, broker: Broker) -> None:
        sender = self.facet(broker, Broadcasts)
        stream = sender.listen(["news"])
        step = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.02)
        step.cancel()
        await asyncio.wait([step], timeout=PATIENCE)
        await sender.send("news", b"hello", 60.0)
        assert await following(stream, 1) == [("news", b"hello")]
        await close(stream)

    async def test_a_message_to_another_loop(self, broker: Broker, open_broker: OpenBroker) -> None:
        async def send() -> None:
            async with open_broker() as session:
                await self.facet(session, Broadcasts).send("news", b"hello", 60.0)

        stream = await self._listening(broker)
        waiting = asyncio.ensure_future(following(stream, 1))
        await asyncio.sleep(0.02)
        await asyncio.to_thread(asyncio.run, send())
        assert await waiting == [("news", b"hello")]
        await close(stream)

    async def test_bytes_are_bytes(self, broker: Broker) -> None:
        sender = self.facet(broker, Broadcasts)
        stream = sender.listen(["news"])
        await sender.send("news", bytes(range(256)), 60.0)
        assert await following(stream, 1) == [("news", bytes(range(256)))]
        await close(stream)
