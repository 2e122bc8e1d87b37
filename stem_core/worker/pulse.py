"""The pulse thread: what must go on while the worker's own loop is blocked.

One thread with its own loop and its own session. It renews leases, writes heartbeats and progress, reads revocations,
watches the worker's loop, receives the signals of the operating system, and is the last resort of a stop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Self

from stem_core.errors import StoreError
from stem_core.model import HEARTBEATS, Release, Settlement
from stem_core.wire import encode_heartbeat
from stem_core.worker.cancellation import kill
from stem_core.worker.inflight import GONE
from stem_core.worker.leases import Leases
from stem_core.worker.os_signals import listen
from stem_core.worker.progress import ProgressWriter

if TYPE_CHECKING:
    from stem_core.client.session import Session
    from stem_core.worker.view import WorkerView

logger = logging.getLogger("stem_core.worker")

#: Seconds between two looks at the worker's loop, at deadlines and at progress: progress is written at most twice
#: a second.
TICK = 0.5
#: The same while stopping, so that a phase begins when it is due.
STOPPING_TICK = 0.05
#: Seconds between two readings of the revocations.
REVOCATIONS_EVERY = 1.0
#: A hard stop that the worker's loop has not carried out after this many seconds is carried out from here.
LAST_RESORT = 1.0
#: A worker that has not ended so long after the beginning of its hard stop is ended, whatever holds it up, in seconds.
FINAL = 2.2


class Pulse:
    """Runs the thread while entered. It sees the worker through a :class:`WorkerView` only."""

    def __init__(
        self,
        view: WorkerView,
        open_session: Callable[[], AbstractAsyncContextManager[Session]],
        *,
        os_signals: socket.socket | None,
    ) -> None:
        self._view = view
        self._open_session = open_session
        self._os_signals = os_signals
        self._main = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._main.create_future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._leaving = False
        #: Whether the last resort was taken; what it did is not to be done at every look.
        self._resorted = False
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="stem-pulse", daemon=True)

    async def __aenter__(self) -> Self:
        """Start the thread; returns when its session is open, or raises what opening it raised."""
        self._thread.start()
        try:
            await self._ready
        except asyncio.CancelledError:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End the thread and its session."""
        # The thread looks at this once it has its event, so one of the two sees the other.
        self._leaving = True
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        # Joined without blocking the loop: the thread may be waiting for a store that does not answer.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._view.call_timeout + 1.0):
                await self._ended.wait()
                # Its last act was to say so; who counts threads after this finds none.
                self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._pulse())
        except BaseException as error:
            self._report(error)
        finally:
            self._view.post(self._ended.set)

    def _report(self, error: BaseException) -> None:
        def tell() -> None:
            if not self._ready.done():
                self._ready.set_exception(error)
            else:
                self._view.on_failure(error)

        if not self._main.is_closed():
            self._main.call_soon_threadsafe(tell)

    async def _pulse(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        if self._leaving:
            self._stop.set()
        view = self._view
        async with self._open_session() as session:
            if self._os_signals is not None:
                listen(self._loop, self._os_signals, view.machine, view.watchdog.dump)
            leases = Leases(view, session)
            progress = ProgressWriter(view, session)
            services = [
                self._supervised("lease renewal", leases.renew, lambda: view.renew_every),
                self._supervised("heartbeat", lambda: self._beat(session), lambda: view.heartbeat_interval),
                self._supervised("revocations", lambda: self._reconcile(session), lambda: REVOCATIONS_EVERY),
                self._supervised("watch", lambda: self._watch(session, leases), self._tick),
                self._supervised("progress", progress.flush, lambda: TICK),
            ]
            tasks = [asyncio.create_task(service) for service in services]
            self._main.call_soon_threadsafe(_resolve, self._ready)
            await self._stop.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _supervised(self, name: str, step: Callable[[], Awaitable[None]], interval: Callable[[], float]) -> None:
        """Repeat one duty for ever: an error in it is told once and never ends it, nor another."""
        failing = False
        while True:
            try:
                await step()
                if failing:
                    logger.info("%s works again", name)
                failing = False
            except StoreError as error:
                if not failing:
                    logger.warning("%s fails, trying on: %s", name, error.message)
                failing = True
            except Exception:
                logger.exception("%s failed, trying on", name)
                failing = True
            if name == "lease renewal":
                self._view.renewal_failing = failing
            await asyncio.sleep(min(1.0, interval()) if failing else interval())

    def _tick(self) -> float:
        return STOPPING_TICK if self._view.machine.stopping else TICK

    async def _beat(self, session: Session) -> None:
        view = self._view
        heartbeat = view.heartbeat()
        ttl = heartbeat.interval * 3
        put = session.state.put(HEARTBEATS, heartbeat.worker, encode_heartbeat(heartbeat), ttl=ttl)
        await session.deadline("state store: heartbeat", put)
        view.post(view.on_heartbeat, heartbeat)

    async def _reconcile(self, session: Session) -> None:
        view = self._view
        revoked = await session.deadline("state store: revocations", view.revocations.refresh(session.state))
        if not revoked:
            return
        ids = set(revoked)
        # A job and copies of broadcasts may have the same id.
        for entry in view.inflight.snapshot():
            if entry.delivery.message.id in ids:
                view.interrupt(entry, "revoked", view.revocations.reason(entry.delivery.message.id))

    async def _watch(self, session: Session, leases: Leases) -> None:
        view = self._view
        view.machine.advance()
        leases.fence()
        view.watchdog.look()
        hard_at = view.machine.hard_at
        if view.machine.phase == "hard" and hard_at is not None:
            late, stalled = view.clock.monotonic() - hard_at, view.watchdog.stalled_for
            if late > LAST_RESORT and stalled > LAST_RESORT:
                await self._last_resort(session, 4, f"the worker's loop has been blocked for {stalled:.1f} s")
            elif late > FINAL:
                await self._last_resort(session, 4, f"the worker has not ended {late:.1f} s after its hard stop began")
        elif view.watchdog.stalled_for > view.wedge_timeout:
            stalled = view.watchdog.stalled_for
            await self._last_resort(session, 1, f"the worker's loop has been blocked for {stalled:.1f} s", charge=True)

    async def _last_resort(self, session: Session, exit_code: int, why: str, *, charge: bool = False) -> None:
        """The worker does not end by itself: give back all that is held, and end the process if it is ours to end."""
        if self._resorted:
            return
        self._resorted = True
        view = self._view
        held = [entry for entry in view.inflight.snapshot() if entry.stage is not GONE]
        for entry in held:
            kill(entry, "shutdown")
        settlements = [
            Settlement(receipt=entry.delivery.receipt, action=Release(charge=charge and entry.started))
            for entry in held
            if entry.leased
        ]
        if settlements:
            try:
                await session.deadline("broker: settle", session.broker.settle(settlements), seconds=LAST_RESORT)
            except StoreError as error:
                logger.error("could not hand back %d deliveries; their leases will end: %s", len(held), error.message)
        logger.critical(
            "%s; handed back %d deliveries%s",
            why,
            len(held),
            f", exiting with {exit_code}" if view.owns_process else "",
        )
        if view.owns_process:
            logging.shutdown()
            os._exit(exit_code)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
