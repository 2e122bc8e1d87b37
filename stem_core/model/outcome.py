"""What came of a delivery inside a worker. The settler turns each into a settlement, a status and signals."""

from __future__ import annotations

from stem_core.model._value import value
from stem_core.model.status import ErrorInfo


@value
class Succeeded:
    """The function returned."""

    #: The encoded return value, JSON text.
    result: bytes


@value
class Failed:
    """Given up: no retry is left, or the error is one that is never retried."""

    reason: str
    error: ErrorInfo


@value
class Retried:
    """Failed, and to be tried again after ``delay`` seconds."""

    reason: str
    error: ErrorInfo
    delay: float


@value
class Cancelled:
    """Not to run, or stopped: ``revoked`` or ``expired``."""

    reason: str
    detail: str = ""


@value
class Rejected:
    """Refused by the gate and quarantined: unreadable, too large, forged, unknown for too long, too many crashes."""

    reason: str
    detail: str
    #: Whether the header could be read and trusted, so that a status of the claimed id may be written.
    readable: bool = True


@value
class HandedBack:
    """Not finished here; another worker may have it after ``delay`` seconds. Never counted as an attempt."""

    reason: str
    delay: float = 0.0
    detail: str = ""
    #: Whether it counts as a crash: the process that ran the task was lost.
    charge: bool = False
    #: With what the lost process ended; None when a signal ended it, or nobody knows.
    exit_status: int | None = None
    #: The number of the signal that ended it; None when it ended by itself, or nobody knows.
    signal: int | None = None
    #: The most resident memory that it had, in bytes; 0: nobody knows.
    peak_rss: int = 0


Outcome = Succeeded | Failed | Retried | Cancelled | Rejected | HandedBack
