"""Every error of Stem, as one tree.

::

    StemError                        hint, exit_code
    ├── ConfigurationError           2  a setting, option or name that cannot be used
    │   ├── InvalidSetting              value, origin, accepted form
    │   ├── InvalidName                 queue, task, channel, worker id
    │   ├── InvalidOption               an argument of an API call
    │   ├── AppNotFound                 -A that cannot be loaded
    │   ├── UnknownScheme               no provider for a URL scheme or a name
    │   └── DuplicateTask               two tasks of one name
    ├── PluginError                  3  a plugin that cannot be used
    │   ├── BrokenPlugin                could not be loaded, or misuses a hook
    │   └── PluginConflict              two plugins claim one scheme or name
    ├── AppNotOpen                   1  used outside ``app.open()``
    ├── PublishError                 1  a task that cannot be enqueued
    │   ├── BadArguments             2  not JSON, wrong type, wrong number
    │   ├── PayloadTooLarge          1
    │   └── UnknownTask              2  no such registered name
    ├── StoreError                   1  a broker, backend or state store
    │   ├── StoreUnavailable            not reachable, too slow, or locked: try again later
    │   ├── StoreRefused                cannot be used as it is: schema, permissions, settings
    │   └── VersionConflict             ``if_version`` did not match
    ├── MessageUnreadable            1  bytes that are no envelope
    │   └── UnsupportedVersion          a newer wire version
    ├── NotFound                     1  no queue, message or worker of that name
    ├── ResultError                  1  no result to give
    │   ├── TaskFailed                  error type, message, traceback of the task
    │   ├── TaskCancelled               reason: revoked or expired
    │   └── ResultTimeout               not finished in time
    ├── RemoteError                  1  what a task raised in another process, as text
    ├── ProcessLost                  1  the process of a task ended before the task did
    ├── RetryTask                    1  raised by a task that wants to be run again
    ├── WorkerFailed                 1  a worker ended by an error of its own
    └── WorkerAlreadyRunning         2  a second live worker of one id

    BaseException
    └── TaskInterrupted                 raised inside a task that has to stop; not an ``Exception``
"""

from __future__ import annotations

from typing import ClassVar, Literal


class StemError(Exception):
    """The root of all errors that Stem raises on purpose. ``str()`` is meant to be shown to people."""

    #: What a command line program exits with when this error ends it.
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        #: What to do next; one sentence, or empty.
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigurationError(StemError):
    """Something the user set cannot be used."""

    exit_code = 2


