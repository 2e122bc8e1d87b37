"""From calls to messages in the broker, and to the handles of who made the calls."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from stem_core.client.portions import CHUNK, one_ahead
from stem_core.client.publisher import build_envelope
from stem_core.client.results import TaskHandle
from stem_core.errors import InvalidOption
from stem_core.model import Envelope, Message, constructor, new_id, new_ids
from stem_core.tasks import CallOptions, TaskCall, TaskContext, TaskOptions, current
from stem_core.wire import Pattern, seal, unseal

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.client.session import Session

R = TypeVar("R")

_message = constructor(Message)
#: By the name in the call, which may be a former one of the task: the options of the last call and of its task, and
#: the pattern of calls with these very options.
_Patterns = dict[str, tuple[CallOptions, TaskOptions, Pattern]]


class Submitter:
    """Enqueues the calls of one app.

    Where nobody looks at the envelopes on their way (:meth:`Session.watched`), none is made: the message of a call that
    differs from one before in id, time and arguments alone is made by a :class:`Pattern`.
    """

    def __init__(self, app: Stem) -> None:
        self.app = app
        #: Of calls outside of other tasks that do not expire: those of another time differ in nothing else.
        self._patterns: _Patterns = {}

    async def one(self, call: TaskCall[R]) -> TaskHandle[R]:
        """As :meth:`Stem.submit`."""
        app = self.app
        session = app.session
        now, parent = app.clock.now(), current.get()
        if session.watched():
            sent = await session.publish((self.build(call, now, parent),), composed=True)
            return self.handle_of(sent[0])
        known: _Patterns = self._patterns if parent is None else {}
        pattern = self.known_pattern(call, known)
        if pattern is None:
            pattern, message = self.new_pattern(call, now, parent, known)
        else:
            message = pattern.message(new_id(now), now, call.payload)
        header = pattern.header
        session.check_size(header.task, len(message.header) + len(message.payload))
        await session.send((message,))
        return TaskHandle(message.id, header.task, app, header, now)

    async def many(self, calls: Iterable[TaskCall[Any]]) -> list[TaskHandle[Any]]:
        """As :meth:`Stem.enqueue_many`."""
        app = self.app
        session = app.session
        now, parent = app.clock.now(), current.get()
        envelopes: list[Envelope] = []
        if session.watched():
            new = new_ids(now)
            for call in calls:
                envelopes.append(self.build(call, now, parent, next(new)))
                if len(envelopes) % CHUNK == 0:
                    # Others on the loop get their turn in between.
                    await asyncio.sleep(0)
            return [self.handle_of(envelope) for envelope in await session.publish(envelopes, composed=True)]
        taken = _Taken(self, now, parent)
        await taken.take(calls, session)
        if session.watched():
            # By a handler that was connected while the calls were taken.
            for messages in taken.portions():
                envelopes += [unseal(message) for message in messages]
                await asyncio.sleep(0)
            await session.publish(envelopes, composed=True)
        elif len(taken) <= CHUNK:
            for messages in taken.portions():
                await session.send(messages)
        else:
            await one_ahead(session.send(messages) for messages in taken.portions())
        return taken.handles

    def build(self, call: TaskCall[Any], now: float, parent: TaskContext | None, id: str | None = None) -> Envelope:
        """As :func:`build_envelope`, by the settings of the app."""
        app = self.app
        _require_call(call)
        if call.host is not app:
            raise InvalidOption("call", call.name, f"a call of a task of the app {app.name!r}; this is another app's")
        settings = app.runtime.settings.app
        queue, routing = settings.default_queue, settings.routing_config
        return build_envelope(call, now=now, default_queue=queue, routing=routing, parent=parent, id=id)

    def handle_of(self, envelope: Envelope) -> TaskHandle[Any]:
        """The handle of what was sent, or will be."""
        header = envelope.header
        return TaskHandle(header.id, header.task, self.app, header, header.enqueued_at)

    def known_pattern(self, call: TaskCall[Any], known: _Patterns) -> Pattern | None:
        """The pattern of the call's message, if there was one like it."""
        try:
            last = known.get(call.name)
        except AttributeError:
            # It is no call, which is told where one is looked at closely.
            return None
        if last is None or last[0] is not call.options or call.host is not self.app:
            return None
        return last[2] if call.task is not None and last[1] is call.task.defaults else None

    def new_pattern(
        self, call: TaskCall[Any], now: float, parent: TaskContext | None, known: _Patterns, id: str | None = None
    ) -> tuple[Pattern, Message]:
        """The pattern of the call's message, and the message itself, which has to be made to know; ``id`` is for a call
        that has none of its own.

        ``known`` are those of calls by the same parent, and made at the same time unless they are the lasting ones.
        """
        envelope = self.build(call, now, parent, id)
        header = envelope.header
        message = seal(envelope, now=now, composed=True)
        pattern = Pattern(header, message.header)
        # No other message is like one with an id of its own, or one that is to wait.
        alone = header.due_at is not None or call.options.id is not None
        if not (call.task is None or alone or (known is self._patterns and header.expires_at is not None)):
            known[call.name] = call.options, call.task.defaults, pattern
        return pattern, message


