"""Replacements of worn children: each is ready before the one that it replaces goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stem_core.builtin.strategies.processes.backoff import backoff

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from stem_core.builtin.strategies.processes.handle import Child


class Heirs:
    """Starts them. After one that failed there is a pause, which grows, and then a look at what is idle: the call after
    which a worn child would be looked at again may be long in coming."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, children: AbstractSet[Child], spawn: Callable[[], Child | None]
    ) -> None:
        self._loop = loop
        self._children = children
        self._spawn = spawn
        #: How many failed in a row. A call that ends in a worn child says nothing about them.
        self._failures = 0
        #: Runs during the pause after a failure.
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    def replace(self, child: Child) -> None:
        """Start one for this child, unless there is one, or it is the time of a pause; until it is ready, the worn one
        goes on."""
        if child.heir is not None or child.leaving or self._pause is not None or self._closed:
            return
        child.heir = self._spawn()
        if child.heir is None:
            self._failed()

    def ready(self, heir: Child) -> Child | None:
        """A child is ready; returns the one that it replaces."""
        old = self._replaced_by(heir)
        if old is not None:
            self._failures = 0
        return old

    def ended(self, heir: Child) -> None:
        """A child is gone; when it was to replace another, that one needs another one."""
        old = self._replaced_by(heir)
        if old is not None:
            old.heir = None
            if not heir.ready:
                self._failed()

    def close(self) -> None:
        """Replace no more."""
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()

    def _replaced_by(self, heir: Child) -> Child | None:
        return next((child for child in self._children if child.heir is heir), None)

    def _failed(self) -> None:
        self._failures += 1
        if self._pause is not None:
            self._pause.cancel()
        if not self._closed:
            self._pause = self._loop.call_later(backoff(self._failures), self._look)

    def _look(self) -> None:
        self._pause = None
        for child in list(self._children):
            if child.ready and child.job is None and child.worn:
                self.replace(child)
