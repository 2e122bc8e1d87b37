"""Deliveries without a broker."""

from __future__ import annotations

from typing import Any

from stem_core.model import Delivery, Envelope, Header, Message, Receipt
from stem_core.wire import seal
from stem_core.worker.inflight import Entry


def sealed(id: str = "job-1", *, task: str = "t", payload: bytes = b"[[],{}]", **header: Any) -> Message:
    """A message as a producer makes it."""
    made = Header(id=id, task=task, queue="default", enqueued_at=0.0, **header)
    return seal(Envelope(header=made, payload=payload), now=0.0)


def delivery(message: Message | None = None, *, run: int = 1, now: float = 0.0, **given: Any) -> Delivery:
    """That message in the hands of a worker; ``given`` are further fields of the delivery."""
    message = sealed() if message is None else message
    receipt = Receipt(id=message.id, queue=message.queue, run=run, token=f"token-{run}")
    facts: dict[str, Any] = {"attempt": 1, "crashes": 0, "first_delivered_at": now, "now": now, **given}
    return Delivery(message=message, receipt=receipt, **facts)


def entry(message: Message | None = None, *, claimed_at: float = 0.0, lease: float = 30.0, **given: Any) -> Entry:
    """That delivery as a worker holds it."""
    return Entry(delivery(message, **given), claimed_at, claimed_at + lease)