class _Taken:
    """The calls of one ``enqueue_many``. First they are taken, which finds out all that is wrong with any of them; then
    their messages are made a portion at a time, while the broker stores those before."""

    def __init__(self, submitter: Submitter, now: float, parent: TaskContext | None) -> None:
        self._submitter = submitter
        self._now = now
        self._parent = parent
        self._patterns: list[Pattern] = []
        self._payloads: list[bytes] = []
        #: Others on the loop make ids as well, between those of these calls.
        self._new = new_ids(now)
        #: The ids of the first so many, in their order; the others get theirs when they are made.
        self._ids: list[str] = []
        #: Messages that had to be made to know their patterns, by their places.
        self._sealed: dict[int, Message] = {}
        #: Of the messages that were made.
        self.handles: list[TaskHandle[Any]] = []

    def __len__(self) -> int:
        return len(self._patterns)

    async def take(self, calls: Iterable[TaskCall[Any]], session: Session) -> None:
        """Raises as :meth:`Stem.enqueue_many`."""
        submitter, patterns, payloads, ids = self._submitter, self._patterns, self._payloads, self._ids
        largest, new = session.largest, self._new
        known: _Patterns = {}
        for call in calls:
            pattern = submitter.known_pattern(call, known)
            if pattern is None:
                ids += itertools.islice(new, len(patterns) - len(ids))
                pattern, message = submitter.new_pattern(call, self._now, self._parent, known, next(new))
                self._sealed[len(ids)] = message
                ids.append(message.id)
            if (size := pattern.size + len(call.payload)) > largest:
                session.check_size(call.name, size)
            patterns.append(pattern)
            payloads.append(call.payload)
            if len(patterns) % CHUNK == 0:
                # Others on the loop get their turn in between.
                await asyncio.sleep(0)

    def portions(self) -> Iterator[list[Message]]:
        """At most :data:`CHUNK` messages each."""
        for start in range(0, len(self._patterns), CHUNK):
            yield self._make(range(start, min(start + CHUNK, len(self._patterns))))

    def _make(self, places: range) -> list[Message]:
        patterns, payloads, ids, new, now = self._patterns, self._payloads, self._ids, self._new, self._now
        app, handles, messages = self._submitter.app, self.handles, []
        sending = app.clock.now()
        for place in places:
            pattern = patterns[place]
            header = pattern.header
            message = self._sealed.get(place)
            if message is None:
                id = ids[place] if place < len(ids) else next(new)
                message = pattern.message(id, now, payloads[place])
            elif header.due_at is not None:
                # It was sealed when the call was taken, which may be a while ago.
                message = _delayed(message, header.due_at - sending)
            messages.append(message)
            handles.append(TaskHandle(message.id, header.task, app, header, now))
        return messages


def _require_call(given: object) -> None:
    if not isinstance(given, TaskCall):
        if asyncio.iscoroutine(given):
            # Else Python complains as well that nobody has awaited it.
            given.close()
        raise InvalidOption("call", given, "what task.call(...) or app.call(...) makes")


def _delayed(message: Message, delay: float) -> Message:
    return _message(
        id=message.id,
        queue=message.queue,
        priority=message.priority,
        delay=max(0.0, delay),
        header=message.header,
        payload=message.payload,
    )
