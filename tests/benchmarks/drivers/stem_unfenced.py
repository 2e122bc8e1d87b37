"""What fencing costs: Stem on Redis, in turn with a worker that lets everybody settle everything, in one of two ways.

``script``: the worker of the product, but the script for settlements does not look whose message it is. It reads
neither the record of a message nor what is kept of its id, compares neither token nor run, and keeps no token for a
settlement that is repeated. Claims are the same: their token is also how one is found again whose answer was lost.

``plain``: no token at all, and settlements as a framework without fencing sends them: a SET for each result, one ZREM
and two HDEL, and a look whether anybody waits, as plain commands in one write, neither a script nor a transaction.

Both leave in the server what the product leaves, but for the token. They acknowledge first runs of messages that were
published together, and nothing else: with a retry the sample fails. Leases are extended every ten seconds in one call,
so that is no part of a drain.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from benchmarks.drivers import stem
from benchmarks.jobs import add
from benchmarks.model import Request
from benchmarks.redis_gauge import Server
from stem_core.cli.main import main
from stem_core.clock import SYSTEM_CLOCK
from stem_core.model import DONE, Ack, Settlement, TaskStatus, Verdict
from stem_core.wire.records import encode_status
from stem_redis import scripts
from stem_redis.connection import Argument
from stem_redis.keys import QUEUE_KEYS
from stem_redis.settling import Settler

Changes = dict[str, tuple[tuple[str, str], ...]]

_LEASES, _ASIDE = QUEUE_KEYS.index("leases"), QUEUE_KEYS.index("aside")
#: The same worker, begun at the end of this file.
_WORKER = ("-m", __name__, *stem.WORKER[2:])
#: Drains of each kind in a sample: one takes half a second, and anything on the machine changes it.
_PAIRS = 4

#: By variant and script: what stands there, and what stands in its place.
CHANGES: dict[str, Changes] = {
    "script": {
        "settle": (
            ("local records = redis.call('HMGET', Q.JOBS, unpack(ids))\n", "local records = {}\n"),
            ("local outcomes = redis.call('MGET', unpack(KEYS, OUTCOME + 1))\n", "local outcomes = {}\n"),
            ("if not record or #token < 3 or string.sub(record, 1, #token) ~= token then\n", "if false then\n"),
            ("local state = string.byte(record, #token + 1)\n", "local state = string.byte('l')\n"),
            ("if not old and (what.run == run or what.run == '') then\n", "if true then\n"),
            ("run .. '|' .. marked .. '|' .. token .. what.run", "run .. '|' .. marked .. '||' .. what.run"),
        ),
    },
    "plain": {
        "claim": (
            (
                "local start = priority .. '/' .. entry[1] .. '/1/' .. C.serial .. '.'\n",
                "local start = priority .. '/' .. entry[1] .. '/1/'\n",
            ),
            ("local token = start .. C.taken\n", "local token = start\n"),
            ("id, token, token .. tail,", "id, token, tail,"),
        ),
    },
}


def fencing(request: Request) -> dict[str, float]:
    """Drains with fencing and without it in turn, results kept, each on an empty server."""
    both: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for number in range(_PAIRS):
        # Whichever goes first, so that no drift of the machine is taken for a difference.
        for fenced in (True, False) if number % 2 else (False, True):
            with Server(os.environ["BENCH_REDIS"]) as server:
                server.ask("FLUSHALL")
            worker = stem.WORKER if fenced else _WORKER
            both[fenced].append(stem.drained(request, add, results=True, worker=worker))
    found = {
        f"{name}{suffix}": median(one[key] for one in drains)
        for name, drains in zip(("unfenced", "fenced"), both, strict=True)
        for suffix, key in (("", "rate"), ("_cpu", "cpu"), ("_server_cpu", "server_cpu"))
    }
    pairs = list(zip(*both, strict=True))
    found["fencing_cost"] = 100 * (1 - median(one["rate"] / other["rate"] for other, one in pairs))
    found["fencing_cpu_cost"] = 100 * (median(_cpu(one) / _cpu(other) for other, one in pairs) - 1)
    return found


def _cpu(drain: dict[str, float]) -> float:
    return drain["cpu"] + drain["server_cpu"]


def changed(changes: Changes) -> Callable[[str], str]:
    """What reads the scripts of the product with these changes.

    Raises:
        LookupError: what is to be replaced does not stand there exactly once; the script was changed.
    """
    read = scripts.read

    def read_changed(name: str) -> str:
        text = read(name)
        for old, new in changes.get(name, ()):
            if text.count(old) != 1:
                raise LookupError(f"{name}.lua does not hold this once, so what is measured is unknown: {old!r}")
            text = text.replace(old, new)
        return text

    return read_changed


async def _settle_plainly(
    self: Settler,
    queue: str,
    positions: Sequence[int],
    settlements: Sequence[Settlement],
    statuses: Sequence[TaskStatus | None] | None,
    verdicts: list[Verdict],
) -> None:
    """In place of :meth:`Settler._settle_some`."""
    assert statuses is not None
    keys, window, now = self._keys, self._window, math.ceil(SYSTEM_CLOCK.now() * 1000)
    commands: list[tuple[Argument, ...]] = []
    ids: list[str] = []
    for position in positions:
        settlement, status = settlements[position], statuses[position]
        receipt = settlement.receipt
        assert isinstance(settlement.action, Ack)
        assert status is not None
        assert status.state.terminal
        _, _, run, _ = receipt.token.split("/")
        ids.append(receipt.id)
        keep = math.ceil(status.ttl * 1000)
        kept = f"{run}|{now + window}||{status.run}|t|{now + keep}\n".encode() + encode_status(status)
        commands.append(("SET", keys.outcome(receipt.id), kept, "PX", max(keep, window)))
    names = keys.queue(queue)
    commands += (("HDEL", names[_ASIDE], *ids), ("ZREM", names[_LEASES], *ids), ("HDEL", keys.jobs, *ids))
    connection = self._store.commands.connection or await self._store.commands.open()
    failures: list[Exception] = []

    def check(reply: Any) -> None:
        if isinstance(reply, Exception):
            failures.append(reply)

    for command in commands:
        connection.post(command, check)
    waiting = await connection.send("EXISTS", keys.waiters, at_once=True)
    if failures or waiting:
        raise failures[0] if failures else AssertionError("somebody waits, and is not told")
    for position in positions:
        verdicts[position] = DONE


def unfence(variant: str) -> None:
    """Make the worker that this process will be one without fencing."""
    scripts.read = changed(CHANGES[variant])  # type: ignore[assignment]
    if variant == "plain":
        Settler._settle_some = _settle_plainly  # type: ignore[method-assign]


if __name__ == "__main__":
    unfence(os.environ["BENCH_VARIANT"])
    main()
