"""Talking to JetStream in batches: many requests on their way at once, one wait for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from stem_core.errors import StoreError, StoreRefused, StoreUnavailable
from stem_nats.failures import CONFLICT, ApiError, no_jetstream, refusal, silence, translate, unexpected

logger = logging.getLogger("stem_nats")

#: How many requests, and how many bytes of them, are on their way at most; a stream takes no more than 10,000.
_WINDOW, _WINDOW_BYTES = 1_000, 8 * 2**20
#: The most subjects that one read may name.
_SUBJECTS = 1_000

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
TTL = "Nats-TTL"


class Conflict:
    """Of a conditional write: somebody else wrote first, and nothing was changed."""


CONFLICTED = Conflict()


@attrs.frozen(kw_only=True)
class Write:
    """One record to store."""

    subject: str
    body: bytes
    headers: dict[str, str]


@attrs.frozen(kw_only=True)
class Stored:
    """One record as it was read."""

    subject: str
    sequence: int
    headers: dict[str, str]
    body: bytes


class _Ack(msgspec.Struct):
    seq: int = 0
    error: ApiError | None = None


_read_ack = msgspec.json.Decoder(_Ack).decode


class Link:
    """One connection and the answers that are awaited on it. Belongs to its event loop."""

    def __init__(self, client: Client, timeout: float) -> None:
        self.client = client
        self.timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._inbox = client.new_inbox()
        self._numbers = 0
        self._waiting: dict[str, Callable[[Msg | StoreError], None]] = {}

    async def start(self) -> None:
        """Listen for answers."""
        await self.client.subscribe(f"{self._inbox}.*", cb=self._on_answer)

    async def _on_answer(self, message: Msg) -> None:
        handler = self._waiting.get(message.subject)
        if handler is not None:
            handler(message)

    def drop_all(self, why: str) -> None:
        """The connection is lost: nobody will answer what was asked on it."""
        handlers, self._waiting = list(self._waiting.values()), {}
        for handler in handlers:
            handler(StoreUnavailable(why))

    def _expect(self, handler: Callable[[Msg | StoreError], None]) -> str:
        self._numbers += 1
        reply = f"{self._inbox}.{self._numbers}"
        self._waiting[reply] = handler
        return reply

    async def _send(self, subject: str, body: bytes, reply: str, headers: dict[str, str] | None, what: str) -> None:
        try:
            if not self.client.is_connected:
                raise StoreUnavailable(f"NATS cannot be reached for {what}: not connected")
            if len(body) + _size(headers) > self.client.max_payload:
                # The server would not refuse it: it would close the connection, and so every time it is tried again.
                raise nats.errors.MaxPayloadError
            await self.client.publish(subject, body, reply=reply, headers=headers)
        except Exception as error:
            # Whatever the client library raises, here it means that nothing was sent.
            raise translate(error, what) from error

    async def api(self, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call of the JetStream API: its answer, errors included.

        Raises:
            StoreUnavailable: no answer.
        """
        answer: asyncio.Future[Msg | StoreError] = self._loop.create_future()
        reply = self._expect(lambda message: None if answer.done() else answer.set_result(message))
        try:
            async with asyncio.timeout(self.timeout):
                await self._send(f"$JS.API.{call}", msgspec.json.encode(body) if body else b"", reply, None, call)
                message = await answer
        except TimeoutError:
            raise silence(self.timeout, call) from None
        finally:
            self._waiting.pop(reply, None)
        if isinstance(message, StoreError):
            raise message
        if not message.data:
            raise no_jetstream(call)
        content = msgspec.json.decode(message.data)
        if not isinstance(content, dict):
            raise unexpected(content, call)
        return content

    async def write(self, writes: Sequence[Write]) -> list[int | Conflict | StoreError]:
        """Store each record, in order: its number in the stream, a conflict, or why it could not be stored.

        After a ``StoreUnavailable`` nobody knows whether it was stored.
        """
        results: list[int | Conflict | StoreError] = []
        start = size = 0
        for position, write in enumerate(writes):
            size += len(write.body)
            if position > start and (position - start >= _WINDOW or size > _WINDOW_BYTES):
                results += await self._write(writes[start:position])
                start, size = position, len(write.body)
        if start < len(writes):
            results += await self._write(writes[start:])
        return results

    async def _write(self, writes: Sequence[Write]) -> list[int | Conflict | StoreError]:
        results: list[int | Conflict | StoreError | None] = [None] * len(writes)
        replies: list[str] = []
        open_answers = len(writes)
        done = asyncio.Event()

        def settle(position: int, result: int | Conflict | StoreError) -> None:
            nonlocal open_answers
            if results[position] is None:
                results[position] = result
                open_answers -= 1
                if not open_answers:
                    done.set()

        def expect(position: int) -> str:
            return self._expect(lambda message: settle(position, _outcome(message, "a write")))

        try:
            async with asyncio.timeout(self.timeout):
                for position, write in enumerate(writes):
                    replies.append(expect(position))
                    try:
                        await self._send(write.subject, write.body, replies[-1], write.headers, "a write")
                    except StoreError as error:
                        settle(position, error)
                await done.wait()
        except TimeoutError:
            pass
        finally:
            for reply in replies:
                self._waiting.pop(reply, None)
        return [silence(self.timeout, "a write") if result is None else result for result in results]

    async def last(self, stream: str, subjects: Sequence[str]) -> dict[str, Stored]:
        """The newest record of each subject; those without one are left out."""
        found: dict[str, Stored] = {}
        for start in range(0, len(subjects), _SUBJECTS):
            portion = list(subjects[start : start + _SUBJECTS])
            while portion:
                records, left = await self._read(stream, {"multi_last": portion})
                found.update((record.subject, record) for record in records)
                # One answer has a limit of bytes: ask again for what is missing.
                portion = [subject for subject in portion if subject not in found] if left and records else []
        return found

    async def newest(self, stream: str, subjects: str) -> int:
        """The number of the newest record in the stream of all that ``subjects``, a pattern, covers; 0: there is
        none."""
        records, _ = await self._read(stream, {"last_by_subj": subjects})
        return records[0].sequence if records else 0

    async def following(self, stream: str, subjects: str, after: int) -> list[Stored]:
        """All records that ``subjects``, a pattern, covers and that were stored after the one with that number."""
        records: list[Stored] = []
        left = 1
        while left:
            page, left = await self._read(stream, {"seq": after + 1, "next_by_subj": subjects, "batch": _SUBJECTS})
            if not page:
                break
            records += page
            after = page[-1].sequence
        return records

    async def _read(self, stream: str, request: dict[str, Any]) -> tuple[list[Stored], int]:
        """The records of one answer, and how many more there are."""
        single = "last_by_subj" in request
        records: list[Stored] = []
        end: asyncio.Future[StoreError | int] = self._loop.create_future()

        def on_answer(message: Msg | StoreError) -> None:
            if end.done():
                return
            if isinstance(message, StoreError):
                end.set_result(message)
                return
            headers = message.headers or {}
            status = headers.get("Status", "")
            if status in {"204", "404"}:
                end.set_result(int(headers.get("Nats-Num-Pending", 0)))
            elif status:
                end.set_result(no_jetstream("a read") if status == "503" else unexpected(headers, "a read"))
            else:
                records.append(_stored(message, headers))
                if single:
                    end.set_result(0)

        reply = self._expect(on_answer)
        try:
            async with asyncio.timeout(self.timeout):
                await self._send(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(request), reply, None, "a read")
                left = await end
        except TimeoutError:
            raise silence(self.timeout, "a read") from None
        finally:
            self._waiting.pop(reply, None)
        if isinstance(left, StoreError):
            raise left
        return records, left


def _size(headers: dict[str, str] | None) -> int:
    return sum(len(name) + len(value.encode()) + 4 for name, value in headers.items()) + 16 if headers else 0


def _stored(message: Msg, headers: dict[str, str]) -> Stored:
    return Stored(
        subject=headers["Nats-Subject"],
        sequence=int(headers["Nats-Sequence"]),
        headers=headers,
        body=message.data,
    )


def _outcome(message: Msg | StoreError, what: str) -> int | Conflict | StoreError:
    if isinstance(message, StoreError):
        return message
    if not message.data:
        return no_jetstream(what)
    ack = _read_ack(message.data)
    if ack.error is None:
        return ack.seq
    return CONFLICTED if ack.error.err_code == CONFLICT else refusal(ack.error, what)


def raise_first(results: Iterable[object]) -> None:
    """Raise the first error among the results: one that may go away before one that will not."""
    errors = [result for result in results if isinstance(result, StoreError)]
    for error in errors:
        if not isinstance(error, StoreRefused):
            raise error
    if errors:
        raise errors[0]
