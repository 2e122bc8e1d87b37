from __future__ import annotations

import json
import string

from hypothesis import given
from hypothesis import strategies as st

from stem_core.errors import MessageUnreadable
from stem_core.model import Envelope, Header, Message, RetryPolicy
from stem_core.wire import decode_header, encode_header, seal, unseal

names = st.text(alphabet=string.ascii_letters + string.digits + "_.-", min_size=1, max_size=128)
ids = st.text(alphabet=string.ascii_letters + string.digits + "_.@-", min_size=1, max_size=128)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
times = st.floats(min_value=0, max_value=1e12, allow_nan=False)
spans = st.floats(min_value=1e-6, max_value=1e9)
waits = st.floats(min_value=0, max_value=3e9)
policies = st.one_of(
    st.builds(RetryPolicy.exponential, waits, cap=waits, jitter=st.booleans()),
    st.builds(RetryPolicy.fixed, waits, jitter=st.booleans()),
    st.builds(RetryPolicy.after, st.lists(waits, min_size=1, max_size=5)),
)
headers = st.builds(
    Header,
    id=ids,
    task=names,
    queue=names,
    priority=st.integers(0, 9),
    enqueued_at=times,
    due_at=st.none() | times,
    expires_at=st.none() | times,
    max_retries=st.none() | st.integers(0, 1000),
    retry=st.none() | policies,
    soft_time_limit=st.none() | spans,
    time_limit=st.none() | spans,
    store_result=st.booleans(),
    result_ttl=st.none() | spans,
    headers=st.dictionaries(texts, texts, max_size=3),
    parent_id=st.none() | ids,
    root_id=st.none() | ids,
    traceparent=st.none() | texts,
)


@given(headers)
def test_every_legal_header_comes_back_as_it_was(header):
    assert decode_header(encode_header(header)) == header


@given(headers, st.binary(), times)
def test_every_envelope_comes_back_from_its_message(header, payload, now):
    envelope = Envelope(header=header, payload=payload)
    message = seal(envelope, now=now)
    assert unseal(message) == envelope
    assert message.delay >= 0


def cause(data: bytes) -> str | None:
    """Why the bytes cannot be read; None when they can. Another error than MessageUnreadable fails the test."""
    try:
        unseal(Message(id="a", queue="q", priority=5, header=data, payload=b""))
    except MessageUnreadable as error:
        return error.message
    return None


def is_presentable(text: str | None) -> bool:
    return text is None or (text.isprintable() and 0 < len(text) < 400)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_a_message_that_cannot_be_read(data):
    text = cause(data)
    assert text is not None
    assert is_presentable(text)


@given(headers, st.data())
def test_damaged_headers_are_read_or_refused_and_nothing_else(header, data):
    sealed = bytearray(encode_header(header))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(sealed) - 1))
        sealed[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assert is_presentable(cause(bytes(sealed)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([a for a in Header.__slots__ if not a.startswith("__")]), json_values))
def test_objects_with_the_right_names_and_any_values_are_read_or_refused(fields):
    needed = {"v": 1, "id": "a", "task": "t", "queue": "q", "enqueued_at": 1.0}
    assert is_presentable(cause(json.dumps(needed | fields).encode()))
