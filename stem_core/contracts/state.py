"""What a state store must do."""

from __future__ import annotations

from abc import ABC, abstractmethod

from stem_core.model._value import value


@value
class Record:
    """One stored record. Versions rise across the whole store with every write, so a reader can ask for news."""

    key: str
    value: bytes
    version: int


class StateStore(ABC):
    """Small versioned key-value records with a time to live: revocations, heartbeats, pauses, locks.

    Belongs to the event loop that opened it.
    """

    @abstractmethod
    async def put(
        self, collection: str, key: str, value: bytes, *, ttl: float | None = None, if_version: int | None = None
    ) -> int:
        """Write a record and return its new version. ``ttl`` is in seconds, None for ever.

        ``if_version`` writes only when the record has that version now; 0 means: only when there is none.

        Raises:
            VersionConflict: ``if_version`` did not match; nothing was written.
        """

    @abstractmethod
    async def get(self, collection: str, key: str) -> Record | None:
        """The record, or None when there is none or its time is over."""

    @abstractmethod
    async def list(self, collection: str, *, since_version: int = 0) -> list[Record]:
        """All live records of the collection that were written after ``since_version``, by rising version."""

    @abstractmethod
    async def delete(self, collection: str, key: str) -> bool:
        """Remove the record; whether there was one."""
