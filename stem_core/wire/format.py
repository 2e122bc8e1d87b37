"""Envelopes as bytes. The header is versioned JSON, the payload stays what the producer encoded.

Sealed bytes are never encoded anew: a retry, a hand-back and a replay all carry the bytes of the producer.
"""

from __future__ import annotations

import re
from typing import Any, cast

import attrs
import msgspec

from stem_core.errors import MessageUnreadable, PublishError, UnsupportedVersion
from stem_core.model import MAX_PRIORITY, MIN_PRIORITY, WIRE_VERSION, Envelope, Header, Message, constructor
from stem_core.wire._text import UNREADABLE, cause


class _Versioned(msgspec.Struct):
    v: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Header).decode
_message = constructor(Message)
_decode_version = msgspec.json.Decoder(_Versioned).decode

# Ids, then names. One match over the joined text: the whole check of a header costs 0.3 us.
_NAMES = re.compile(r"[A-Za-z0-9_.@-]{1,128}(?:\n[A-Za-z0-9_.-]{1,128}){2}").fullmatch


def encode_header(header: Header) -> bytes:
    """The header as JSON.

    Raises:
        PublishError: a value that JSON cannot carry, such as half a surrogate pair in a text.
    """
    try:
        return _encode(header)
    except UNREADABLE as error:
        raise PublishError(f"the header of {header.task!r} cannot be encoded: {cause(error)}") from error


def decode_header(data: bytes) -> Header:
    """The header that :func:`encode_header` wrote; fields that this version does not know are passed over.

    Raises:
        UnsupportedVersion: written by a newer version of Stem; a newer worker can read it.
        MessageUnreadable: not JSON, a field is missing, or a value is out of its range.
    """
    try:
        header = _decode(data)
    except UNREADABLE as error:
        # A newer version may have changed the type of a field, so its number is asked for by itself.
        _refuse_newer(data)
        raise MessageUnreadable(f"the header is unreadable: {cause(error)}") from error
    if header.v != WIRE_VERSION:
        if header.v > WIRE_VERSION:
            raise UnsupportedVersion(header.v, WIRE_VERSION)
        raise MessageUnreadable(f"the header is unreadable: there is no wire version {header.v}")
    problem = _problem(header)
    if problem:
        raise MessageUnreadable(f"the header is unreadable: {problem}")
    return header


def seal(envelope: Envelope, *, now: float, composed: bool = False) -> Message:
    """The envelope as the message that brokers keep.

    ``now`` is seconds since the epoch by the clock that made ``due_at``; the broker is given what is left of the delay.
    ``composed``: its header was made from options that were checked, and nobody has changed it since; any other header
    is read back, for one that no worker can read must fail in the producer and not in the dead letters (2 us).

    Raises:
        PublishError: the header would not be read as it was written; names the field. Middleware can do that.
    """
    header = envelope.header
    data = encode_header(header)
    if not composed:
        _read_back(header, data)
    due_at = header.due_at
    return _message(
        id=header.id,
        queue=header.queue,
        priority=header.priority,
        delay=max(0.0, due_at - now) if due_at is not None else 0.0,
        header=data,
        payload=envelope.payload,
    )


def unseal(message: Message) -> Envelope:
    """The envelope inside a message; its payload is not looked at.

    Raises:
        As :func:`unseal_header`.
    """
    return Envelope(header=unseal_header(message), payload=message.payload)


def unseal_header(message: Message) -> Header:
    """The header inside a message: all that a gate needs.

    Raises:
        UnsupportedVersion: written by a newer version of Stem.
        MessageUnreadable: the header cannot be read, or names another id, queue or priority than the message.
    """
    header = decode_header(message.header)
    if header.id != message.id or header.queue != message.queue or header.priority != message.priority:
        for field in ("id", "queue", "priority"):
            sealed, outer = getattr(header, field), getattr(message, field)
            if sealed != outer:
                raise MessageUnreadable(f"the message has {field} {outer!r}, but {sealed!r} was sealed")
    return header


def _read_back(header: Header, data: bytes) -> None:
    try:
        back = decode_header(data)
    except MessageUnreadable as error:
        raise PublishError(f"the request for {header.task!r} cannot be sent: {error.message}") from error
    if back != header:
        raise PublishError(_difference(header, back))


def _refuse_newer(data: bytes) -> None:
    try:
        version = _decode_version(data).v
    except UNREADABLE:
        return
    if version > WIRE_VERSION:
        raise UnsupportedVersion(version, WIRE_VERSION)


def _problem(header: Header) -> str:
    """What is out of range in a header of the right types; empty when nothing is."""
    if not _NAMES(f"{header.id}\n{header.task}\n{header.queue}"):
        return "its id, task or queue is no legal name"
    if not MIN_PRIORITY <= header.priority <= MAX_PRIORITY:
        return f"priority {header.priority} is not from {MIN_PRIORITY} to {MAX_PRIORITY}"
    if header.max_retries is not None and header.max_retries < 0:
        return f"max_retries {header.max_retries} is below 0"
    if header.soft_time_limit is not None and header.soft_time_limit <= 0:
        return f"soft_time_limit {header.soft_time_limit:g} is not above 0"
    if header.time_limit is not None and header.time_limit <= 0:
        return f"time_limit {header.time_limit:g} is not above 0"
    if header.result_ttl is not None and header.result_ttl <= 0:
        return f"result_ttl {header.result_ttl:g} is not above 0"
    if header.retry is not None and not header.retry.usable:
        return "its retry policy has a wait out of range, or none"
    return ""


def _difference(header: Header, back: Header) -> str:
    for field in attrs.fields(cast("Any", Header)):
        value = getattr(header, field.name)
        if value != getattr(back, field.name):
            return f"the request for {header.task!r} cannot be sent: {field.name}={value!r} is no value for that field"
    return f"the request for {header.task!r} cannot be sent: {type(header).__name__} is no Header"
