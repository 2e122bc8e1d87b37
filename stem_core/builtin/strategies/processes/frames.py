"""What parent and child say to each other: length-prefixed frames over a pair of sockets.

A frame is its length, a kind, the number of the call it is about, and a body that the worker's side made.
"""

from __future__ import annotations

import socket
import struct

_HEAD = struct.Struct("!IBI")
HEAD_SIZE = _HEAD.size

#: To the child: where to begin, once; a call; no more calls; stop this call.
START, CALL, STOP, INTERRUPT = 1, 2, 3, 4
#: To the parent: ready; cannot begin, and why; said during a call; the end of a call.
READY, REFUSED, NEWS, DONE = 5, 6, 7, 8

#: Resident memory in front of the report of a call, in bytes; 0 when nobody asked.
RSS = struct.Struct("!Q")

#: How much is read at once.
CHUNK = 64 * 1024

Frame = tuple[int, int, bytes]


def frame(kind: int, number: int = 0, body: bytes = b"") -> bytes:
    """The bytes of one frame."""
    return _HEAD.pack(len(body), kind, number) + body


class FrameBuffer:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read; returns the frames that are complete now."""
        held = self._held
        if not held and len(data) >= HEAD_SIZE:
            size, kind, number = _HEAD.unpack_from(data)
            if len(data) == HEAD_SIZE + size:
                # The usual case: one whole frame, and nothing is copied.
                return [(kind, number, data[HEAD_SIZE:])]
        held += data
        found: list[Frame] = []
        start = 0
        while len(held) - start >= HEAD_SIZE:
            size, kind, number = _HEAD.unpack_from(held, start)
            end = start + HEAD_SIZE + size
            if len(held) < end:
                break
            found.append((kind, number, bytes(held[start + HEAD_SIZE : end])))
            start = end
        del held[:start]
        return found


class FrameReader:
    """Reads frames from a blocking socket, one after the other."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._buffer = FrameBuffer()
        self._ready: list[Frame] = []

    def read(self) -> Frame | None:
        """The next frame; None at the end of the stream: the other side is gone."""
        while not self._ready:
            try:
                data = self._source.recv(CHUNK)
            except OSError:
                # Reset by the other side, or closed on this one at the end of the process.
                return None
            if not data:
                return None
            self._ready = self._buffer.feed(data)
        return self._ready.pop(0)
