import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.builtin.strategies.processes.frames import FrameBuffer, FrameReader, frame

frames = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=50)), max_size=8)


@given(frames, st.integers(1, 40))
def test_frames_come_back_however_the_stream_is_cut(sent, size):
    stream = b"".join(frame(*one) for one in sent)
    buffer = FrameBuffer()
    found = []
    for start in range(0, len(stream), size):
        found += buffer.feed(stream[start : start + size])
    assert found == sent


@given(frames)
def test_many_frames_at_once(sent):
    assert FrameBuffer().feed(b"".join(frame(*one) for one in sent)) == sent


@pytest.mark.parametrize("rest", [b"", b"\x00\x00"])
def test_a_reader_ends_with_the_stream_and_drops_half_a_frame(rest):
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(frame(1, 2, b"body") + frame(3) + rest)
        reader = FrameReader(ours)
        assert [reader.read(), reader.read(), reader.read()] == [(1, 2, b"body"), (3, 0, b""), None]


def test_a_reader_ends_with_its_own_socket():
    ours, theirs = socket.socketpair()
    reader = FrameReader(ours)
    with theirs:
        ours.close()
        assert reader.read() is None
