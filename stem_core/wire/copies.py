"""Messages as bytes, for channels: what a broadcast carries to each of its listeners."""

from __future__ import annotations

import msgspec

from stem_core.errors import MessageUnreadable
from stem_core.model import Message
from stem_core.wire._text import UNREADABLE, cause

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


def encode_copy(message: Message) -> bytes:
    """The message with its sealed bytes as they are."""
    return _encode(message)


def decode_copy(data: bytes) -> Message:
    """What :func:`encode_copy` made; the sealed bytes are not looked at.

    Raises:
        MessageUnreadable: not that.
    """
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise MessageUnreadable(f"the broadcast is unreadable: {cause(error)}") from error
