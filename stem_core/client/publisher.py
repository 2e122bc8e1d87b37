"""From calls to envelopes: ids, times, and what a call takes over from its task and its parent."""

from __future__ import annotations

from typing import Any

from stem_core.errors import InvalidOption
from stem_core.model import Envelope, Header, Routing, constructor, new_id
from stem_core.tasks.call import TaskCall
from stem_core.tasks.context import TaskContext
from stem_core.tasks.options import CallOptions, TaskOptions

_header, _envelope = constructor(Header), constructor(Envelope)
#: The options of a task whose code is not here.
_UNKNOWN = TaskOptions()
NO_ROUTING = Routing()


def build_envelope(
    call: TaskCall[Any],
    *,
    now: float,
    default_queue: str,
    routing: Routing = NO_ROUTING,
    parent: TaskContext | None = None,
    id: str | None = None,
) -> Envelope:
    """The request that a call stands for. Its own options go before those of the task, and those before the app's.

    What may differ between versions of the code is left to the worker: retries, retry policy and time limits are
    in the header only when the call itself names them.

    Args:
        call: The call; its options and arguments are checked already.
        now: Seconds since the epoch; what delays and expiries count from.
        default_queue: For tasks that name none.
        routing: Its first route for the task decides where the call goes, unless the call names a queue.
        parent: The running task that makes the call: it gives its id, its root and its trace.
        id: The job's id unless the call has one; None: a new one.

    Raises:
        InvalidOption: the call would expire before it is due, is a broadcast that is to wait, or its queue has the
            name of a channel.
    """
    options = call.options
    task = call.task.defaults if call.task is not None else _UNKNOWN
    job = options.id or id or new_id(now)
    due_at = options.at if options.delay is None else now + options.delay
    queue, channel = options.queue or task.queue or default_queue, None
    if routing.routes and options.queue is None:
        queue, channel = routing.destination(call.name, queue)
        if channel is not None:
            _refuse_waiting(call.name, channel, options)
    if channel is None and queue in routing.channels:
        raise InvalidOption("queue", queue, f"the name of a queue; {queue!r} is a broadcast channel")
    priority = task.priority if options.priority is None else options.priority
    header = _header(
        id=job,
        task=call.name,
        queue=queue,
        channel=channel,
        priority=routing.priority(queue, priority) if routing.queues else priority,
        enqueued_at=now,
        due_at=due_at,
        expires_at=_expiry(call.name, options, task, now, due_at),
        max_retries=options.max_retries,
        retry=options.retry,
        soft_time_limit=options.soft_time_limit,
        time_limit=options.time_limit,
        store_result=channel is None and (task.store_result if options.store_result is None else options.store_result),
        result_ttl=task.result_ttl if options.result_ttl is None else options.result_ttl,
        headers=options.headers or {},
        parent_id=None if parent is None else parent.id,
        root_id=job if parent is None else parent.root_id,
        traceparent=None if parent is None else parent.traceparent,
    )
    return _envelope(header=header, payload=call.payload)


def _refuse_waiting(name: str, channel: str, options: CallOptions) -> None:
    if options.delay or options.at is not None:
        option = "delay" if options.delay else "at"
        raise InvalidOption(
            option,
            getattr(options, option),
            f"no delay, for {name} is routed to the broadcast channel {channel!r} and goes out at once; "
            "or name a queue as well, to have it run by one worker",
        )


def _expiry(name: str, options: CallOptions, task: TaskOptions, now: float, due_at: float | None) -> float | None:
    if options.expires_at is not None:
        expires_at = options.expires_at
    else:
        span = task.expires if options.expires is None else options.expires
        if span is None:
            return None
        expires_at = now + span
    if due_at is not None and expires_at <= due_at:
        early = due_at - expires_at
        raise InvalidOption(
            "expires",
            expires_at if options.expires_at is not None else expires_at - now,
            f"a time after the one when it is due: {name} would expire {early:g} s before it may start",
        )
    return expires_at
