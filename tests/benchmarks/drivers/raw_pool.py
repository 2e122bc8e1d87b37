"""What the system has to give: forked children that answer over a pair of sockets, one call at a time in each."""

from __future__ import annotations

import os
import selectors
import socket
import time

import msgspec

from benchmarks import pools
from benchmarks.model import Request
from benchmarks.pools import TURNS, Told, grind

_END = -1

_encode = msgspec.msgpack.Encoder().encode
_decode_call = msgspec.msgpack.Decoder(int).decode
_decode_answer = msgspec.msgpack.Decoder(Told).decode


def calls(request: Request) -> dict[str, float]:
    """Two children, calls that do nothing."""
    return pools.calls(*_run(2, request.sizes.drain, 0))


def work_on_two(request: Request) -> dict[str, float]:
    """One child and two, calls of about 10 ms: the gain is what this machine's second processor is worth."""
    one, _ = _run(1, request.sizes.work, TURNS)
    two, _ = _run(2, request.sizes.work, TURNS)
    return pools.gain("work", one, two)


def _run(processes: int, count: int, turns: int) -> tuple[list[Told], float]:
    selector = selectors.DefaultSelector()
    call = _encode(turns)
    children = [_child() for _ in range(processes)]
    for line, _ in children:
        selector.register(line, selectors.EVENT_READ, line)
    ends: list[Told] = []
    begun = time.process_time()
    for line, _ in children:
        line.send(call)
    sent = processes
    while len(ends) < count:
        for key, _ in selector.select():
            line = key.data
            ends.append(_decode_answer(line.recv(4096)))
            if sent < count:
                line.send(call)
                sent += 1
    parent = time.process_time() - begun
    selector.close()
    for line, pid in children:
        line.send(_encode(_END))
        os.waitpid(pid, 0)
        line.close()
    return ends, parent


def _child() -> tuple[socket.socket, int]:
    line, there = socket.socketpair()
    pid = os.fork()
    if pid:
        there.close()
        return line, pid
    line.close()
    # A child holds the parent's ends of those before it: it is told when to end.
    while (turns := _decode_call(there.recv(4096))) != _END:
        there.send(_encode(grind(turns)))
    os._exit(0)
