"""Tasks: registered functions, calls of them, and what they see while they run."""

from __future__ import annotations

from stem_core.tasks.call import BoundTask, TaskCall
from stem_core.tasks.context import TaskContext, current
from stem_core.tasks.discovery import import_tasks
from stem_core.tasks.host import TaskHost
from stem_core.tasks.options import CallArguments, CallOptions, TaskArguments, TaskOptions
from stem_core.tasks.registry import TaskRegistry
from stem_core.tasks.task import AnyTask, Task

__all__ = [
    "AnyTask",
    "BoundTask",
    "CallArguments",
    "CallOptions",
    "Task",
    "TaskArguments",
    "TaskCall",
    "TaskContext",
    "TaskHost",
    "TaskOptions",
    "TaskRegistry",
    "current",
    "import_tasks",
]
