"""Stem: a background-job platform.

What an application needs is here; plugins import from ``stem_core.contracts``, ``stem_core.model`` and
``stem_core.hooks``. Importing this package loads nothing; each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.client.results import TaskHandle
    from stem_core.client.session import Session
    from stem_core.contracts import Middleware
    from stem_core.errors import (
        AppNotFound,
        AppNotOpen,
        BadArguments,
        BrokenPlugin,
        ConfigurationError,
        DuplicateTask,
        InvalidName,
        InvalidOption,
        InvalidSetting,
        MessageUnreadable,
        NotFound,
        PayloadTooLarge,
        PluginConflict,
        PluginError,
        ProcessLost,
        PublishError,
        RemoteError,
        ResultError,
        ResultTimeout,
        RetryTask,
        StemError,
        StoreError,
        StoreRefused,
        StoreUnavailable,
        TaskCancelled,
        TaskFailed,
        TaskInterrupted,
        UnknownScheme,
        UnknownTask,
        UnsupportedVersion,
        VersionConflict,
        WorkerAlreadyRunning,
        WorkerFailed,
    )
    from stem_core.model import (
        Envelope,
        Progress,
        RetryPolicy,
        TaskState,
        TaskStatus,
    )
    from stem_core.tasks import (
        BoundTask,
        Task,
        TaskCall,
        TaskContext,
    )
    from stem_core.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "AppNotFound",
    "AppNotOpen",
    "BadArguments",
    "BoundTask",
    "BrokenPlugin",
    "ConfigurationError",
    "DuplicateTask",
    "Envelope",
    "InvalidName",
    "InvalidOption",
    "InvalidSetting",
    "MessageUnreadable",
    "Middleware",
    "NotFound",
    "PayloadTooLarge",
    "PluginConflict",
    "PluginError",
    "ProcessLost",
    "Progress",
    "PublishError",
    "RemoteError",
    "ResultError",
    "ResultTimeout",
    "RetryPolicy",
    "RetryTask",
    "Session",
    "Stem",
    "StemError",
    "StoreError",
    "StoreRefused",
    "StoreUnavailable",
    "Task",
    "TaskCall",
    "TaskCancelled",
    "TaskContext",
    "TaskFailed",
    "TaskHandle",
    "TaskInterrupted",
    "TaskState",
    "TaskStatus",
    "UnknownScheme",
    "UnknownTask",
    "UnsupportedVersion",
    "VersionConflict",
    "Worker",
    "WorkerAlreadyRunning",
    "WorkerFailed",
]

#: Which module has which of the names above; those that are not here are errors.
_HOMES = {
    "Stem": "stem_core.client.app",
    "TaskHandle": "stem_core.client.results",
    "Session": "stem_core.client.session",
    "Middleware": "stem_core.contracts",
    "Envelope": "stem_core.model",
    "Progress": "stem_core.model",
    "RetryPolicy": "stem_core.model",
    "TaskState": "stem_core.model",
    "TaskStatus": "stem_core.model",
    "BoundTask": "stem_core.tasks",
    "Task": "stem_core.tasks",
    "TaskCall": "stem_core.tasks",
    "TaskContext": "stem_core.tasks",
    "Worker": "stem_core.worker",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept out of the top level: this module is loaded for every submodule, and shows only what it sells.
    from importlib import import_module

    found = getattr(import_module(_HOMES.get(name, "stem_core.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
