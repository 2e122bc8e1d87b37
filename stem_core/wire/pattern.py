"""Messages that differ in id, time and arguments alone: their headers are filled in, not encoded anew."""

from __future__ import annotations

import math

import msgspec

from stem_core.model import Header, Message, constructor
from stem_core.wire.format import encode_header

_encode_time = msgspec.json.Encoder().encode
_message = constructor(Message)


class Pattern:
    """Makes the messages of calls whose headers are that of the first but for their ids and the times of the calls.

    A message costs 0.8 us, where composing its header and sealing it costs 4 us. It is the same, byte for byte; a
    property test stands for it.
    """

    __slots__ = ("_moment", "_pieces", "header")

    def __init__(self, header: Header) -> None:
        """``header`` is that of a message which may start at once. It was made from checked options, and its id for it
        alone: no other text in it holds the id by chance."""
        self.header = header
        #: What stands before and after the time; cut when a second message is made.
        self._pieces: tuple[bytes, bytes] | None = None
        #: A time, and what stands around the ids of headers of that time. Replaced as one: threads may come together.
        self._moment: tuple[float, tuple[bytes, ...]] = (math.nan, ())

    def message(self, id: str, now: float, payload: bytes) -> Message:
        """What :func:`~stem_core.wire.seal` makes of the header with this id and ``enqueued_at`` ``now``."""
        at, parts = self._moment
        if at != now:
            parts = self._parts(now)
        header = self.header
        return _message(
            id=id, queue=header.queue, priority=header.priority, header=id.encode().join(parts), payload=payload
        )

    def _parts(self, now: float) -> tuple[bytes, ...]:
        if self._pieces is None:
            self._pieces = self._cut()
        before, after = self._pieces
        parts = tuple((before + _encode_time(now) + after).split(self.header.id.encode()))
        self._moment = (now, parts)
        return parts

    def _cut(self) -> tuple[bytes, bytes]:
        field = b',"enqueued_at":'
        # Before it stand numbers and names only, nothing that could be taken for it.
        before, after = encode_header(self.header).split(field + _encode_time(self.header.enqueued_at), 1)
        return before + field, after
