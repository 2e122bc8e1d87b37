"""What commands write with ``--json``: the objects, each key with what it means.

``docs/reference/json.md`` is made from these classes, and tests hold what each command writes against them. Keys may be
added; none is renamed, removed or given another type.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict


class Error(TypedDict):
    """What a task raised."""

    type: Annotated[str, "Module and name of the exception's class; empty for what was refused and never raised."]
    message: Annotated[str, "Its text."]
    traceback: Annotated[str, "The formatted traceback; empty when there is none."]


class Progress(TypedDict):
    """What a task last said of how far it is."""

    percent: Annotated[float, "From 0 to 100."]
    data: Annotated[Any, "What it gave besides; null when that was nothing."]


class Enqueued(TypedDict):
    """The job that was enqueued."""

    id: Annotated[str, "The job's id."]
    task: Annotated[str, "The name of the task."]
    queue: Annotated[str, "The queue or broadcast channel that it went to."]


class Result(TypedDict):
    """The job as it is now."""

    id: Annotated[str, "The job's id."]
    task: Annotated[str, "The name of the task."]
    queue: Annotated[str, "Its queue."]
    state: Annotated[str, "`scheduled`, `queued`, `running`, `retrying`, `succeeded`, `failed` or `cancelled`."]
    attempt: Annotated[int, "The attempt that runs or was the last, from 1; 0 before the first."]
    run: Annotated[int, "How often it was handed to a worker; goes on through retries and replays."]
    result: Annotated[Any, "What the task returned; null as long as there is nothing."]
    error: Annotated[Error | None, "What the task raised, or why it was refused."]
    reason: Annotated[str | None, "Why it failed or was cancelled: `failed`, `time-limit`, `revoked`, `expired` ..."]
    progress: Annotated[Progress | None, "What the task last said of how far it is."]
    worker: Annotated[str | None, "The id of the worker that ran it last."]
    enqueued_at: Annotated[str | None, "When it was enqueued."]
    started_at: Annotated[str | None, "When its last attempt began."]
    alive_at: Annotated[str | None, "While it runs: when the task last gave a sign of life of its own."]
    finished_at: Annotated[str | None, "When it ended."]
    retry_at: Annotated[str | None, "While `retrying`: when the next attempt is due."]


class Queue(TypedDict):
    """A queue that holds something, that a live worker reads, or that a task of the app goes to."""

    queue: Annotated[str, "Its name."]
    ready: Annotated[int, "Messages that wait for a worker."]
    scheduled: Annotated[int, "Messages that wait for their time or their next attempt."]
    in_flight: Annotated[int, "Messages in the hands of workers."]
    dead: Annotated[int, "Dead letters."]
    oldest_age: Annotated[float | None, "For how many seconds the oldest ready message has been waiting."]
    readers: Annotated[int, "How many live workers take from it."]
    workers: Annotated[list[str], "Their ids."]
    tasks: Annotated[list[str], "The names of the app's tasks that go to it."]


class Message(TypedDict):
    """A message in the queue, in the order of delivery."""

    id: Annotated[str, "The job's id."]
    queue: Annotated[str, "The queue that it lies in."]
    task: Annotated[str | None, "The name of the task; null when the message cannot be read."]
    state: Annotated[str, "`ready`, `delayed` or `leased`."]
    priority: Annotated[int, "From 0 to 9; 9 is the most urgent."]
    attempt: Annotated[int, "The attempt that comes next or runs, from 1."]
    crashes: Annotated[int, "How often a worker or a process was lost with it."]
    run: Annotated[int, "How often it was handed to a worker."]
    at: Annotated[str, "`ready`: since when it waits; `delayed`: when it becomes ready; `leased`: when its lease ends."]
    enqueued_at: Annotated[str | None, "When it was enqueued; null when the message cannot be read."]
    expires_at: Annotated[str | None, "When it is no longer to be started."]
    size: Annotated[int, "Bytes of header and arguments."]
    problem: Annotated[str | None, "Why the message cannot be read."]
    payload: Annotated[Any, "With `--payload`: `[[...], {...}]`, the arguments by place and by name; else null."]


class Moved(TypedDict):
    """What was moved."""

    queue: Annotated[str, "The queue that was emptied."]
    other: Annotated[str, "The queue that the messages lie in now."]
    moved: Annotated[int, "How many messages that were."]


class Purged(TypedDict):
    """What was removed."""

    queue: Annotated[str, "The queue that was emptied."]
    removed: Annotated[int, "How many messages that were."]


class DeadLetter(TypedDict):
    """A dead letter, by queue and oldest first."""

    id: Annotated[str, "The job's id."]
    queue: Annotated[str, "The queue that it lies in."]
    task: Annotated[str | None, "The name of the task; null when the message cannot be read."]
    reason: Annotated[str, "Why it was given up: `failed`, `bad-arguments`, `unknown-task`, `max-crashes` ..."]
    detail: Annotated[str, "The same in a sentence, such as the error."]
    priority: Annotated[int, "From 0 to 9; 9 is the most urgent."]
    attempt: Annotated[int, "The attempt that was the last, from 1."]
    crashes: Annotated[int, "How often a worker or a process was lost with it."]
    run: Annotated[int, "How often it was handed to a worker."]
    enqueued_at: Annotated[str | None, "When it was enqueued; null when the message cannot be read."]
    expires_at: Annotated[str | None, "When it was no longer to be started."]
    died_at: Annotated[str, "When it was given up."]
    size: Annotated[int, "Bytes of header and arguments."]
    problem: Annotated[str | None, "Why the message cannot be read."]


class WholeDeadLetter(DeadLetter):
    """All that is known of one dead letter."""

    headers: Annotated[dict[str, str] | None, "The headers that it was enqueued with; null when it cannot be read."]
    parent_id: Annotated[str | None, "The id of the job that enqueued it."]
    root_id: Annotated[str | None, "The id of the first job of that chain; its own where no job enqueued it."]
    error: Annotated[Error | None, "What the task raised, where the result backend has it."]
    payload: Annotated[Any, "With `--payload`: `[[...], {...}]`, the arguments by place and by name; else null."]


class Handled(TypedDict):
    """What was done with the dead letters that were chosen."""

    selected: Annotated[int, "How many were chosen."]
    done: Annotated[int, "How many were put back or removed."]
    gone: Annotated[int, "How many of them were no longer there."]
    left: Annotated[int, "How many were not reached, because Ctrl-C was pressed."]


class Chosen(TypedDict):
    """A group of the dead letters that would be put back or removed."""

    queue: Annotated[str, "The queue that they lie in."]
    task: Annotated[str | None, "The name of the task; null for those that cannot be read."]
    reason: Annotated[str, "Why they were given up."]
    letters: Annotated[int, "How many there are."]


class Task(TypedDict):
    """A task of the app, by name."""

    name: Annotated[str, "Its name."]
    aliases: Annotated[list[str], "Other names that it answers to."]
    queue: Annotated[str, "The queue or broadcast channel that it goes to."]
    strategy: Annotated[str, "Where it runs: `event_loop`, `threads`, `processes`, or that of a plugin."]
    priority: Annotated[int, "From 0 to 9; 9 is the most urgent."]
    max_retries: Annotated[int, "How often it is tried again."]
    soft_time_limit: Annotated[float | None, "Seconds after which an attempt is interrupted."]
    time_limit: Annotated[float | None, "Seconds after which an attempt is killed."]
    expires: Annotated[float | None, "Seconds after which it is no longer started."]
    store_result: Annotated[bool, "Whether its results are kept."]
    about: Annotated[str, "The first line of its docstring."]


class Route(TypedDict):
    """Where a task of the app goes, by name."""

    task: Annotated[str, "The name of the task."]
    goes_to: Annotated[str, "`queue NAME` or `channel NAME`."]
    queue: Annotated[str | None, "The name of the queue; null for a broadcast."]
    channel: Annotated[str | None, "The name of the broadcast channel; null otherwise."]
    priority: Annotated[int, "The priority that it gets there."]
    because: Annotated[str, "What decides that."]


class Plugin(TypedDict):
    """A plugin that is installed or was selected: the built-ins first, then by name."""

    name: Annotated[str, "Its name."]
    distribution: Annotated[str, "What it was installed with; empty for a module that belongs to no installed plugin."]
    version: Annotated[str, "The version of that; empty likewise."]
    state: Annotated[str, "`loaded`, `skipped`, `broken` or `duplicate`."]
    provides: Annotated[list[str], "Such as `broker redis://` or `settings [redis]`; empty unless it is loaded."]
    why: Annotated[str, "Why it is in this state; empty for a loaded one."]


class Setting(TypedDict):
    """A setting; those of the app first, then the worker's, then those of plugins."""

    key: Annotated[str, "Its dotted key, such as `worker.lease`."]
    value: Annotated[str, "Its value as text, with secrets masked."]
    origin: Annotated[str, "Where that came from, such as `environment STEM_WORKER_LEASE` or `default`."]
    variable: Annotated[str, "The environment variable that sets it."]
    accepts: Annotated[str, "What may be given."]
    help: Annotated[str, "What it does."]


