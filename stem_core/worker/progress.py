"""Telling the result backend what runs, that it is alive and how far it is, a few times a second at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem_core.errors import StoreError
from stem_core.worker.inflight import RUNNING, Entry
from stem_core.worker.settlement import running_status

if TYPE_CHECKING:
    from stem_core.client.session import Session
    from stem_core.worker.view import WorkerView


class ProgressWriter:
    """Writes what ``view.dirty`` has gathered. Lives in the pulse thread."""

    def __init__(self, view: WorkerView, session: Session) -> None:
        self._view = view
        self._session = session
        self._backend = session.backend

    async def flush(self) -> None:
        """One write for all entries with news."""
        view = self._view
        entries: list[Entry] = []
        while view.dirty:
            entry = view.dirty.pop()
            if entry.stage is RUNNING:
                entries.append(entry)
        if not entries:
            return
        progressed = [entry for entry in entries if entry.ctx is not None and entry.ctx.latest is not entry.told]
        if progressed:
            for entry in progressed:
                entry.told = None if entry.ctx is None else entry.ctx.latest
            view.post(view.on_progress, progressed)
        if self._backend is None:
            return
        now, monotonic = view.clock.now(), view.clock.monotonic()
        statuses = [
            running_status(entry, worker=view.worker, now=now, monotonic=monotonic, default_ttl=view.result_ttl)
            for entry in entries
        ]
        record = self._backend.record([status for status in statuses if status is not None])
        try:
            await self._session.deadline("result backend: record", record)
        except StoreError:
            # It is still news when the backend returns.
            view.dirty.update(entries)
            raise
        for entry in entries:
            entry.running_recorded = True
