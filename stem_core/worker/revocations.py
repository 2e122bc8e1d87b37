"""Which ids are revoked, as this worker knows it: read from the state store at start, then about every second."""

from __future__ import annotations

import logging

from stem_core.clock import Clock
from stem_core.contracts import StateStore
from stem_core.errors import MessageUnreadable, StoreError
from stem_core.model import REVOCATIONS
from stem_core.wire import decode_revocation

logger = logging.getLogger("stem_core.worker")

#: A revocation is forgotten here after this many seconds; the store's own time to live is a day or longer, and a
#: message that is older than that has met it at a gate.
KEEP = 7 * 86_400.0


class Revocations:
    """The revoked ids. The pulse thread refreshes, the gate asks; a look-up is one step in a dict."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Id to what was given as the reason, and when this worker read it. The gate looks here itself: every job does.
        self.known: dict[str, tuple[str, float]] = {}
        self._version = 0

    def reason(self, id: str) -> str:
        """What was given as the reason; empty when nothing was."""
        return self.known.get(id, ("", 0.0))[0]

    async def refresh(self, state: StateStore) -> list[str]:
        """Read what is new in the store; returns the newly revoked ids.

        Raises:
            StoreError: the store could not be read; what was known stays known.
        """
        fresh: list[str] = []
        now = self._clock.now()
        for record in await state.list(REVOCATIONS, since_version=self._version):
            self._version = max(self._version, record.version)
            try:
                revocation = decode_revocation(record.value)
            except (MessageUnreadable, StoreError):
                logger.exception("revocation %s cannot be read and is passed over", record.key)
                continue
            self.known[revocation.id] = (revocation.reason, now)
            fresh.append(revocation.id)
        if fresh:
            self.known = {key: known for key, known in self.known.items() if now - known[1] < KEEP}
        return fresh