class InvalidSetting(ConfigurationError):
    """A setting whose value or key cannot be used."""

    def __init__(self, message: str, *, key: str = "", origin: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        #: Dotted key, such as ``worker.concurrency``.
        self.key = key
        #: Where it came from: file and key, variable, command line option, or code.
        self.origin = origin


class InvalidName(ConfigurationError):
    """A queue, task, channel or id with a name it may not have."""

    def __init__(self, kind: str, name: object, accepted: str) -> None:
        what = kind if kind.endswith(" id") else f"{kind} name"
        super().__init__(f"{name!r} is no {what}", hint=f"use {accepted}")
        self.kind = kind
        self.name = name


class InvalidOption(ConfigurationError):
    """An argument of an API call that cannot be used."""

    def __init__(self, option: str, value: object, accepted: str) -> None:
        super().__init__(f"{option}={value!r} cannot be used", hint=f"give {accepted}")
        self.option = option
        self.value = value


class AppNotFound(ConfigurationError):
    """``-A`` names nothing that can be loaded."""


class UnknownScheme(ConfigurationError):
    """Nobody provides a URL scheme or a named thing: not installed, deselected, or broken."""

    def __init__(self, message: str, *, key: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.key = key


class DuplicateTask(ConfigurationError):
    """Two tasks of one name."""


class PluginError(StemError):
    """A plugin that cannot be used."""

    exit_code = 3


class BrokenPlugin(PluginError):
    """A plugin that could not be loaded or misuses a hook."""

    def __init__(self, message: str, *, plugin: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.plugin = plugin


class PluginConflict(PluginError):
    """Two plugins claim one scheme, name or default."""

    def __init__(self, message: str, *, key: str, plugins: tuple[str, ...], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.plugins = plugins


class AppNotOpen(StemError):
    """The app was used outside ``async with app.open()``."""


class PublishError(StemError):
    """A task that cannot be enqueued; nothing was sent."""


class BadArguments(PublishError):
    """Arguments that do not fit the task's signature, or that JSON cannot carry."""

    exit_code = 2

    def __init__(self, message: str, *, task: str, parameter: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.task = task
        #: The parameter at fault; empty when it is the call as a whole.
        self.parameter = parameter


class PayloadTooLarge(PublishError):
    """A message over the size limit."""

    def __init__(self, *, task: str, size: int, limit: int, of_the_broker: bool = False) -> None:
        more = "" if of_the_broker else ", or raise max_message_size (STEM_MAX_MESSAGE_SIZE)"
        super().__init__(
            f"the message for {task} has {size:,} bytes; the limit{' of the broker' * of_the_broker} is {limit:,}",
            hint=f"store the data elsewhere and pass a reference{more}",
        )
        self.task = task
        self.size = size
        self.limit = limit


class UnknownTask(PublishError):
    """No task is registered under this name."""

    exit_code = 2

    def __init__(self, message: str, *, task: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.task = task


class StoreError(StemError):
    """A broker, result backend or state store could not do what it was asked."""


class StoreUnavailable(StoreError):
    """Not reachable, too slow or locked for now. The same call may be made again."""


class StoreRefused(StoreError):
    """The store cannot be used as it is: permissions, a newer schema, a setting of the server."""

    exit_code = 2


class VersionConflict(StoreError):
    """A record changed since it was read; nothing was written."""

    def __init__(self, collection: str, key: str, expected: int, found: int) -> None:
        super().__init__(
            f"{collection}/{key} has version {found}, not {expected}",
            hint="read the record again and decide anew",
        )
        self.found = found


class MessageUnreadable(StemError):
    """Bytes that are no envelope."""


class UnsupportedVersion(MessageUnreadable):
    """An envelope of a newer wire version than this code reads."""

    def __init__(self, version: int, newest: int) -> None:
        super().__init__(
            f"the message has wire version {version}; this worker reads up to {newest}",
            hint="upgrade this worker",
        )
        self.version = version


class NotFound(StemError):
    """There is no queue, message or worker of the name that was given."""


class ResultError(StemError):
    """There is no return value to give."""


class TaskFailed(ResultError):
    """The task was given up; carries the error as text, since exceptions do not cross processes."""

    def __init__(self, task: str, id: str, *, reason: str, error_type: str, error: str, traceback: str = "") -> None:
        super().__init__(f"{task} [{id}] failed: {error_type}: {error}" if error_type else f"{task} [{id}] {reason}")
        self.task = task
        self.id = id
        self.reason = reason
        self.error_type = error_type
        self.error = error
        self.traceback = traceback


class TaskCancelled(ResultError):
    """The task was not run to its end on purpose."""

    def __init__(self, task: str, id: str, reason: str) -> None:
        super().__init__(f"{task} [{id}] was cancelled: {reason}")
        self.task = task
        self.id = id
        #: ``revoked`` or ``expired``.
        self.reason = reason


class ResultTimeout(ResultError):
    """The task had not finished in the time given; it goes on all the same."""

    def __init__(self, id: str, timeout: float, state: str) -> None:
        super().__init__(
            f"no result of {id} within {timeout:g} s (state: {state})",
            hint="wait longer, and see that a worker reads its queue",
        )
        self.id = id


class RemoteError(StemError):
    """What a task raised in another process, as text: exceptions do not cross processes. Middleware sees it."""

    def __init__(self, error_type: str, message: str, traceback: str = "", *, retry_delay: float | None = None) -> None:
        super().__init__(f"{error_type}: {message}")
        #: Type of the exception, with its module unless that is ``builtins``.
        self.error_type = error_type
        self.error = message
        self.traceback = traceback
        #: What the retry policy of the task says of this error, in seconds; None: give up. It was asked where the
        #: exception was raised.
        self.retry_delay = retry_delay


class ProcessLost(StemError):
    """The process that ran a task ended before the task did: a signal, no memory left, ``os._exit``.

    Counts as a crash of the one task that it ran.
    """

    def __init__(
        self, message: str, *, exit_status: int | None = None, signal: int | None = None, peak_rss: int = 0
    ) -> None:
        super().__init__(message)
        #: What the process ended with; None when a signal ended it.
        self.exit_status = exit_status
        #: The number of the signal that ended it; None when it ended by itself.
        self.signal = signal
        #: The most resident memory that it had, in bytes.
        self.peak_rss = peak_rss


class RetryTask(StemError):
    """Raised by a task that wants to be run again; made by ``ctx.retry(after=...)``. Counts as a failed attempt."""

    def __init__(self, message: str, *, delay: float | None = None) -> None:
        super().__init__(message)
        #: Seconds to wait; None: as the task's retry policy says.
        self.delay = delay


class WorkerFailed(StemError):
    """A worker ended by an error of its own; the cause is chained."""


class WorkerAlreadyRunning(StemError):
    """A live worker has this id already."""

    exit_code = 2


InterruptReason = Literal["revoked", "time-limit", "shutdown", "lease-lost"]


class TaskInterrupted(BaseException):
    """Raised by ``ctx.check()`` inside a task that has to stop.

    Derives from BaseException, so that ``except Exception`` in a task cannot eat a revocation. Let it through.
    """

    def __init__(self, reason: InterruptReason, *, remote_traceback: str = "") -> None:
        super().__init__(reason)
        self.reason: InterruptReason = reason
        #: Where it was raised, when that was in another process.
        self.remote_traceback = remote_traceback
