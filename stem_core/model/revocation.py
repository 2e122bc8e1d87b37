"""A durable "do not run, or stop, this id"."""

from __future__ import annotations

from stem_core.model._value import value

#: The collection of the state store that holds revocations, keyed by task id.
REVOCATIONS = "revocations"


@value
class Revocation:
    """Do not run this id; stop it where it runs."""

    id: str
    #: Seconds since the epoch by the clock of whoever revoked it.
    revoked_at: float
    reason: str = ""
