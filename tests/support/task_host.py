"""An app as tasks see it, that remembers what it was asked to publish."""

from __future__ import annotations

from typing import Any

from stem_core.model import Envelope, Header
from stem_core.tasks import Task, TaskCall, TaskContext, TaskOptions, TaskRegistry


class FakeHost:
    """A :class:`~stem_core.tasks.TaskHost` without stores; handles are plain texts."""

    def __init__(self) -> None:
        self.tasks = TaskRegistry()
        #: Every call that was submitted, in order.
        self.submitted: list[TaskCall[Any]] = []

    def task(self, function: Any, *, name: str | None = None, aliases: tuple[str, ...] = (), **options: Any) -> Any:
        """Define and register a task, as ``@app.task`` does."""
        made: Any = Task(function, host=self, name=name, aliases=aliases, options=TaskOptions.build(options))
        self.tasks.add(made)
        return made

    async def submit(self, call: TaskCall[Any]) -> Any:
        """Remember the call."""
        self.submitted.append(call)
        return f"handle of {call.name}"

    def submit_sync(self, call: TaskCall[Any]) -> Any:
        """Remember the call."""
        self.submitted.append(call)
        return f"sync handle of {call.name}"

    def stage(self, call: TaskCall[Any], parent: TaskContext, id: str) -> tuple[Envelope, Any]:
        """An envelope of the call, a child of ``parent``."""
        job = call.options.id or id
        header = Header(id=job, task=call.name, queue="q", enqueued_at=0.0, parent_id=parent.id, root_id=parent.root_id)
        return Envelope(header=header, payload=call.payload), f"handle of {job}"
