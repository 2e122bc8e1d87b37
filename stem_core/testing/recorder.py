"""What was told on the bus, kept for the test."""

from __future__ import annotations

from typing import Any, Self, TypeVar, overload

from stem_core.errors import InvalidOption
from stem_core.signals import Event, Signals

E = TypeVar("E", bound=Event)


class SignalRecorder:
    """Keeps every event of a bus while it is entered::

        with SignalRecorder(app.signals) as recorded:
            ...
        assert recorded.names == ["task-received", "task-prerun", "task-succeeded", "task-postrun"]

    Args:
        signals: The bus, ``app.signals``.
        names: Which signals to record, as ``task-failed`` or ``task_failed``; none: all of them.

    Raises:
        InvalidOption: a name that no signal has.
    """

    def __init__(self, signals: Signals, *names: str) -> None:
        view = signals.owned_by("test")
        chosen = {name.replace("_", "-") for name in names}
        if unknown := chosen - {signal.name for signal in view}:
            raise InvalidOption("names", min(unknown), "the name of a signal, such as 'task-failed'")
        self._signals = [signal for signal in view if not chosen or signal.name in chosen]
        #: In the order in which they happened.
        self.events: list[Any] = []

    @property
    def names(self) -> list[str]:
        """The names of the events, in order, without heartbeats, which come when they come."""
        return [event.event_name for event in self.events if event.event_name != "worker-heartbeat"]

    @overload
    def of(self, kind: type[E]) -> list[E]: ...

    @overload
    def of(self, kind: str) -> list[Any]: ...

    def of(self, kind: Any) -> list[Any]:
        """The events of one kind: its name (``"task-failed"``) or its class."""
        name = kind.replace("_", "-") if isinstance(kind, str) else kind.event_name
        return [event for event in self.events if event.event_name == name]

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self.events.clear()

    def __enter__(self) -> Self:
        for signal in self._signals:
            signal.connect(self._keep)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for signal in self._signals:
            signal.disconnect(self._keep)

    def _keep(self, event: Any) -> None:
        self.events.append(event)
