"""What is known of jobs: the result backend first, then the broker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stem_core.contracts import Inspectable, KeepsDeadLetters
from stem_core.errors import MessageUnreadable
from stem_core.model import (
    DEFAULT_RETRY,
    REVOCATIONS,
    Header,
    RetryPolicy,
    Revocation,
    StoredMessage,
    TaskState,
    TaskStatus,
)
from stem_core.tasks import TaskOptions
from stem_core.wire import decode_header, encode_revocation

if TYPE_CHECKING:
    from stem_core.client.session import Session

DAY = 86_400.0


async def statuses(session: Session, ids: Sequence[str]) -> dict[str, TaskStatus]:
    """What backend and broker know of the jobs; ids that neither knows are left out.

    Raises:
        StoreError: one of them could not be asked.
    """
    known = await _recorded(session, ids)
    rest = [each for each in ids if each not in known]
    broker = session.broker
    if rest and isinstance(broker, Inspectable):
        found = await session.deadline("broker: find", broker.find(rest))
        # One that has left its queue meanwhile, or died in it, had its outcome written before that.
        known |= await _recorded(session, [id for id in rest if id not in found or found[id].state == "dead"])
        for id, stored in found.items():
            if id not in known:
                known[id] = await _as_status(session, stored)
    return known


async def _recorded(session: Session, ids: Sequence[str]) -> dict[str, TaskStatus]:
    if session.backend is None or not ids:
        return {}
    return await session.deadline("result backend: get", session.backend.get(ids))


async def revoke(session: Session, id: str, reason: str) -> bool:
    """Write down that the job is not to run, then take it out of its queue if it waits there.

    Returns whether it was taken out. If not, a worker has it and will be told, or it is finished; a finished job is
    left as it is.

    Raises:
        StoreError: the revocation could not be written; whether it holds is unknown, and this may be called again.
    """
    broker = session.broker
    stored: StoredMessage | None = None
    if isinstance(broker, Inspectable):
        stored = (await session.deadline("broker: find", broker.find([id]))).get(id)
        if stored is None or stored.state == "dead":
            found = (await statuses(session, [id])).get(id)
            if found is not None and found.state.terminal:
                return False
    now = session.clock.now()
    revocation = Revocation(id=id, revoked_at=now, reason=reason)
    ttl = _keep(session, stored, now)
    await session.deadline(
        "state store: put", session.state.put(REVOCATIONS, id, encode_revocation(revocation), ttl=ttl)
    )
    if stored is None or not isinstance(broker, Inspectable):
        return False
    if id not in await session.deadline("broker: remove", broker.remove([id])):
        return False
    await _record_cancelled(session, stored, now)
    return True


async def _record_cancelled(session: Session, stored: StoredMessage, now: float) -> None:
    header = _header(stored)
    if session.backend is None or header is None or not header.store_result:
        return
    status = TaskStatus(
        id=header.id,
        task=header.task,
        queue=header.queue,
        state=TaskState.CANCELLED,
        run=stored.run,
        attempt=stored.attempt if stored.run else 0,
        reason="revoked",
        enqueued_at=header.enqueued_at,
        finished_at=now,
        ttl=header.result_ttl or session.runtime.settings.app.result_ttl,
    )
    await session.deadline("result backend: record", session.backend.record([status]))


def _keep(session: Session, stored: StoredMessage | None, now: float) -> float:
    """Seconds for which a revocation has to be kept: until the job could not run any more, and a day."""
    header = None if stored is None else _header(stored)
    if header is None:
        return DAY
    task = session.app.tasks.get(header.task)
    defaults = TaskOptions() if task is None else task.defaults
    policy = header.retry or (defaults.retry if isinstance(defaults.retry, RetryPolicy) else DEFAULT_RETRY)
    retries = session.runtime.settings.app.default_max_retries
    for more in (defaults.max_retries, header.max_retries):
        retries = retries if more is None else more
    wait = max(0.0, (header.due_at or now) - now)
    return DAY + wait + policy.horizon(retries)


async def _as_status(session: Session, stored: StoredMessage) -> TaskStatus:
    message, header = stored.message, _header(stored)
    again = stored.attempt > 1
    state, reason, retry_at, finished_at = TaskState.QUEUED, None, None, None
    if stored.state == "leased":
        state = TaskState.RUNNING
    elif stored.state == "delayed":
        state, retry_at = (TaskState.RETRYING, stored.at) if again else (TaskState.SCHEDULED, None)
    elif stored.state == "dead":
        state, reason, finished_at = TaskState.FAILED, await _death(session, message.id), stored.at
    elif again:
        state, retry_at = TaskState.RETRYING, stored.at
    return TaskStatus(
        id=message.id,
        task="" if header is None else header.task,
        queue=message.queue,
        state=state,
        run=stored.run,
        attempt=stored.attempt if stored.run else 0,
        reason=reason,
        enqueued_at=None if header is None else header.enqueued_at,
        retry_at=retry_at,
        finished_at=finished_at,
    )


async def _death(session: Session, id: str) -> str:
    broker = session.broker
    if isinstance(broker, KeepsDeadLetters):
        dead = await session.deadline("broker: dead_letter", broker.dead_letter(id))
        if dead is not None:
            return dead.reason
    return "failed"


def _header(stored: StoredMessage) -> Header | None:
    """None for a message that this version cannot read: its place in the store is known all the same."""
    try:
        return decode_header(stored.message.header)
    except MessageUnreadable:
        return None
