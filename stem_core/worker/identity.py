"""Who a worker is: its id, and that no other live worker has it."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from stem_core.clock import Clock, since_boot
from stem_core.contracts import StateStore
from stem_core.errors import MessageUnreadable, StoreError, VersionConflict, WorkerAlreadyRunning
from stem_core.model import HEARTBEATS, Heartbeat, check_id
from stem_core.wire import decode_heartbeat, encode_heartbeat

#: Seconds that a clock may have been set by meanwhile.
_CLOCK_STEP = 1.0


def host_name() -> str:
    """The name of this machine, without its domain, in characters that an id may have."""
    short = socket.gethostname().partition(".")[0]
    return "".join(c if (c.isalnum() and c.isascii()) or c in "_-" else "-" for c in short) or "localhost"


def worker_id(name: str | None) -> str:
    """``name`` with ``%h`` as the host's name; without a name host, pid and a random part.

    Raises:
        InvalidName: not a legal id.
    """
    if name is None:
        return check_id("worker", f"{host_name()}-{os.getpid()}-{secrets.token_hex(3)}")
    return check_id("worker", name.replace("%h", host_name()))


def numbered(name: str, number: int) -> str:
    """The name of one of several workers that were given one: ``web1@%h`` as the second is ``web1-2@%h``."""
    base, at, host = name.partition("@")
    return f"{base}-{number}{at}{host}"


async def claim_identity(state: StateStore, heartbeat: Heartbeat, clock: Clock) -> None:
    """Write the first heartbeat record of this worker.

    Raises:
        WorkerAlreadyRunning: a live worker has this id.
    """
    encoded = encode_heartbeat(heartbeat)
    ttl = heartbeat.interval * 3
    try:
        await state.put(HEARTBEATS, heartbeat.worker, encoded, ttl=ttl, if_version=0)
        return
    except VersionConflict:
        record = await state.get(HEARTBEATS, heartbeat.worker)
    if record is not None:
        try:
            other = decode_heartbeat(record.value)
        except (MessageUnreadable, StoreError):
            other = None
        if other is not None and not _is_gone(other, clock.now()):
            raise WorkerAlreadyRunning(
                f"a worker with the id {other.worker} runs already: pid {other.pid} on {other.host}, "
                f"last heartbeat {max(0.0, clock.now() - other.at):.0f} s ago",
                hint="give this one another --name, such as web2@%h, or stop the other; the record of a worker that "
                f"was killed is forgotten after {other.interval * 3:g} s",
            )
    # Of two that find the record of a worker that is gone, one gets it.
    version = 0 if record is None else record.version
    try:
        await state.put(HEARTBEATS, heartbeat.worker, encoded, ttl=ttl, if_version=version)
    except VersionConflict as conflict:
        raise WorkerAlreadyRunning(
            f"another worker with the id {heartbeat.worker} has just started",
            hint="give this one another --name, such as web2@%h",
        ) from conflict


def _is_gone(other: Heartbeat, now: float) -> bool:
    """Whether the other worker was on this machine and its process has ended: a restart need not wait for its record
    to expire."""
    if other.host != host_name():
        return False
    try:
        os.kill(other.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    try:
        fields = Path(f"/proc/{other.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:  # no Linux, or gone in this moment
        return False
    # Not /proc/uptime: in some containers that is the container's, while processes are dated by the machine's.
    age = since_boot() - float(fields[19]) / os.sysconf("SC_CLK_TCK")
    # It was killed and its parent has not asked for it yet, as in a container without an init. Or somebody else has its
    # number, who began later than it did: a container that starts anew gives the same small numbers in the same order.
    return fields[0] == "Z" or now - age > other.started_at + _CLOCK_STEP
