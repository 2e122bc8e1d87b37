"""What tasks did, written outside of the stores under test: one JSON line an event, appended in one write."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def note(path: str, event: str, **facts: Any) -> None:
    """Append an event with this process's id; whole lines whoever else appends, even if this process is killed."""
    line = json.dumps({"event": event, "pid": os.getpid(), "at": time.time(), **facts}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class Ledger:
    """Reads what :func:`note` wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._events: list[Event] = []
        self._read = 0

    def events(self, event: str | None = None) -> list[Event]:
        """All events so far, or those of one name, in the order of writing."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        # Only whole lines: the last may be on its way.
        text = text[: text.rfind(b"\n") + 1]
        self._read += len(text)
        self._events += [json.loads(line) for line in text.splitlines()]
        return [one for one in self._events if event is None or one["event"] == event]

    def wait(self, condition: Callable[[Sequence[Event]], object], timeout: float = 20.0) -> list[Event]:
        """Return the events once the condition holds of them.

        Raises:
            TimeoutError: it did not come about; shows the last events.
        """
        limit = time.monotonic() + timeout
        while True:
            events = self.events()
            if condition(events):
                return events
            if time.monotonic() > limit:
                raise TimeoutError(f"after {timeout} s: {len(events)} events, the last {events[-3:]}")
            time.sleep(0.005)

    def wait_for(self, event: str, count: int = 1, timeout: float = 20.0) -> list[Event]:
        """Return the events of this name once there are so many."""
        self.wait(lambda events: sum(one["event"] == event for one in events) >= count, timeout)
        return self.events(event)
