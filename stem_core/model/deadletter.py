"""What is kept of a message that was given up."""

from __future__ import annotations

from stem_core.model._value import value
from stem_core.model.envelope import Message


@value
class DeadMessage:
    """One dead letter: the message as it was sealed, and why it ended here."""

    message: Message
    reason: str
    detail: str
    attempt: int
    crashes: int
    run: int
    #: When it was given up, seconds since the epoch by the store's clock.
    died_at: float
    #: The queue that it lies in; None: the one it was sealed for, as it was never moved.
    queue: str | None = None


@value
class StoredMessage:
    """One message as :class:`~stem_core.contracts.Inspectable` shows it."""

    message: Message
    #: ``ready``, ``delayed``, ``leased`` or ``dead``.
    state: str
    attempt: int
    crashes: int
    run: int
    #: ``delayed``: when it becomes ready; ``leased``: when its lease ends; else when it became ready or died.
    at: float
