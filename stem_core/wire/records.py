"""The records that stores keep, as bytes: statuses, heartbeats, revocations. For plugins that store them.

All are JSON objects. Fields that this version does not know are passed over, so versions can share a store.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from stem_core.errors import StoreRefused
from stem_core.model import ErrorInfo, Heartbeat, Progress, Revocation, TaskState, TaskStatus
from stem_core.wire._text import UNREADABLE, cause

T = TypeVar("T")


class _ProgressRecord(msgspec.Struct, omit_defaults=True):
    percent: float
    data: Raw | UnsetType = UNSET


class _StatusRecord(msgspec.Struct, omit_defaults=True):
    """:class:`TaskStatus` with its JSON texts as they are, where attrs would have them in base64."""

    id: str
    task: str
    queue: str
    state: TaskState
    run: int = 0
    attempt: int = 0
    result: Raw | UnsetType = UNSET
    error: ErrorInfo | None = None
    reason: str | None = None
    progress: _ProgressRecord | None = None
    worker: str | None = None
    enqueued_at: float | None = None
    started_at: float | None = None
    alive_at: float | None = None
    finished_at: float | None = None
    retry_at: float | None = None
    ttl: float = 86_400.0


_encode = msgspec.json.Encoder().encode
_status = msgspec.json.Decoder(_StatusRecord)
_heartbeat = msgspec.json.Decoder(Heartbeat)
_revocation = msgspec.json.Decoder(Revocation)


def encode_status(status: TaskStatus) -> bytes:
    """The status as a JSON object, its result and progress data as they are inside."""
    progress = status.progress
    return _encode(
        _StatusRecord(
            status.id,
            status.task,
            status.queue,
            status.state,
            status.run,
            status.attempt,
            UNSET if status.result is None else Raw(status.result),
            status.error,
            status.reason,
            None if progress is None else _ProgressRecord(progress.percent, _raw(progress.data)),
            status.worker,
            status.enqueued_at,
            status.started_at,
            status.alive_at,
            status.finished_at,
            status.retry_at,
            status.ttl,
        )
    )


def decode_status(data: bytes) -> TaskStatus:
    """What :func:`encode_status` wrote.

    Raises:
        StoreRefused: the bytes are no status.
    """
    record = _read(_status, data, "status")
    progress = record.progress
    return TaskStatus(
        id=record.id,
        task=record.task,
        queue=record.queue,
        state=record.state,
        run=record.run,
        attempt=record.attempt,
        result=_bytes(record.result),
        error=record.error,
        reason=record.reason,
        progress=None if progress is None else Progress(percent=progress.percent, data=_bytes(progress.data)),
        worker=record.worker,
        enqueued_at=record.enqueued_at,
        started_at=record.started_at,
        alive_at=record.alive_at,
        finished_at=record.finished_at,
        retry_at=record.retry_at,
        ttl=record.ttl,
    )


def encode_heartbeat(heartbeat: Heartbeat) -> bytes:
    """The heartbeat as a JSON object."""
    return _encode(heartbeat)


def decode_heartbeat(data: bytes) -> Heartbeat:
    """What :func:`encode_heartbeat` wrote.

    Raises:
        StoreRefused: the bytes are no heartbeat.
    """
    return _read(_heartbeat, data, "heartbeat")


def encode_revocation(revocation: Revocation) -> bytes:
    """The revocation as a JSON object."""
    return _encode(revocation)


def decode_revocation(data: bytes) -> Revocation:
    """What :func:`encode_revocation` wrote.

    Raises:
        StoreRefused: the bytes are no revocation.
    """
    return _read(_revocation, data, "revocation")


def _read(decoder: msgspec.json.Decoder[T], data: bytes, what: str) -> T:
    try:
        return decoder.decode(data)
    except UNREADABLE as error:
        raise StoreRefused(
            f"a stored {what} is unreadable: {cause(error)}",
            hint="another program writes under this namespace, or a newer Stem; give each its own namespace",
        ) from error


def _raw(data: bytes | None) -> Any:
    return UNSET if data is None else Raw(data)


def _bytes(raw: Raw | UnsetType) -> bytes | None:
    return None if raw is UNSET else bytes(raw)
