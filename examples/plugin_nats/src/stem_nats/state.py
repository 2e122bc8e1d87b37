"""The state store of ``nats://``: one record of the stream for each, whose number in the stream is its version."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stem_core.contracts import Record, StateStore, TellsTime
from stem_core.errors import StoreError, VersionConflict
from stem_nats.link import EXPECTED, TTL, Conflict, Stored, Write
from stem_nats.store import Stream, seconds, token

#: The header that says until when a record is good; none: for ever.
_UNTIL = "Stem-Until"
#: How long the server keeps a record that was deleted, in seconds; readers need not see it.
_GRAVE = 3600.0


class NatsState(TellsTime, StateStore):
    """One session on the records of one namespace."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def now(self) -> float:
        """The server's clock, to half a round trip."""
        return await self._stream.now()

    def _subject(self, collection: str, key: str) -> str:
        return f"{self._stream.prefix}{token(collection)}.{token(key)}"

    def _alive(self, stored: Stored | None) -> Record | None:
        if stored is None or float(stored.headers.get(_UNTIL, math.inf)) <= self._stream.time.passed():
            return None
        key = stored.subject.rpartition(".")[2].replace("/", ".")
        return Record(key=key, value=stored.body, version=stored.sequence)

    async def _read(self, subject: str) -> Stored | None:
        return (await self._stream.last([subject])).get(subject)

    async def put(
        self, collection: str, key: str, value: bytes, *, ttl: float | None = None, if_version: int | None = None
    ) -> int:
        """One round trip; with ``if_version`` one or two more."""
        subject = self._subject(collection, key)
        headers: dict[str, str] = {}
        if ttl is not None:
            time = self._stream.time
            headers = {_UNTIL: repr(time.now() + time.error + ttl), TTL: seconds(ttl)}
        expected = if_version
        while True:
            if if_version:
                await self._compare(collection, key, subject, if_version)
            result = await self._write(subject, value, headers, expected)
            if not isinstance(result, Conflict):
                return result
            # Either somebody else was faster, or what lies there is over and counts as none.
            assert if_version is not None
            expected = await self._compare(collection, key, subject, if_version)

    async def _compare(self, collection: str, key: str, subject: str, version: int) -> int:
        """The number of the record that is to be replaced.

        Raises:
            VersionConflict: it has another version.
        """
        stored = await self._read(subject)
        record = self._alive(stored)
        found = record.version if record is not None else 0
        if found != version:
            raise VersionConflict(collection, key, version, found)
        return stored.sequence if stored is not None else 0

    async def _write(self, subject: str, value: bytes, headers: dict[str, str], expected: int | None) -> int | Conflict:
        if expected is not None:
            headers = {**headers, EXPECTED: str(expected)}
        (result,) = await self._stream.store([Write(subject=subject, body=value, headers=headers)])
        if isinstance(result, StoreError):
            raise result
        return result

    async def get(self, collection: str, key: str) -> Record | None:
        """One round trip."""
        return self._alive(await self._read(self._subject(collection, key)))

    async def list(self, collection: str, *, since_version: int = 0) -> list[Record]:
        """One round trip for each 1,000 records."""
        pattern = f"{self._stream.prefix}{token(collection)}.*"
        found: Sequence[Stored] = await self._stream.following(pattern, since_version)
        return [record for stored in found if (record := self._alive(stored)) is not None]

    async def delete(self, collection: str, key: str) -> bool:
        """Leaves a record that is over, which the server forgets after an hour."""
        subject = self._subject(collection, key)
        while True:
            stored = await self._read(subject)
            if stored is None or self._alive(stored) is None:
                return False
            headers = {_UNTIL: "0", TTL: seconds(_GRAVE)}
            if not isinstance(await self._write(subject, b"", headers, stored.sequence), Conflict):
                return True
