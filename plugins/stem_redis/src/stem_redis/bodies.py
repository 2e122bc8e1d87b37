"""Messages and the records beside them, as bytes."""

from __future__ import annotations

import struct

import msgspec

from stem_core.model import DeadMessage, Delivery, Message, Receipt, StoredMessage, constructor

_delivery, _message, _receipt = constructor(Delivery), constructor(Message), constructor(Receipt)

#: Sizes of header and signature before the bytes themselves; the payload is the rest.
_SIZES = struct.Struct(">II")
_UNSIGNED = 0xFFFFFFFF

_READY = {"R": "ready", "S": "ready", "L": "leased", "l": "leased", "H": "leased", "D": "delayed", "X": "dead"}


#: Longer delays are cut to this many seconds, some hundred years: the scripts count in whole milliseconds.
_LONGEST_DELAY = 3_200_000_000.0


def milliseconds(delay: float) -> float:
    """A delay in seconds as the scripts want it."""
    return min(max(0.0, delay), _LONGEST_DELAY) * 1000


def pack(message: Message) -> bytes:
    """Header, signature and payload as one text of bytes that no script looks into."""
    signature = message.signature
    if signature is None:
        return _SIZES.pack(len(message.header), _UNSIGNED) + message.header + message.payload
    return b"".join((_SIZES.pack(len(message.header), len(signature)), message.header, signature, message.payload))


def unpack(body: bytes) -> tuple[bytes, bytes, bytes | None]:
    """Header, payload and signature."""
    header, signature = _SIZES.unpack_from(body)
    end = 8 + header
    if signature == _UNSIGNED:
        return body[8:end], body[end:], None
    return body[8:end], body[end + signature :], body[end : end + signature]


def delivery(queue: str, token: bytes, meta: bytes, body: bytes, now: float) -> Delivery:
    """What a claim granted.

    ``token`` is ``place/run/serial``, ``meta`` is ``id`` or ``ready|id``, with ``|run|attempt|first|sealed`` where that
    is not the first run, and ``|crashes|priority`` where the message does not come from a stream.
    """
    receipt_token = token.decode()
    header, payload, signature = unpack(body)
    id, *more = meta.decode().split("|")
    if more:
        id, *more = more
    sealed, run, attempt, crashes, first = queue, 1, 1, 0, now
    if more:
        run = int(receipt_token.rsplit("/", 2)[1])
        attempt, sealed = int(more[1]), more[3] or queue
        if more[2]:
            first = int(more[2]) / 1000
    if len(more) > 4:
        crashes, priority = int(more[4]), int(more[5])
    else:
        priority = int(receipt_token[0])
    return _delivery(
        message=_message(id=id, queue=sealed, priority=priority, header=header, payload=payload, signature=signature),
        receipt=_receipt(id=id, queue=queue, run=run, token=receipt_token),
        attempt=attempt,
        crashes=crashes,
        first_delivered_at=first,
        now=now,
    )


class Record:
    """A record of the index, taken apart; its fields are described in ``lua/queue.lua``."""

    __slots__ = ("attempt", "crashes", "priority", "queue", "run", "sealed", "state", "why")

    def __init__(self, raw: bytes) -> None:
        _, state, queue, priority, _, run, attempt, crashes, _, _, sealed, why = raw.decode().split("|", 11)
        self.state = state
        self.queue = queue
        self.sealed = sealed or queue
        self.priority, self.run, self.attempt, self.crashes = int(priority), int(run), int(attempt), int(crashes)
        self.why = why

    def message(self, id: str, body: bytes) -> Message:
        """The message as it was sealed."""
        header, payload, signature = unpack(body)
        return Message(
            id=id, queue=self.sealed, priority=self.priority, header=header, payload=payload, signature=signature
        )

    def stored(self, id: str, body: bytes, at: float, now: float) -> StoredMessage:
        """The message with its state; ``at`` and ``now`` are the store's times in seconds."""
        state = _READY[self.state]
        if state in {"delayed", "leased"} and at <= now:
            state = "ready"
        return StoredMessage(
            message=self.message(id, body),
            state=state,
            attempt=self.attempt,
            crashes=self.crashes,
            run=self.run,
            at=at,
        )

    def dead(self, id: str, body: bytes, at: float) -> DeadMessage:
        """The message as a dead letter."""
        reason, detail = why_from(self.why)
        return DeadMessage(
            message=self.message(id, body),
            queue=self.queue if self.sealed != self.queue else None,
            reason=reason,
            detail=detail,
            attempt=self.attempt,
            crashes=self.crashes,
            run=self.run,
            died_at=at,
        )


def why(reason: str, detail: str) -> str:
    """Reason and detail of a dead letter as one text."""
    # Texts of exceptions may hold what is no text.
    return msgspec.json.encode([text.encode(errors="backslashreplace").decode() for text in (reason, detail)]).decode()


def why_from(text: str) -> tuple[str, str]:
    """What :func:`why` wrote."""
    return msgspec.json.decode(text, type=tuple[str, str]) if text else ("", "")
