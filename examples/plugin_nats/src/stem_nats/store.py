"""The streams of one namespace: what they are called, how they are made, and reading and writing their records."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import attrs
import msgspec

from stem_core.errors import StoreError, StoreRefused
from stem_nats.failures import NAME_IN_USE, STREAM_NOT_FOUND, ApiError, NotThere, refusal
from stem_nats.link import EXPECTED, TTL, Conflict, Link, Stored, Write
from stem_nats.records import Meta, decode_meta, encode_meta
from stem_nats.servertime import ServerTime

T = TypeVar("T")

#: The header with the :class:`~stem_nats.records.Meta` of a record.
META = "Stem"
#: The server forgets later than we do: what is over is decided by the records, the server only makes room.
_SLACK = 60.0
#: What a stream of ours has to be like.
_NEEDED: dict[str, Any] = {
    "max_msgs_per_subject": 1,
    "allow_direct": True,
    "allow_msg_ttl": True,
    "num_replicas": 1,
    "retention": "limits",
    "discard": "new",
    "max_age": 0,
}


@attrs.frozen
class Record:
    """One message as it was read or written."""

    id: str
    sequence: int
    meta: Meta
    body: bytes


@attrs.frozen
class Change:
    """A record to store in the place of the one with that number; 0: where there is none."""

    id: str
    expected: int
    meta: Meta
    body: bytes


def token(name: str) -> str:
    """A name as one token of a subject: the dot would make two of it, and no name of Stem has a slash."""
    return name.replace(".", "/")


def seconds(ttl: float) -> str:
    """A time to live as the server takes it, later than asked for."""
    return str(math.ceil(max(0.0, ttl) + _SLACK))


class Stream:
    """One stream that keeps the newest record of each subject."""

    def __init__(self, link: Link, time: ServerTime, namespace: str, kind: str, depth: int) -> None:
        self.link = link
        self.time = time
        place = namespace.replace(".", "~")
        self.name = f"STEM_{place}_{kind}"
        self.prefix = f"stem.{token(namespace)}.{kind.lower()}."
        self.everything = self.prefix + ".".join("*" * depth)
        #: When it was made, as the server says; another time means another stream.
        self.created = ""

    async def ensure(self) -> None:
        """Make the stream when there is none, and read the server's clock.

        Raises:
            StoreRefused: there is a stream of this name that will not do.
        """
        sent = self.time.local()
        answer = await self.link.api(f"STREAM.INFO.{self.name}")
        if "error" in answer and answer["error"].get("err_code") == STREAM_NOT_FOUND:
            sent = self.time.local()
            config = {**_NEEDED, "name": self.name, "subjects": [self.everything], "storage": "file"}
            answer = await self.link.api(f"STREAM.CREATE.{self.name}", config)
            if "error" in answer and answer["error"].get("err_code") == NAME_IN_USE:
                sent = self.time.local()
                answer = await self.link.api(f"STREAM.INFO.{self.name}")
        if "error" in answer:
            raise refusal(api_error(answer["error"]), f"the stream {self.name}")
        config = answer["config"]
        for key, needed in _NEEDED.items():
            if config.get(key, False) != needed:
                raise StoreRefused(
                    f"the stream {self.name} has {key}={config.get(key)!r}; Stem needs {needed!r}",
                    hint="use another namespace, or set it right: nats stream edit",
                )
        self.time.sample(sent, answer["ts"])
        self.created = answer["created"]

    async def now(self) -> float:
        """Read the server's clock once more."""
        await self.ensure()
        return self.time.now()

    async def _there(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What is asked for; a stream that was deleted is made anew first."""
        try:
            return await ask()
        except NotThere:
            await self.ensure()
            return await ask()

    async def newest(self) -> int:
        """The number of the newest record; 0: there is none."""
        return await self._there(lambda: self.link.newest(self.name, self.everything))

    async def last(self, subjects: Sequence[str]) -> dict[str, Stored]:
        """The newest record of each subject; those without one are left out."""
        return await self._there(lambda: self.link.last(self.name, subjects))

    async def following(self, subjects: str, after: int) -> list[Stored]:
        """See :meth:`stem_nats.link.Link.following`."""
        return await self._there(lambda: self.link.following(self.name, subjects, after))

    async def store(self, writes: Sequence[Write]) -> list[int | Conflict | StoreError]:
        """See :meth:`stem_nats.link.Link.write`."""
        results = await self.link.write(writes)
        again = [position for position, result in enumerate(results) if isinstance(result, NotThere)]
        if again:
            await self.ensure()
            for position, result in zip(again, await self.link.write([writes[n] for n in again]), strict=True):
                results[position] = result
        return results

    def subject(self, id: str) -> str:
        """Where the record of this id lies."""
        return self.prefix + token(id)

    def id(self, subject: str) -> str:
        """The id whose record lies there."""
        return subject[len(self.prefix) :].replace("/", ".")

    async def read(self, ids: Iterable[str]) -> dict[str, Record]:
        """The records of these ids; unknown ones are left out."""
        subjects = [self.subject(id) for id in dict.fromkeys(ids)]
        if not subjects:
            return {}
        found = await self.last(subjects)
        records = [self._record(stored) for stored in found.values()]
        return {record.id: record for record in records}

    def _record(self, stored: Stored) -> Record:
        try:
            meta = decode_meta(stored.headers[META])
        except (KeyError, msgspec.DecodeError) as error:
            raise StoreError(f"{stored.subject} in {self.name} was not written by Stem: {error}") from error
        return Record(self.id(stored.subject), stored.sequence, meta, stored.body)

    async def write(self, changes: Sequence[Change]) -> list[int | Conflict | StoreError]:
        """Store each record on its condition; see :meth:`store`."""
        if not changes:
            return []
        now = self.time.now()
        writes = []
        for change in changes:
            headers = {EXPECTED: str(change.expected), META: encode_meta(change.meta)}
            ttl = change.meta.kept(now)
            if ttl is not None:
                headers[TTL] = seconds(ttl)
            writes.append(Write(subject=self.subject(change.id), body=change.body, headers=headers))
        return await self.store(writes)


def api_error(error: dict[str, Any]) -> ApiError:
    return ApiError(
        code=int(error.get("code", 0)),
        err_code=int(error.get("err_code", 0)),
        description=str(error.get("description", "")),
    )
