"""One signal: who listens, and how they are told."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Generic, TypeVar, overload

import attrs

from stem_core.errors import InvalidOption, TaskInterrupted
from stem_core.signals.events import Event

logger = logging.getLogger("stem_core.signals")

E = TypeVar("E", bound=Event)
R = TypeVar("R")

#: What may be connected: a plain or a coroutine function of the event. What it returns is ignored.
Handler = Callable[[E], object]


@attrs.frozen(eq=False)
class Listener(Generic[E]):
    """One connected handler."""

    handler: Handler[E]
    #: Who connected it: ``application``, or a plugin with its distribution.
    owner: str
    #: Pairs of field and glob; all must match.
    filters: tuple[tuple[str, str], ...]

    def wants(self, event: E) -> bool:
        """Whether the filters let the event through."""
        return all(fnmatchcase(getattr(event, field), pattern) for field, pattern in self.filters)


class Board(Generic[E]):
    """What all owners' views of one signal share."""

    __slots__ = ("_listeners", "active", "enabled", "errors")

    def __init__(self, errors: Counter[str]) -> None:
        self._listeners: tuple[Listener[E], ...] = ()
        self.enabled = True
        self.errors = errors
        #: The listeners to be told; empty while the signal is disabled. Replaced as a whole, never changed in
        #: place, so that sending and connecting may cross.
        self.active: tuple[Listener[E], ...] = ()

    @property
    def listeners(self) -> tuple[Listener[E], ...]:
        """All that are connected, in order."""
        return self._listeners

    def put(self, listeners: tuple[Listener[E], ...]) -> None:
        """Replace the listeners."""
        self._listeners = listeners
        self.active = listeners if self.enabled else ()

    def enable(self, enabled: bool) -> None:
        """A disabled board keeps its listeners and tells them nothing."""
        self.enabled = enabled
        self.active = self._listeners if enabled else ()


class Signal(Generic[E]):
    """One kind of event, as one owner sees it. Falsy while nobody listens, so that the event need not be built::

    if signals.task_prerun:
        await signals.task_prerun.send(TaskPrerunEvent(...))
    """

    __slots__ = ("_board", "event", "owner")

    def __init__(self, event: type[E], board: Board[E], owner: str) -> None:
        self.event = event
        self.owner = owner
        self._board = board

    @property
    def name(self) -> str:
        """The name in settings and logs: ``task-failed``."""
        return self.event.event_name

    @property
    def listeners(self) -> tuple[Listener[E], ...]:
        """All that are connected, of every owner, in order of connection."""
        return self._board.listeners

    def __bool__(self) -> bool:
        return self._board.active != ()

    def __repr__(self) -> str:
        return f"<Signal {self.name}: {len(self.listeners)} listening>"

    @overload
    def connect(
        self,
        handler: Callable[[E], R],
        *,
        task: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
    ) -> Callable[[E], R]: ...

    @overload
    def connect(
        self, handler: None = None, *, task: str | None = None, queue: str | None = None, worker: str | None = None
    ) -> Callable[[Callable[[E], R]], Callable[[E], R]]: ...

    def connect(
        self,
        handler: Callable[[E], R] | None = None,
        *,
        task: str | None = None,
        queue: str | None = None,
        worker: str | None = None,
    ) -> Callable[[E], R] | Callable[[Callable[[E], R]], Callable[[E], R]]:
        """Tell ``handler(event)`` of every event whose fields match the globs (``task="emails.*"``; case matters).

        Works as a call and as a decorator, with or without parentheses; gives back the handler as it is. A handler is
        a plain or a coroutine function and is held until :meth:`disconnect`. Connected twice, it is told twice.

        Raises:
            InvalidOption: the handler cannot be called, or this event has no such field to filter by.
        """
        filters = self._filters({"task": task, "queue": queue, "worker": worker})

        def attach(function: Callable[[E], R]) -> Callable[[E], R]:
            if not callable(function):
                raise InvalidOption("handler", function, "a function that takes the event")
            listener = Listener(handler=function, owner=self.owner, filters=filters)
            self._board.put((*self._board.listeners, listener))
            return function

        return attach if handler is None else attach(handler)

    def disconnect(self, handler: Callable[[E], object]) -> bool:
        """Tell ``handler`` nothing more, whoever connected it; whether it was connected."""
        kept = tuple(listener for listener in self._board.listeners if listener.handler != handler)
        found = len(kept) != len(self._board.listeners)
        self._board.put(kept)
        return found

    async def send(self, event: E) -> None:
        """Tell all listeners, one after the other in order of connection, awaiting the asynchronous ones.

        What a handler raises is logged with its owner, counted in ``signals.errors`` and not raised. Only the
        cancellation of the sender itself gets through.
        """
        for listener in self._board.active:
            try:
                if listener.filters and not listener.wants(event):
                    continue
                answer = listener.handler(event)
                if inspect.isawaitable(answer):
                    await answer
            except (Exception, TaskInterrupted) as error:
                self._note(listener, error)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._note(listener, error)

    def _filters(self, wanted: dict[str, str | None]) -> tuple[tuple[str, str], ...]:
        given = tuple((field, pattern) for field, pattern in wanted.items() if pattern is not None)
        for field, pattern in given:
            if not hasattr(self.event, field):
                usable = [name for name in wanted if hasattr(self.event, name)]
                raise InvalidOption(field, pattern, f"a filter that {self.name} has: {' or '.join(usable)}")
            if not isinstance(pattern, str):
                raise InvalidOption(field, pattern, "a glob as text, such as 'emails.*'")
        return given

    def _note(self, listener: Listener[E], error: BaseException) -> None:
        self._board.errors[self.name] += 1
        handler = getattr(listener.handler, "__qualname__", None) or repr(listener.handler)
        logger.error(
            "the handler %s of %s raised at %s: %s: %s",
            handler,
            listener.owner,
            self.name,
            type(error).__name__,
            error,
            exc_info=error,
        )
