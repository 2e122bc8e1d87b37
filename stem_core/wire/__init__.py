"""Between values and bytes: envelopes as messages, and the records that stores keep."""

from __future__ import annotations

from stem_core.wire.copies import decode_copy, encode_copy
from stem_core.wire.format import decode_header, encode_header, seal, unseal, unseal_header
from stem_core.wire.pattern import Pattern
from stem_core.wire.records import (
    decode_heartbeat,
    decode_revocation,
    decode_status,
    encode_heartbeat,
    encode_revocation,
    encode_status,
)

__all__ = [
    "Pattern",
    "decode_copy",
    "decode_header",
    "decode_heartbeat",
    "decode_revocation",
    "decode_status",
    "encode_copy",
    "encode_header",
    "encode_heartbeat",
    "encode_revocation",
    "encode_status",
    "seal",
    "unseal",
    "unseal_header",
]
