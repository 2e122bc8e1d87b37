"""What the pulse thread sees of its worker: values that do not change, and doors that any thread may use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ParamSpec

import attrs

from stem_core.clock import Clock
from stem_core.errors import InterruptReason
from stem_core.model import Heartbeat
from stem_core.worker.cancellation import kill, mark
from stem_core.worker.inflight import Entry, InFlight
from stem_core.worker.revocations import Revocations
from stem_core.worker.stopping import StopMachine
from stem_core.worker.watchdog import Watchdog

P = ParamSpec("P")


@attrs.define(kw_only=True, eq=False)
class WorkerView:
    """Shared between the worker's loop and its pulse thread. Spans are seconds."""

    #: Id of the worker.
    worker: str
    clock: Clock
    #: The worker's own loop.
    loop: asyncio.AbstractEventLoop
    inflight: InFlight
    machine: StopMachine
    revocations: Revocations
    watchdog: Watchdog
    lease: float
    heartbeat_interval: float
    call_timeout: float
    wedge_timeout: float
    result_ttl: float
    #: Whether the process is the worker's to end when nothing else helps; not so when it is embedded.
    owns_process: bool
    #: Makes the record of this moment; called in the pulse thread.
    heartbeat: Callable[[], Heartbeat]
    #: The following are called on the worker's loop.
    on_interrupt: Callable[[Entry], None]
    on_heartbeat: Callable[[Heartbeat], None]
    on_progress: Callable[[Sequence[Entry]], None]
    on_failure: Callable[[BaseException], None]
    #: Entries whose progress, or first sign of running, is to be written. Any thread adds, the pulse thread takes.
    dirty: set[Entry] = attrs.field(factory=set)
    #: Leases cannot be renewed at present; the pulse thread writes, health reads.
    renewal_failing: bool = False

    @property
    def renew_every(self) -> float:
        """Three renewals fit into a lease, so that one may fail."""
        return self.lease / 3

    def post(self, callback: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call something on the worker's loop, soon. A loop that is closed needs nothing any more."""
        try:
            self.loop.call_soon_threadsafe(lambda: callback(*args, **kwargs))
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def interrupt(self, entry: Entry, reason: InterruptReason, detail: str) -> None:
        """Interrupt an entry from any thread: ``ctx.check()`` raises from now on, the loop does the rest."""
        if entry.interrupt is None:
            mark(entry, reason, detail)
            if reason == "lease-lost":
                # Here and now: the loop may be blocked, and another worker may be granted it at any moment.
                kill(entry, reason)
            self.post(self.on_interrupt, entry)
