"""Telling: the log lines and signals of deliveries, in the order of what happened."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from stem_core.clock import Clock
from stem_core.errors import MessageUnreadable
from stem_core.model import (
    Cancelled,
    Failed,
    HandedBack,
    Outcome,
    Rejected,
    Retried,
    Succeeded,
    Verdict,
)
from stem_core.signals import Signals, events
from stem_core.tasks.context import current
from stem_core.wire import unseal_header
from stem_core.worker.inflight import RUNNING, Entry

logger = logging.getLogger("stem_core.tasks")

#: When this many ends wait for their handlers, settling waits too: slow handlers slow the worker, never its memory.
MAX_WAITING = 1000


class Announcer:
    """Fires the signals of deliveries. What is unheard costs one look at a falsy signal.

    Ends are announced by a service of their own, after the stores have confirmed them, so that a slow handler
    does not hold up what is to be written.
    """

    def __init__(self, signals: Signals, clock: Clock, worker: str, *, max_message_size: int) -> None:
        self._max_message_size = max_message_size
        self._signals = signals
        self._clock = clock
        self._worker = worker
        self._ends: deque[tuple[Entry, Verdict]] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False

    @property
    def quiet_success(self) -> bool:
        """Whether nobody hears of a success: no handler, no log line. Asked once a flush, it saves a job 0.8 us."""
        signals = self._signals
        return not (signals.task_succeeded or signals.task_postrun or logger.isEnabledFor(logging.INFO))

    async def received(self, entry: Entry) -> None:
        """A delivery has arrived."""
        signals, crashes = self._signals, entry.delivery.crashes
        common = self._common(entry) | {"task": self._task_of(entry)}
        if crashes and signals.task_crashed:
            await signals.task_crashed.send(events.TaskCrashedEvent(crashes=crashes, **common))
        if signals.task_received:
            await signals.task_received.send(events.TaskReceivedEvent(crashes=crashes, **common))

    def _task_of(self, entry: Entry) -> str:
        """What a delivery claims to be, before the gate has looked at it: handlers choose by the task's name."""
        message = entry.delivery.message
        if len(message.header) > self._max_message_size:
            return ""
        try:
            return unseal_header(message).task
        except MessageUnreadable:
            return ""

    async def prerun(self, entry: Entry) -> None:
        """The function is called next."""
        await self._signals.task_prerun.send(events.TaskPrerunEvent(**self._common(entry)))

    async def progress(self, entry: Entry) -> None:
        """The task said how far it is; told only while it runs, so that its end comes last."""
        running = entry.stage is RUNNING
        if running and self._signals.task_progress and entry.ctx is not None and entry.ctx.latest is not None:
            await self._signals.task_progress.send(
                events.TaskProgressEvent(progress=entry.ctx.latest, **self._common(entry))
            )

    def settled(self, entry: Entry, verdict: Verdict) -> None:
        """The stores have confirmed the end of this entry, or refused it."""
        outcome = entry.outcome
        if outcome is not None:
            self._log(entry, outcome, verdict)
        signals = self._signals
        heard = signals.task_lease_lost if verdict.kind != "done" else self._signal_of(outcome)
        if heard or signals.task_postrun or signals.task_dead_lettered:
            self._ends.append((entry, verdict))
            self._wake.set()
            if len(self._ends) >= MAX_WAITING:
                self._room.clear()

    async def room(self) -> None:
        """Return when the handlers have caught up."""
        await self._room.wait()

    async def run(self) -> None:
        """Send ends to the handlers until :meth:`close`; a service of the worker."""
        while True:
            while self._ends:
                entry, verdict = self._ends.popleft()
                if len(self._ends) < MAX_WAITING:
                    self._room.set()
                await self._announce(entry, verdict)
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()

    def close(self) -> None:
        """Let :meth:`run` end once every end is announced."""
        self._closing = True
        self._wake.set()

    def _signal_of(self, outcome: Outcome | None) -> bool:
        signals = self._signals
        if isinstance(outcome, Succeeded):
            return bool(signals.task_succeeded)
        if isinstance(outcome, Retried):
            return bool(signals.task_retried)
        if isinstance(outcome, Failed):
            return bool(signals.task_failed)
        if isinstance(outcome, Cancelled):
            return bool(signals.task_revoked if outcome.reason == "revoked" else signals.task_expired)
        if isinstance(outcome, Rejected):
            return bool(signals.task_rejected)
        return bool(signals.task_handed_back or (outcome is not None and outcome.charge and signals.task_crashed))

    async def _announce(self, entry: Entry, verdict: Verdict) -> None:
        signals, outcome, common = self._signals, entry.outcome, self._common(entry)
        if verdict.kind != "done" or outcome is None:
            if signals.task_lease_lost:
                await signals.task_lease_lost.send(events.TaskLeaseLostEvent(**common))
        else:
            await self._announce_outcome(entry, outcome, common)
        if entry.started and outcome is not None and signals.task_postrun:
            await signals.task_postrun.send(events.TaskPostrunEvent(outcome=outcome, runtime=entry.runtime, **common))

    async def _announce_outcome(self, entry: Entry, outcome: Outcome, common: dict[str, Any]) -> None:
        signals, runtime = self._signals, entry.runtime
        if isinstance(outcome, Succeeded):
            await signals.task_succeeded.send(
                events.TaskSucceededEvent(result=outcome.result, runtime=runtime, **common)
            )
        elif isinstance(outcome, Retried):
            await signals.task_retried.send(
                events.TaskRetriedEvent(
                    reason=outcome.reason, error=outcome.error, delay=outcome.delay, runtime=runtime, **common
                )
            )
        elif isinstance(outcome, Failed):
            detail = f"{outcome.error.type}: {outcome.error.message}"
            await signals.task_failed.send(
                events.TaskFailedEvent(reason=outcome.reason, error=outcome.error, runtime=runtime, **common)
            )
            if entry.leased:
                await self._dead_lettered(outcome.reason, detail, common)
        elif isinstance(outcome, Rejected):
            await signals.task_rejected.send(
                events.TaskRejectedEvent(reason=outcome.reason, detail=outcome.detail, **common)
            )
            if entry.leased:
                await self._dead_lettered(outcome.reason, outcome.detail, common)
        elif isinstance(outcome, Cancelled) and outcome.reason == "revoked":
            await signals.task_revoked.send(events.TaskRevokedEvent(detail=outcome.detail, **common))
        elif isinstance(outcome, Cancelled):
            await signals.task_expired.send(events.TaskExpiredEvent(detail=outcome.detail, **common))
        elif isinstance(outcome, HandedBack):
            if outcome.charge and signals.task_crashed:
                crashes = entry.delivery.crashes + 1
                await signals.task_crashed.send(
                    events.TaskCrashedEvent(
                        crashes=crashes,
                        detail=outcome.detail,
                        exit_status=outcome.exit_status,
                        signal=outcome.signal,
                        peak_rss=outcome.peak_rss,
                        **common,
                    )
                )
            await signals.task_handed_back.send(
                events.TaskHandedBackEvent(reason=outcome.reason, delay=outcome.delay, detail=outcome.detail, **common)
            )

    async def _dead_lettered(self, reason: str, detail: str, common: dict[str, Any]) -> None:
        if self._signals.task_dead_lettered:
            await self._signals.task_dead_lettered.send(
                events.TaskDeadLetteredEvent(reason=reason, detail=detail, **common)
            )

    def _common(self, entry: Entry) -> dict[str, Any]:
        delivery = entry.delivery
        return {
            "occurred_at": self._clock.now(),
            "id": delivery.message.id,
            "task": entry.header.task if entry.header is not None else "",
            "queue": delivery.message.queue,
            "attempt": delivery.attempt,
            "run": delivery.receipt.run,
            "worker": self._worker,
        }

    def _log(self, entry: Entry, outcome: Outcome, verdict: Verdict) -> None:
        token = current.set(entry.ctx) if entry.ctx is not None else None
        try:
            self._log_outcome(entry, outcome, verdict)
        finally:
            if token is not None:
                current.reset(token)

    def _log_outcome(self, entry: Entry, outcome: Outcome, verdict: Verdict) -> None:
        name = entry.header.task if entry.header is not None else "?"
        title = f"{name}[{entry.delivery.message.id}]"
        if verdict.kind == "lost":
            logger.warning("%s lost its lease: the message was granted to another, its outcome is dropped", title)
        elif isinstance(outcome, Succeeded):
            logger.info("%s succeeded in %.3f s", title, entry.runtime)
        elif isinstance(outcome, Retried):
            logger.warning(
                "%s failed in attempt %d, next in %.1f s: %s: %s",
                title,
                entry.delivery.attempt,
                outcome.delay,
                outcome.error.type,
                outcome.error.message,
            )
        elif isinstance(outcome, Failed):
            logger.error(
                "%s failed for good in attempt %d (%s): %s: %s\n%s",
                title,
                entry.delivery.attempt,
                outcome.reason,
                outcome.error.type,
                outcome.error.message,
                outcome.error.traceback,
            )
        elif isinstance(outcome, Rejected):
            fate = "went to the dead letters" if entry.leased else "is dropped"
            logger.error("%s %s as %s: %s", title, fate, outcome.reason, outcome.detail)
        elif isinstance(outcome, Cancelled):
            logger.info("%s cancelled: %s %s", title, outcome.reason, outcome.detail)
        elif outcome.charge:
            logger.error("%s crashed, %d in all: %s", title, entry.delivery.crashes + 1, outcome.detail)
        elif outcome.reason != "unknown-task":
            logger.info("%s %s: %s", title, "handed back" if entry.leased else "dropped", outcome.reason)
