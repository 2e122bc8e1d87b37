"""What is stored of a message: its body as it was sealed, and beside it, in a header, what changes.

A message is one record of the stream, found by its id. Every change replaces the record as a whole, under the
condition that it is still the one that was read; the number of the record in the stream is what is compared.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stem_core.model import (
    DONE,
    LOST,
    Ack,
    Action,
    DeadLetter,
    DeadMessage,
    Delivery,
    Message,
    Receipt,
    Release,
    Retry,
    StoredMessage,
    Verdict,
)

READY = "ready"
DELAYED = "delayed"
LEASED = "leased"
DEAD = "dead"
#: Finished or removed: the id stays known until ``at``.
FINISHED = "finished"
#: Purged: only the run of the id stays known until ``at``.
PURGED = "purged"

#: How long a dead letter is kept, in seconds, and how many a queue keeps.
DEAD_TTL = 30 * 86_400.0
DEAD_LIMIT = 100_000
#: How much of the detail of a dead letter is kept, in characters.
_DETAIL = 2_000


class Meta(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={
        "state": "s",
        "queue": "q",
        "priority": "p",
        "at": "a",
        "attempt": "n",
        "crashes": "c",
        "run": "r",
        "first": "f",
        "token": "t",
        "settled": "o",
        "reason": "w",
        "detail": "d",
    },
):
    """What changes about a message. Times are seconds since the epoch by the server's clock."""

    state: str
    #: The queue where it lies; the body holds the one that was sealed.
    queue: str
    priority: int
    #: Ready: since when. Delayed: until when. Leased: the end of the lease. Dead: since when. Else: until when known.
    at: float
    attempt: int = 1
    crashes: int = 0
    run: int = 0
    #: When this attempt was first handed to anybody.
    first: float | None = None
    #: Of the newest grant, while it is good.
    token: str = ""
    #: Tokens that settled something, and until when that is remembered.
    settled: tuple[tuple[str, float], ...] = ()
    reason: str = ""
    detail: str = ""

    def over(self, now: float) -> bool:
        """Whether nothing is left of the message but this record."""
        if self.state == DEAD:
            return self.at + DEAD_TTL <= now
        return self.state == PURGED or (self.state == FINISHED and self.at <= now)

    def kept(self, now: float) -> float | None:
        """For how many more seconds the server has to keep the record; None: for ever."""
        if self.state == DEAD:
            return self.at + DEAD_TTL - now
        return self.at - now if self.state in {FINISHED, PURGED} else None

    def is_suspect(self) -> bool:
        """Whether the next delivery has crashes. Asked of what is ready, where a lease is one that has ended."""
        return self.crashes > 0 or self.state == LEASED


class _Body(msgspec.Struct, frozen=True, array_like=True):
    queue: str
    priority: int
    delay: float
    header: bytes
    payload: bytes
    signature: bytes | None


_write_meta = msgspec.json.Encoder().encode
_read_meta = msgspec.json.Decoder(Meta).decode
_write_body = msgspec.msgpack.Encoder().encode
_read_body = msgspec.msgpack.Decoder(_Body).decode


def encode_meta(meta: Meta) -> str:
    """As one line of JSON: control characters are escaped."""
    return _write_meta(meta).decode()


def decode_meta(text: str) -> Meta:
    """Raises ``msgspec.DecodeError`` for what :func:`encode_meta` did not write."""
    return _read_meta(text)


def encode_body(message: Message) -> bytes:
    """Everything of the message but its id."""
    return _write_body(
        _Body(message.queue, message.priority, message.delay, message.header, message.payload, message.signature)
    )


def decode_body(id: str, body: bytes) -> Message:
    """The message as it was published."""
    read = _read_body(body)
    return Message(
        id=id,
        queue=read.queue,
        priority=read.priority,
        delay=read.delay,
        header=read.header,
        payload=read.payload,
        signature=read.signature,
    )


def waiting(meta: Meta, delay: float, now: float, error: float) -> Meta:
    """Ready now, or delayed. ``error`` is by how much ``now`` may be off: delays are never cut short by it."""
    if delay > 0:
        return msgspec.structs.replace(meta, state=DELAYED, at=now + error + delay, token="")
    return msgspec.structs.replace(meta, state=READY, at=now, token="")


