"""The script of :class:`~stem_core.testing.contracts.StrategyContract` for strategies whose functions run in other
processes: what happened there is written into a folder, which the test reads."""

from __future__ import annotations

import contextvars
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stem_core.contracts import ChildLink

#: Stands for the context variables of a program that uses Stem.
label: contextvars.ContextVar[str] = contextvars.ContextVar("label", default="unset")

#: How long a function waits for its gate before it gives up, in seconds.
PATIENCE = 20.0
_POLL = 0.005


def note(folder: Path, line: str) -> None:
    """Append a line to what happened; one write, so that lines of several processes stay whole."""
    descriptor = os.open(folder / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


@contextmanager
def open_script(setup: bytes) -> Iterator[Script]:
    """The :data:`~stem_core.contracts.ChildOpener`; ``setup`` is the path of the folder."""
    yield Script(Path(setup.decode()))


class Script:
    """The :class:`~stem_core.contracts.ChildHost`: its functions do what their names say."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, request: bytes, link: ChildLink) -> bytes:
        """Returns JSON: the kind of the end and what belongs to it."""
        id, task, payload = json.loads(request)
        link.on_interrupt(lambda reason: note(self._folder, f"! {id} {reason}"))
        note(self._folder, f"+ {id} {os.getpid()}")
        try:
            return json.dumps(contextvars.copy_context().run(self._function, task, payload)).encode()
        finally:
            note(self._folder, f"- {id}")

    def _function(self, task: str, payload: str) -> list[str]:
        if task == "exit":
            os._exit(int(payload))
        if task == "wait":
            self._wait()
        if task == "fail":
            return ["error", "ValueError", payload]
        if task == "interrupt":
            return ["interrupted", "revoked"]
        if task == "stop":
            return ["error", "StopIteration", ""]
        if task == "label":
            seen = label.get()
            label.set("changed by the task")
            return ["ok", seen]
        return ["ok", payload]

    def _wait(self) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE / _POLL)):
            if (self._folder / "gate").exists():
                return
            pause.wait(_POLL)