class Check(TypedDict):
    """One thing that was looked at."""

    check: Annotated[str, "`settings`, `plugins`, `broker`, `result backend`, `state store`, `broker clock` ..."]
    state: Annotated[str, "`ok`, `warning`, `failed` or `skipped`."]
    target: Annotated[str | None, "The address of the store, without its secrets."]
    latency: Annotated[float | None, "Seconds that the store took to answer one small question."]
    skew: Annotated[float | None, "Seconds by which this machine's clock is ahead of the store's."]
    detail: Annotated[str, "What was found, or what is wrong."]
    hint: Annotated[str | None, "What to do next, where it is not well."]


#: What each command writes one of, or many.
WRITTEN: dict[str, type] = {
    "enqueue": Enqueued,
    "enqueue --wait": Result,
    "result": Result,
    "queues": Queue,
    "queues peek": Message,
    "queues move": Moved,
    "queues purge": Purged,
    "dlq list": DeadLetter,
    "dlq show": WholeDeadLetter,
    "dlq replay": Handled,
    "dlq purge": Handled,
    "dlq replay --dry-run": Chosen,
    "dlq purge --dry-run": Chosen,
    "tasks": Task,
    "routes": Route,
    "plugins": Plugin,
    "settings": Setting,
    "health": Check,
}