def granted(meta: Meta, *, now: float, end: float, nonce: str) -> Meta:
    """Leased until ``end`` under a new token; a lease that has ended counts as a crash."""
    run = meta.run + 1
    return msgspec.structs.replace(
        meta,
        state=LEASED,
        at=end,
        run=run,
        crashes=meta.crashes + (meta.state == LEASED),
        first=now if meta.first is None else meta.first,
        token=f"{run}.{nonce}",
    )


def extended(meta: Meta, end: float) -> Meta:
    """The lease ends then."""
    return msgspec.structs.replace(meta, at=end)


def settled(meta: Meta, action: Action, *, now: float, error: float, window: float) -> Meta:
    """What ``action`` makes of a leased message."""
    remembered = (*_alive(meta.settled, now), (meta.token, now + window))
    meta = msgspec.structs.replace(meta, settled=remembered)
    if isinstance(action, Ack):
        return finished(meta, now=now, window=window)
    if isinstance(action, DeadLetter):
        # It travels in a header. Surrogates, which a task may raise as text, have no bytes.
        detail = action.detail[:_DETAIL].encode(errors="replace").decode()
        return msgspec.structs.replace(meta, state=DEAD, at=now, token="", reason=action.reason, detail=detail)
    if isinstance(action, Retry):
        meta = msgspec.structs.replace(meta, attempt=meta.attempt + 1, first=None)
    elif isinstance(action, Release) and action.charge:
        meta = msgspec.structs.replace(meta, crashes=meta.crashes + 1)
    return waiting(meta, action.delay, now, error)


def finished(meta: Meta, *, now: float, window: float) -> Meta:
    """The marker of an id that is not to come again within ``window`` seconds."""
    return msgspec.structs.replace(meta, state=FINISHED, at=now + window, token="")


def purged(meta: Meta, *, now: float, window: float) -> Meta:
    """The id may come again at once, and its run goes on for ``window`` seconds."""
    return msgspec.structs.replace(meta, state=PURGED, at=now + window, token="", settled=_alive(meta.settled, now))


def replayed(meta: Meta, *, now: float) -> Meta:
    """A dead letter as it starts over."""
    return msgspec.structs.replace(
        meta, state=READY, at=now, attempt=1, crashes=0, first=None, reason="", detail="", token=""
    )


def verdict_on_old(meta: Meta | None, token: str, now: float) -> Verdict:
    """On a token that is not the newest: done when it settled something itself, else lost."""
    return DONE if meta is not None and any(old == token for old, _ in _alive(meta.settled, now)) else LOST


def _alive(settled: Iterable[tuple[str, float]], now: float) -> tuple[tuple[str, float], ...]:
    return tuple(item for item in settled if item[1] > now)


def delivery(message: Message, meta: Meta, now: float) -> Delivery:
    """The delivery that a grant makes."""
    assert meta.first is not None
    return Delivery(
        message=message,
        receipt=Receipt(id=message.id, queue=meta.queue, run=meta.run, token=meta.token),
        attempt=meta.attempt,
        crashes=meta.crashes,
        first_delivered_at=meta.first,
        now=now,
    )


def dead_message(message: Message, meta: Meta) -> DeadMessage:
    """The dead letter as people see it."""
    return DeadMessage(
        message=message,
        reason=meta.reason,
        detail=meta.detail,
        attempt=meta.attempt,
        crashes=meta.crashes,
        run=meta.run,
        died_at=meta.at,
        queue=meta.queue,
    )


def stored_message(message: Message, meta: Meta, now: float) -> StoredMessage:
    """The message as people see it: what a delay or a lease held until now is ready."""
    ripe = meta.state in {DELAYED, LEASED} and meta.at <= now
    return StoredMessage(
        message=message,
        state=READY if ripe else meta.state,
        attempt=meta.attempt,
        crashes=meta.crashes,
        run=meta.run,
        at=meta.at,
    )
