"""The gate: may this delivery run here and now? It looks, decides and never touches a store."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from stem_core.clock import Clock
from stem_core.errors import MessageUnreadable, UnsupportedVersion
from stem_core.model import Cancelled, HandedBack, Header, Outcome, Rejected
from stem_core.tasks import TaskRegistry
from stem_core.wire import unseal_header
from stem_core.worker.inflight import Entry

if TYPE_CHECKING:
    from stem_core.worker.revocations import Revocations

logger = logging.getLogger("stem_core.worker")

#: An unknown task is handed back for about this many seconds, so that a worker that knows it finds it soon.
UNKNOWN_DELAY = 5.0
#: Seconds between two warnings about the same unknown name.
WARN_EVERY = 60.0


class Gate:
    """Judges deliveries in a fixed order: size, envelope, crashes, known task, revoked, expired."""

    def __init__(
        self,
        tasks: TaskRegistry,
        revocations: Revocations,
        clock: Clock,
        *,
        max_message_size: int,
        max_crashes: int,
        unknown_task_grace: float,
    ) -> None:
        self._tasks = tasks
        self._revocations = revocations
        self._clock = clock
        self._max_message_size = max_message_size
        self._max_crashes = max_crashes
        self._grace = unknown_task_grace
        self._warned_at: dict[str, float] = {}

    def judge(self, entry: Entry) -> Outcome | None:
        """Fill in the entry's header and task; return None to let it run, else what becomes of it."""
        delivery = entry.delivery
        message = delivery.message
        size = len(message.header) + len(message.payload)
        if size > self._max_message_size:
            return Rejected(
                reason="too-large", detail=f"{size:,} bytes, over {self._max_message_size:,}", readable=False
            )
        try:
            header = unseal_header(message)
        except UnsupportedVersion as error:
            return self._not_here(entry, f"wire version {error.version}", "unsupported-version", str(error))
        except MessageUnreadable as error:
            return Rejected(reason="unreadable", detail=error.message, readable=False)
        entry.header = header
        if delivery.crashes >= self._max_crashes:
            times = f"{delivery.crashes} times" if delivery.crashes > 1 else "once"
            return Rejected(reason="max-crashes", detail=f"lost {times} with the worker or process that ran it")
        task = self._tasks.get(header.task)
        if task is None:
            return self._unknown(entry, header)
        entry.task = task
        if header.id in self._revocations.known:
            return Cancelled(reason="revoked", detail=self._revocations.reason(header.id))
        if header.expires_at is not None and self._store_now(entry) > header.expires_at:
            return Cancelled(reason="expired", detail=f"{self._store_now(entry) - header.expires_at:.1f} s too late")
        return None

    def _store_now(self, entry: Entry) -> float:
        """The store's time now, as far as this worker can tell: at the claim, plus what has passed here since."""
        return entry.delivery.now + self._clock.monotonic() - entry.claimed_at

    def _unknown(self, entry: Entry, header: Header) -> Outcome:
        close = self._tasks.close_matches(header.task)
        known = f"; close: {', '.join(close)}" if close else ""
        detail = f"no task {header.task!r} is registered here{known}"
        return self._not_here(entry, header.task, "unknown-task", detail)

    def _not_here(self, entry: Entry, subject: str, reason: str, detail: str) -> Outcome:
        if not entry.leased:
            # There is nobody to hand a copy of a broadcast back to.
            return Rejected(reason=reason, detail=detail)
        delivery = entry.delivery
        waited = delivery.now - delivery.first_delivered_at
        if waited >= self._grace:
            return Rejected(reason=reason, detail=f"{detail}; nobody could run it for {waited:.0f} s")
        now = self._clock.monotonic()
        if now - self._warned_at.get(subject, -WARN_EVERY) >= WARN_EVERY:
            self._warned_at[subject] = now
            logger.warning(
                "handed back to %s: %s (hint: import its module with Stem(include=[...]), or stop this worker from "
                "reading the queue; it goes to the dead letters as %s after %.0f s)",
                delivery.message.queue,
                detail,
                reason,
                self._grace,
            )
        delay = random.uniform(0.5, 1.5) * UNKNOWN_DELAY
        return HandedBack(reason=reason, delay=delay, detail=detail)
