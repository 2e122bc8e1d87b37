"""Leases: renewed for all that is held, in one call; acted upon when they cannot be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from stem_core.errors import StoreError
from stem_core.worker.backoff import Backoff
from stem_core.worker.cancellation import mark
from stem_core.worker.inflight import PREFETCHED, RUNNING, Entry

if TYPE_CHECKING:
    from stem_core.client.session import Session
    from stem_core.worker.view import WorkerView


class Leases:
    """Keeps the leases of a worker. Lives in the pulse thread."""

    def __init__(self, view: WorkerView, session: Session) -> None:
        self._view = view
        self._session = session

    async def renew(self) -> None:
        """Extend every lease that is held: running, prefetched and unsettled."""
        view = self._view
        entries = [entry for entry in view.inflight.snapshot() if entry.leased]
        if not entries:
            return
        # Trust runs from before the request: the store may have applied it at once and answered late.
        sent = view.clock.monotonic()
        extension = self._session.broker.extend([entry.delivery.receipt for entry in entries], view.lease)
        verdicts = await self._session.deadline(
            "broker: extend", extension, seconds=min(view.call_timeout, view.renew_every)
        )
        for entry, verdict in zip(entries, verdicts, strict=True):
            if verdict.kind == "done":
                entry.lease_deadline = sent + view.lease
                if entry.stage is RUNNING and entry.ctx is not None and not entry.running_recorded:
                    view.dirty.add(entry)
            elif verdict.kind == "lost" and entry.stage in (PREFETCHED, RUNNING):
                # What is being settled is left alone: the verdict on its settlement decides.
                view.interrupt(entry, "lease-lost", "the message was granted to another worker")

    def fence(self) -> None:
        """Stop what has outlived its lease: another worker may be granted it now."""
        view = self._view
        now = view.clock.monotonic()
        for entry in view.inflight.snapshot():
            if entry.lease_deadline < now and entry.stage in (PREFETCHED, RUNNING):
                view.interrupt(entry, "lease-lost", "the lease ended and could not be renewed")


def confirmer(view: WorkerView, session: Session) -> Callable[[Entry], Awaitable[bool]]:
    """On the worker's loop: makes what asks the broker whether one message is still this worker's, and extends its
    lease. It returns False when it is lost, and when the entry was interrupted before the broker has answered."""

    async def confirm(entry: Entry) -> bool:
        backoff = Backoff()
        while entry.interrupt is None:
            sent = view.clock.monotonic()
            try:
                extension = session.broker.extend([entry.delivery.receipt], view.lease)
                (verdict,) = await session.deadline("broker: extend", extension)
            except StoreError:
                # Nothing is lost yet; when its lease has ended, the pulse thread interrupts it.
                await backoff.sleep()
                continue
            if verdict.kind == "lost":
                mark(entry, "lease-lost", "the message was granted to another worker before it started")
            elif verdict.kind == "done":
                entry.lease_deadline = sent + view.lease
                # Who was interrupted meanwhile has only been marked, and the function would not see it.
                return entry.interrupt is None
            else:
                await backoff.sleep()
        return False

    return confirm
