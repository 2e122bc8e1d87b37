from __future__ import annotations

import json

import attrs
import pytest

from stem_core.errors import MessageUnreadable, PublishError, UnsupportedVersion
from stem_core.model import WIRE_VERSION, Envelope, Header, RetryPolicy
from stem_core.wire import decode_header, encode_header, seal, unseal

FULL = Header(
    id="order-42@eu",
    task="shop.mail.send",
    queue="mail",
    priority=9,
    enqueued_at=1_000.5,
    due_at=1_030.0,
    expires_at=5_000.0,
    max_retries=0,
    retry=RetryPolicy.after([1, 2.5]),
    soft_time_limit=30.0,
    time_limit=60.0,
    store_result=False,
    result_ttl=60.0,
    headers={"tenant": "ä", "empty": ""},
    parent_id="parent",
    root_id="root",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
SMALL = Header(id="a", task="t", queue="q", enqueued_at=1.0)


def written(**changes) -> bytes:
    """The small header as JSON, with fields replaced by raw JSON values; None leaves a field out."""
    fields = json.loads(encode_header(SMALL)) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize("header", [FULL, SMALL])
def test_a_header_comes_back_as_it_was(header):
    assert decode_header(encode_header(header)) == header


def test_headers_are_json_objects_with_their_version():
    assert json.loads(encode_header(FULL))["v"] == WIRE_VERSION == 1


def test_unknown_fields_are_passed_over():
    assert decode_header(written(colour="red", nested={"a": [1]})) == SMALL


def test_absent_fields_have_their_defaults():
    data = b'{"v":1,"id":"a","task":"t","queue":"q","enqueued_at":1}'
    assert decode_header(data) == SMALL


@pytest.mark.parametrize(
    "data",
    [
        b'{"v":2}',
        written(v=2),
        written(v=99, priority="urgent", id={"shard": 1}),  # a newer version may change every type
    ],
)
def test_a_newer_version_is_told_from_garbage(data):
    with pytest.raises(UnsupportedVersion, match="this worker reads up to 1") as caught:
        decode_header(data)
    assert caught.value.version > WIRE_VERSION
    assert caught.value.hint == "upgrade this worker"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "Input data was truncated"),
        (b"\xff\xfe", "JSON is malformed: invalid character (byte 0)"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"v":1}', "Object missing required field `id`"),
        (written(v=0), "there is no wire version 0"),
        (written(v=-1), "there is no wire version -1"),
        (written(v="2"), "Expected `int`, got `str` - at `$.v`"),
        (written(task=7), "Expected `str`, got `int` - at `$.task`"),
        (written(id=""), "its id, task or queue is no legal name"),
        (written(id="x" * 129), "its id, task or queue is no legal name"),
        (written(task="a\nb"), "its id, task or queue is no legal name"),
        (written(task="a@b"), "its id, task or queue is no legal name"),
        (written(queue="q\x1b[31m"), "its id, task or queue is no legal name"),
        (written(queue="q\n"), "its id, task or queue is no legal name"),
        (written(priority=10), "priority 10 is not from 0 to 9"),
        (written(priority=-1), "priority -1 is not from 0 to 9"),
        (written(max_retries=-1), "max_retries -1 is below 0"),
        (written(soft_time_limit=0), "soft_time_limit 0 is not above 0"),
        (written(time_limit=-1), "time_limit -1 is not above 0"),
        (written(result_ttl=-5.5), "result_ttl -5.5 is not above 0"),
        (written(retry={"kind": "delays"}), "its retry policy has a wait out of range, or none"),
        (written(retry={"kind": "fixed", "base": -1}), "its retry policy has a wait out of range, or none"),
        (written(retry={"kind": "delays", "delays": [1, -2]}), "its retry policy has a wait out of range, or none"),
        (written(retry={"kind": "sometimes"}), "Invalid enum value 'sometimes' - at `$.retry.kind`"),
        (written(headers={"n": 1}), "Expected `str`, got `int` - at `$.headers[...]`"),
        (b'{"x":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_unreadable_headers_say_why(data, cause):
    with pytest.raises(MessageUnreadable) as caught:
        decode_header(data)
    assert caught.value.message == f"the header is unreadable: {cause}"
    assert type(caught.value) is MessageUnreadable


def test_causes_are_short_and_printable():
    with pytest.raises(MessageUnreadable) as caught:
        decode_header(written(retry={"kind": "\x1b[2J" + "x" * 5_000}))
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_sealing_shows_brokers_what_they_need_and_nothing_else():
    message = seal(Envelope(header=FULL, payload=b"[[1],{}]"), now=1_010.0)
    assert (message.id, message.queue, message.priority) == ("order-42@eu", "mail", 9)
    assert message.delay == 20.0
    assert message.payload == b"[[1],{}]"
    assert message.signature is None


@pytest.mark.parametrize(("due_at", "delay"), [(None, 0.0), (99.0, 0.0), (100.0, 0.0), (100.25, 0.25)])
def test_the_delay_is_what_is_left_until_due(due_at, delay):
    envelope = Envelope(header=attrs.evolve(SMALL, due_at=due_at), payload=b"[[],{}]")
    assert seal(envelope, now=100.0).delay == delay


def test_a_sealed_message_gives_the_envelope_back_with_the_payload_untouched():
    envelope = Envelope(header=FULL, payload=b"not even JSON \xff")
    assert unseal(seal(envelope, now=0.0)) == envelope


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"headers": {"n": 1}}, "Expected `str`, got `int` - at `$.headers[...]`"),
        ({"priority": 12}, "priority 12 is not from 0 to 9"),
        ({"queue": "no good"}, "its id, task or queue is no legal name"),
        ({"expires_at": float("inf")}, "expires_at=inf is no value for that field"),
        ({"due_at": float("nan")}, "due_at=nan is no value for that field"),
        ({"v": 2}, "the message has wire version 2; this worker reads up to 1"),
        ({"enqueued_at": float("nan")}, "Expected `float`, got `null` - at `$.enqueued_at`"),
    ],
)
def test_what_no_worker_could_read_is_refused_in_the_producer(change, problem):
    envelope = Envelope(header=SMALL, payload=b"[[],{}]").replace(**change)
    with pytest.raises(PublishError) as caught:
        seal(envelope, now=0.0)
    assert caught.value.message.startswith("the request for 't' cannot be sent: ")
    assert caught.value.message.endswith(problem)


def test_half_a_surrogate_pair_cannot_be_encoded():
    with pytest.raises(PublishError, match="the header of 't' cannot be encoded"):
        encode_header(attrs.evolve(SMALL, headers={"tenant": "\ud800"}))


@pytest.mark.parametrize(
    ("field", "outer"),
    [("id", "other"), ("queue", "other"), ("priority", 0)],
)
def test_a_message_that_claims_to_be_another_is_refused(field, outer):
    message = attrs.evolve(seal(Envelope(header=FULL, payload=b"[[],{}]"), now=0.0), **{field: outer})
    with pytest.raises(MessageUnreadable) as caught:
        unseal(message)
    assert caught.value.message == f"the message has {field} {outer!r}, but {getattr(FULL, field)!r} was sealed"
