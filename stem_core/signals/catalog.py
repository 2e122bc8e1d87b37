"""All signals of Stem, as attributes of one object."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from stem_core.errors import InvalidSetting
from stem_core.signals import events
from stem_core.signals.signal import Board, E, Signal

#: The owner of what the application connects itself.
APPLICATION = "application"


class Signals:
    """The bus: ``signals.task_failed.connect(handler, task="emails.*")``. One for each app.

    Plugins get the same bus through :meth:`owned_by`, so that every subscription knows who made it.
    """

    def __init__(self, *, owner: str = APPLICATION, shared: Signals | None = None) -> None:
        self.owner = owner
        #: How many handlers raised, by event name.
        self.errors: Counter[str] = Counter() if shared is None else shared.errors
        self._boards: dict[str, Board[Any]] = {} if shared is None else shared._boards  # noqa: SLF001 - its own class
        self.before_task_publish = self._signal(events.BeforeTaskPublishEvent)
        self.after_task_publish = self._signal(events.AfterTaskPublishEvent)
        self.task_received = self._signal(events.TaskReceivedEvent)
        self.task_prerun = self._signal(events.TaskPrerunEvent)
        self.task_postrun = self._signal(events.TaskPostrunEvent)
        self.task_succeeded = self._signal(events.TaskSucceededEvent)
        self.task_failed = self._signal(events.TaskFailedEvent)
        self.task_retried = self._signal(events.TaskRetriedEvent)
        self.task_revoked = self._signal(events.TaskRevokedEvent)
        self.task_expired = self._signal(events.TaskExpiredEvent)
        self.task_crashed = self._signal(events.TaskCrashedEvent)
        self.task_rejected = self._signal(events.TaskRejectedEvent)
        self.task_lease_lost = self._signal(events.TaskLeaseLostEvent)
        self.task_handed_back = self._signal(events.TaskHandedBackEvent)
        self.task_dead_lettered = self._signal(events.TaskDeadLetteredEvent)
        self.task_progress = self._signal(events.TaskProgressEvent)
        self.worker_init = self._signal(events.WorkerInitEvent)
        self.worker_ready = self._signal(events.WorkerReadyEvent)
        self.worker_heartbeat = self._signal(events.WorkerHeartbeatEvent)
        self.worker_stopping = self._signal(events.WorkerStoppingEvent)
        self.worker_shutdown = self._signal(events.WorkerShutdownEvent)
        self.worker_child_init = self._signal(events.WorkerChildInitEvent)
        self.worker_child_shutdown = self._signal(events.WorkerChildShutdownEvent)
        self.queue_paused = self._signal(events.QueuePausedEvent)
        self.queue_resumed = self._signal(events.QueueResumedEvent)
        self.worker_scaled = self._signal(events.WorkerScaledEvent)

    def _signal(self, event: type[E]) -> Signal[E]:
        board = self._boards.setdefault(event.event_name, Board(self.errors))
        return Signal(event, board, self.owner)

    def __iter__(self) -> Iterator[Signal[Any]]:
        """Every signal, in the order of the catalogue."""
        return (signal for signal in vars(self).values() if isinstance(signal, Signal))

    def owned_by(self, owner: str) -> Signals:
        """The same bus in the hands of ``owner`` (``plugin redis (stem-redis 0.1.0)``): what is connected through it
        carries that name into listeners and logs."""
        return Signals(owner=owner, shared=self)

    def configure(self, enabled: bool = True, disabled: Sequence[str] = ()) -> None:
        """Switch signals on and off; a disabled one is falsy whoever listens. Replaces what was configured before.

        ``disabled`` holds names as ``worker-heartbeat`` or ``worker_heartbeat``; ``enabled=False`` disables all.

        Raises:
            InvalidSetting: a name that no signal has; nothing is changed.
        """
        off = {name.strip().replace("_", "-") for name in disabled}
        for name in sorted(off - self._boards.keys()):
            close = difflib.get_close_matches(name, self._boards, n=1)
            raise InvalidSetting(
                f"signals_disabled names {name!r}, which is no signal",
                key="signals_disabled",
                hint=f"did you mean {close[0]!r}?" if close else f"signals are {', '.join(sorted(self._boards))}",
            )
        for name, board in self._boards.items():
            board.enable(enabled and name not in off)
