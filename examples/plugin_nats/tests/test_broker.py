"""What is special about this broker: lost answers, the limits of the server, what lies in the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("stem_nats", reason="the example plugin stem-nats is not installed")
pytest.importorskip("nats", reason="the client library nats-py is not installed")

from stem_core.contracts import StoreContext
from stem_core.errors import StoreRefused, StoreUnavailable
from stem_core.model import ACK, DeadLetter, Message, Release, Settlement, StoreUrl, Subscription
from stem_nats import opening, records
from stem_nats.broker import NatsBroker

DEFAULT = Subscription.of("default")


def message(id: str, **changes) -> Message:
    return Message(**{"id": id, "queue": "default", "priority": 5, "header": b"{}", "payload": b"[[],{}]", **changes})


@pytest.fixture
def open_broker(server, namespace):
    @asynccontextmanager
    async def opener() -> AsyncIterator[NatsBroker]:
        async with opening.open_broker(StoreContext(url=StoreUrl.parse(server.url), namespace=namespace)) as broker:
            assert isinstance(broker, NatsBroker)
            yield broker

    return opener


def lose_answers(broker: NatsBroker, monkeypatch) -> None:
    """The next batch of writes is stored, but its answers are lost."""
    link = broker._stream.link
    write = link.write

    async def lossy(writes):
        monkeypatch.setattr(link, "write", write)
        await write(writes)
        return [StoreUnavailable("the answer was lost")] * len(writes)

    monkeypatch.setattr(link, "write", lossy)


async def test_a_claim_whose_answer_was_lost_is_found_again(open_broker, monkeypatch) -> None:
    async with open_broker() as broker, open_broker() as other:
        await broker.publish([message("a"), message("b")])
        lose_answers(broker, monkeypatch)
        with pytest.raises(StoreUnavailable):
            await broker.receive(DEFAULT, 1, 30.0)
        assert [d.message.id for d in await other.receive(DEFAULT, 10, 30.0)] == ["b"]
        (delivery,) = await broker.receive(DEFAULT, 10, 30.0)
        assert (delivery.message.id, delivery.receipt.run, delivery.crashes) == ("a", 1, 0)
        assert await broker.receive(DEFAULT, 10, 30.0) == []
        (verdict,) = await broker.settle([Settlement(receipt=delivery.receipt, action=ACK)])
        assert verdict.kind == "done"


async def test_a_claim_that_was_never_stored_is_made_again(open_broker, monkeypatch) -> None:
    async with open_broker() as broker:
        await broker.publish([message("a")])
        link = broker._stream.link
        write = link.write

        async def broken(writes):
            monkeypatch.setattr(link, "write", write)
            return [StoreUnavailable("never sent")] * len(writes)

        monkeypatch.setattr(link, "write", broken)
        with pytest.raises(StoreUnavailable):
            await broker.receive(DEFAULT, 1, 30.0)
        (delivery,) = await broker.receive(DEFAULT, 1, 30.0)
        assert (delivery.message.id, delivery.receipt.run, delivery.crashes) == ("a", 1, 0)


async def test_a_settlement_whose_answer_was_lost_is_done(open_broker, monkeypatch) -> None:
    async with open_broker() as broker:
        await broker.publish([message("a")])
        (delivery,) = await broker.receive(DEFAULT, 1, 30.0)
        settlement = Settlement(receipt=delivery.receipt, action=Release(delay=60.0))
        lose_answers(broker, monkeypatch)
        with pytest.raises(StoreUnavailable):
            await broker.settle([settlement])
        (verdict,) = await broker.settle([settlement])
        assert verdict.kind == "done"
        assert (await broker.depth(["default"]))["default"].delayed == 1


@pytest.mark.parametrize("size", [8 * 2**20 - 100, 9 * 2**20])
async def test_a_message_that_the_server_does_not_take_is_refused_and_the_connection_stays(open_broker, size) -> None:
    async with open_broker() as broker:
        with pytest.raises(StoreRefused, match="larger than the server's max_payload"):
            await broker.publish([message("a", payload=b"x" * size)])
        await broker.publish([message("b")])
        assert [d.message.id for d in await broker.receive(DEFAULT, 10, 30.0)] == ["b"]


async def test_more_bytes_than_one_answer_carries(open_broker) -> None:
    async with open_broker() as broker:
        await broker.publish([message(f"m{n:02}", payload=b"x" * 2**20) for n in range(40)])
        assert len(await broker.receive(DEFAULT, 40, 30.0)) == 40


async def test_the_reason_of_a_dead_letter_is_any_text(open_broker) -> None:
    async with open_broker() as broker:
        await broker.publish([message("a")])
        (delivery,) = await broker.receive(DEFAULT, 1, 30.0)
        detail = "ValueError: é\r\n\x00\u2028 " + "x" * 5_000 + "\ud800"
        action = DeadLetter(reason="failed", detail=detail)
        await broker.settle([Settlement(receipt=delivery.receipt, action=action)])
        letter = await broker.dead_letter("a")
        assert letter is not None
        assert letter.detail == detail[:2_000]


async def test_only_so_many_dead_letters_are_kept(open_broker, monkeypatch) -> None:
    monkeypatch.setattr("stem_nats.broker.DEAD_LIMIT", 3)
    async with open_broker() as broker:
        for number in range(5):
            await broker.publish([message(f"m{number}")])
            (delivery,) = await broker.receive(DEFAULT, 1, 30.0)
            await broker.settle([Settlement(receipt=delivery.receipt, action=DeadLetter(reason="failed"))])
        assert [letter.message.id for letter in await broker.dead_letters("default")] == ["m2", "m3", "m4"]


async def test_what_others_wrote_into_the_stream_is_passed_over(open_broker) -> None:
    async with open_broker() as broker:
        stream = broker._stream
        await stream.link.client.jetstream().publish(stream.subject("foreign"), b"hello")
        await broker.publish([message("a")])
        assert [d.message.id for d in await broker.receive(DEFAULT, 10, 30.0)] == ["a"]
        assert await broker.queues() == ["default"]


async def test_a_consumer_that_died_is_replaced(open_broker) -> None:
    async with open_broker() as broker, open_broker() as other:
        assert await broker.receive(DEFAULT, 1, 30.0) == []
        jetstream = broker._stream.link.client.jetstream()
        for consumer in await jetstream.consumers_info(broker._stream.name):
            await jetstream.delete_consumer(broker._stream.name, consumer.name)
        await other.publish([message("a")])
        assert [d.message.id for d in await broker.receive(DEFAULT, 10, 30.0)] == ["a"]


async def test_a_stream_that_was_deleted_is_made_anew(open_broker) -> None:
    async with open_broker() as broker:
        await broker.publish([message("a"), message("b")])
        assert len(await broker.receive(DEFAULT, 1, 30.0)) == 1
        await broker._stream.link.client.jetstream().delete_stream(broker._stream.name)
        assert await broker.receive(DEFAULT, 10, 30.0) == []
        assert await broker.queues() == []
        await broker._stream.link.client.jetstream().delete_stream(broker._stream.name)
        await broker.publish([message("c")])
        assert [d.message.id for d in await broker.receive(DEFAULT, 10, 30.0)] == ["c"]


def test_a_record_says_how_long_it_is_kept() -> None:
    meta = records.Meta(state=records.READY, queue="q", priority=5, at=100.0)
    assert meta.kept(100.0) is None
    assert records.finished(meta, now=100.0, window=600.0).kept(150.0) == 550.0
    assert records.decode_meta(records.encode_meta(meta)) == meta
