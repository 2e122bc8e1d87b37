"""A message in the hands of one worker, and what that worker reports back."""

from __future__ import annotations

from typing import Literal

from stem_core.model._value import value
from stem_core.model.envelope import Message


@value
class Receipt:
    """The right to settle or extend one delivery; void as soon as the message is granted again.

    ``token`` is the fence: the broker compares it with the newest grant and refuses an older one.
    It holds the run, is never reused and never lowered.
    """

    id: str
    queue: str
    #: The broker's count of claims of this id, from 1; survives replay. Results are guarded by it.
    run: int
    token: str


@value
class Delivery:
    """A message handed to one worker. Times are seconds since the epoch by the store's clock."""

    message: Message
    receipt: Receipt
    #: Which try of the code this is, from 1. Rises with ``Retry`` only.
    attempt: int
    #: How often a worker was lost while it held this message.
    crashes: int
    #: When this attempt was first handed to any worker.
    first_delivered_at: float
    #: The store's time at the claim.
    now: float


@value
class Ack:
    """Finished: remove the message and keep a marker of its id for the dedupe window."""


@value
class Retry:
    """The code failed and may run again after ``delay`` seconds; the attempt is counted."""

    delay: float


@value
class Release:
    """Give the message back unfinished, runnable after ``delay`` seconds. The attempt is not counted.

    ``charge`` counts it as a crash: for a worker that lost what ran the task.
    """

    delay: float = 0.0
    charge: bool = False


@value
class DeadLetter:
    """Give the message up: keep it in the dead letters with its raw bytes, a reason and what is known."""

    #: A short word that tools group by: ``failed``, ``bad-arguments``, ``unknown-task``, ``max-crashes`` ...
    reason: str
    #: One line for people.
    detail: str = ""


Action = Ack | Retry | Release | DeadLetter

#: Acks are all the same value, so they share one object.
ACK = Ack()


@value
class Settlement:
    """One delivery and what is to become of it."""

    receipt: Receipt
    action: Action


@value
class Verdict:
    """What a store did with one settlement or extension.

    ``done``: applied, now or before by the same receipt. ``lost``: the receipt is void, nothing was changed.
    ``refused``: the store could not apply this one item; nothing was changed and ``error`` says why.
    """

    kind: Literal["done", "lost", "refused"]
    error: str = ""


DONE = Verdict(kind="done")
LOST = Verdict(kind="lost")


@value
class QueueDepth:
    """How much a queue holds, by state."""

    ready: int = 0
    delayed: int = 0
    leased: int = 0
    dead: int = 0
    #: Seconds since the oldest ready message became ready; None when nothing is ready.
    oldest_ready_age: float | None = None
