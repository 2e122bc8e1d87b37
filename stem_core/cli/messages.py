"""How messages and dead letters are written: as rows with stable keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stem_core.cli import common

if TYPE_CHECKING:
    from stem_core.cli import shapes
    from stem_core.control import DeadLetterView, MessageView


def message_row(view: MessageView, *, payload: bool) -> shapes.Message:
    """A message in a queue."""
    header = view.header
    return {
        "id": view.id,
        "queue": view.queue,
        "task": None if header is None else header.task,
        "state": view.state,
        "priority": view.priority,
        "attempt": view.attempt,
        "crashes": view.crashes,
        "run": view.run,
        "at": common.moment(view.at),
        "enqueued_at": None if header is None else common.moment(header.enqueued_at),
        "expires_at": None if header is None else common.moment(header.expires_at),
        "size": view.size,
        "problem": view.problem or None,
        "payload": decoded(view.payload) if payload else None,
    }


def dead_letter_row(view: DeadLetterView) -> shapes.DeadLetter:
    """A dead letter in a list."""
    header = view.header
    return {
        "id": view.id,
        "queue": view.queue,
        "task": None if header is None else header.task,
        "reason": view.reason,
        "detail": view.detail,
        "priority": view.priority,
        "attempt": view.attempt,
        "crashes": view.crashes,
        "run": view.run,
        "enqueued_at": None if header is None else common.moment(header.enqueued_at),
        "expires_at": None if header is None else common.moment(header.expires_at),
        "died_at": common.moment(view.died_at),
        "size": view.size,
        "problem": view.problem or None,
    }


def whole_dead_letter(view: DeadLetterView, *, payload: bool) -> shapes.WholeDeadLetter:
    """All that is known of one dead letter."""
    header, error = view.header, view.error
    return {
        **dead_letter_row(view),
        "headers": None if header is None else dict(header.headers),
        "parent_id": None if header is None else header.parent_id,
        "root_id": None if header is None else header.root_id,
        "error": None
        if error is None
        else {"type": error.type, "message": error.message, "traceback": error.traceback},
        "payload": decoded(view.payload) if payload else None,
    }


def for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as tables show it: sizes with their unit, payloads as JSON text, and what cannot be read said so."""
    import json

    shown = {**row, "size": common.size(row["size"]), "task": "(unreadable)" if row["task"] is None else row["task"]}
    payload = row.get("payload")
    if payload is not None and not isinstance(payload, str):
        shown["payload"] = json.dumps(payload, ensure_ascii=False)
    return shown


def decoded(payload: bytes) -> Any:
    """The JSON inside, ``[args, kwargs]``; what is no JSON as a text."""
    import msgspec

    try:
        return msgspec.json.decode(payload)
    except (ValueError, RecursionError):
        return payload.decode(errors="backslashreplace")
