"""The event loop's side of an opened database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from stem_core.errors import StoreUnavailable
from stem_sqlite.connection import EngineOptions
from stem_sqlite.doorbell import Bells
from stem_sqlite.engine import Engine, Reply
from stem_sqlite.jobs import Job
from stem_sqlite.transaction import Transaction

T = TypeVar("T")
Item = TypeVar("Item")

#: A process that dies between its commit and the bells leaves others in the dark for no longer than this, in seconds.
LONGEST_WAIT = 1.0


class Attention:
    """One waiter for one kind of news."""

    __slots__ = ("_future", "_loop", "_rung")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = False
        self._future: asyncio.Future[None] | None = None

    def clear(self) -> None:
        """Forget news so far: call it before looking into the database, so that none is missed."""
        self._rung = False

    def rouse(self) -> None:
        """News has come."""
        self._rung = True
        if self._future is not None:
            _finish(self._future)

    async def wait(self, timeout: float) -> bool:
        """Return at news since :meth:`clear`, or after ``timeout`` seconds; whether there was news."""
        if not self._rung and timeout > 0:
            self._future = self._loop.create_future()
            timer = self._loop.call_later(timeout, _finish, self._future)
            try:
                await self._future
            finally:
                timer.cancel()
                self._future = None
        return self._rung


class Database:
    """One opened database of one event loop, shared by the broker, backend and state store that opened it."""

    def __init__(self, options: EngineOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._attentive: dict[str, set[Attention]] = {}
        self._bells = Bells(options.path, self._loop, self._rouse)
        self._engine = Engine(options, self._loop, self._bells, self._deliver)
        self._closed = False
        self.clock = options.clock

    async def start(self) -> None:
        """Open it; raises what :meth:`Engine.start` raises."""
        await self._engine.start()

    async def close(self) -> None:
        """Do what was asked for, then let go of everything."""
        self._closed = True
        self._bells.close()
        await self._engine.close()

    async def read(self, run: Callable[[Transaction], T]) -> T:
        """What ``run`` returns; it must not write."""
        return await self._submitted(run, writes=False)

    def reading(self, run: Callable[[Transaction], T]) -> asyncio.Future[T]:
        """As :meth:`read`, asked for at once and awaited later."""
        return self._submitted(run, writes=False)

    async def write(
        self,
        run: Callable[[Transaction], T],
        *,
        weight: int = 1,
        worth: Callable[[Transaction], bool] | None = None,
        idle: T | None = None,
    ) -> T:
        """What ``run`` returns, once that is committed together with what else is waiting.

        ``run`` is called again when the transaction had to be rolled back. ``weight`` is about the number of rows
        written. ``worth`` is asked first, without the write lock; when it says no, the answer is ``idle``.
        """
        return await self._submitted(run, writes=True, weight=weight, worth=worth, idle=idle)

    async def write_items(
        self, run: Callable[[Transaction, Sequence[Item]], T], items: Sequence[Item], *, weight: int
    ) -> T:
        """As :meth:`write`; calls that wait at the same time with an equal ``run`` make one call."""
        return await self._submitted(run, writes=True, weight=weight, items=items)

    def _submitted(
        self,
        run: Callable[..., T],
        *,
        writes: bool,
        weight: int = 1,
        worth: Callable[[Transaction], bool] | None = None,
        idle: T | None = None,
        items: Sequence[Any] | None = None,
    ) -> asyncio.Future[T]:
        if self._closed:
            raise StoreUnavailable("the database is closed", hint="use it inside the block that opened it")
        future: asyncio.Future[T] = self._loop.create_future()
        self._engine.submit(Job(future, run, writes=writes, weight=weight, worth=worth, idle=idle, items=items))
        return future

    @contextmanager
    def attention(self, kind: str) -> Iterator[Attention]:
        """Be woken by news of ``kind``, from this process or another."""
        attention = Attention(self._loop)
        attentive = self._attentive.setdefault(kind, set())
        attentive.add(attention)
        try:
            try:
                self._bells.hang(kind)
            except OSError:
                self._engine.poll()
            yield attention
        finally:
            attentive.discard(attention)

    def _rouse(self, kind: str) -> bool:
        attentive = self._attentive.get(kind)
        if not attentive:
            return False
        for attention in attentive:
            attention.rouse()
        return True

    def _deliver(self, replies: list[Reply], news: set[str]) -> None:
        for future, value, error in replies:
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        for kind in news:
            self._rouse(kind)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
