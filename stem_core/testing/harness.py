"""An app on memory stores, with a worker that runs when the test says so and a clock that the test turns."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from stem_core.client import sync
from stem_core.client.app import Stem
from stem_core.client.session import Session
from stem_core.contracts import Inspectable
from stem_core.errors import ConfigurationError
from stem_core.testing.clock import FakeClock
from stem_core.testing.enqueued import Enqueued
from stem_core.testing.recorder import SignalRecorder
from stem_core.worker import Worker

_numbers = itertools.count(1)
#: No run in a test takes longer than this, in real seconds.
PATIENCE = 10.0
#: So many runs without an end are one too many.
_ROUNDS = 10_000


class Harness:
    """Tests whole tasks: enqueue, run, let time pass, look at what came of it::

        with Harness(app) as harness:
            async with app.open():
                handle = await send_welcome.enqueue(42)
                await harness.run_until_idle()
                assert await handle.result() == "sent"

    While it is entered the app is on memory stores of its own, whatever it was configured for, and its time is
    ``clock``, which stands still until :meth:`advance` turns it: a retry in ten minutes is there at once. With
    ``async with`` the app is open too. Afterwards the app is as it was.

    Args:
        app: What to test; default one without tasks.
        clock: The time; default one that starts at a fixed moment.
        settings: Further settings by dotted key.

    Raises, when entered:
        ConfigurationError: the app is open already.
    """

    def __init__(
        self, app: Stem | None = None, *, clock: FakeClock | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.app = Stem("test") if app is None else app
        self.clock = FakeClock() if clock is None else clock
        #: Every event since the harness was entered.
        self.signals = SignalRecorder(self.app.signals)
        #: Asserts what was enqueued: ``harness.enqueued(send_welcome, 42)``.
        self.enqueued = Enqueued(self.app, self.signals)
        self._settings = dict(settings or {})
        self._stack = ExitStack()
        self._session: Any = None

    def __enter__(self) -> Self:
        self._stack.enter_context(_on_memory(self.app, self.clock, self._settings))
        self._stack.enter_context(self.signals)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    async def __aenter__(self) -> Self:
        self.__enter__()
        try:
            self._session = self.app.open()
            await self._session.__aenter__()
        except BaseException:
            self._stack.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self._session.__aexit__(None, None, None)
        finally:
            self._stack.close()

    async def run_until_idle(self, *, timeout: float = PATIENCE) -> None:
        """Run what is ready now, and what that makes ready, in all queues. Delayed jobs and retries stay.

        Raises:
            AssertionError: something still runs after ``timeout`` seconds of real time; says what.
        """
        async with self.app.open(producer=False) as session:
            for _ in range(_ROUNDS):
                depths = await session.broker.depth(await session.broker.queues())
                ready = sorted(queue for queue, depth in depths.items() if depth.ready)
                if not ready:
                    return
                await self._run(ready, timeout)
        raise AssertionError(f"the queues {', '.join(ready)} are never empty: what runs there goes on without an end")

    async def advance(self, seconds: float, *, timeout: float = PATIENCE) -> None:
        """Let time pass. What becomes due on the way, delays and retries, runs at its time.

        Raises:
            AssertionError: as :meth:`run_until_idle`.
        """
        async with self.app.open(producer=False) as session:
            end = self.clock.now() + seconds
            await self.run_until_idle(timeout=timeout)
            while (due := await self._next_due(session)) is not None and due <= end:
                self.clock.advance(max(0.0, due - self.clock.now()))
                await self.run_until_idle(timeout=timeout)
            self.clock.advance(max(0.0, end - self.clock.now()))

    async def run_until_empty(self, *, timeout: float = PATIENCE) -> None:
        """Run everything there is, however far in the future: turns the clock to each delay and retry.

        Raises:
            AssertionError: as :meth:`run_until_idle`; also when there is no end to it.
        """
        async with self.app.open(producer=False) as session:
            for _ in range(_ROUNDS):
                await self.run_until_idle(timeout=timeout)
                due = await self._next_due(session)
                if due is None:
                    return
                self.clock.advance(max(0.0, due - self.clock.now()))
        raise AssertionError("there is always something that is due later: a task that enqueues itself has no end")

    def run_until_idle_sync(self, *, timeout: float = PATIENCE) -> None:
        """As :meth:`run_until_idle`, for tests without an event loop."""
        asyncio.run(self.run_until_idle(timeout=timeout))

    def advance_sync(self, seconds: float, *, timeout: float = PATIENCE) -> None:
        """As :meth:`advance`, for tests without an event loop."""
        asyncio.run(self.advance(seconds, timeout=timeout))

    def run_until_empty_sync(self, *, timeout: float = PATIENCE) -> None:
        """As :meth:`run_until_empty`, for tests without an event loop."""
        asyncio.run(self.run_until_empty(timeout=timeout))

    async def _next_due(self, session: Session) -> float | None:
        broker = session.broker
        assert isinstance(broker, Inspectable)
        delayed = [await broker.peek(queue, "delayed", limit=1) for queue in await broker.queues()]
        return min((stored.at for page in delayed for stored in page), default=None)

    async def _run(self, queues: list[str], timeout: float) -> None:
        # A worker a run: one that lives on would see hours pass between two beats of its own heart.
        worker = Worker(self.app, clock=self.clock, command_line={"worker.queues": queues})
        running = asyncio.create_task(_to_the_end(worker.run_until_idle()))
        done, _ = await asyncio.wait([running], timeout=timeout)
        if done:
            running.result()
            return
        started = {event.id: event.task for event in self.signals.of("task-prerun")}
        for event in self.signals.of("task-postrun"):
            started.pop(event.id, None)
        worker.stop("hard", reason="the test has waited long enough")
        await asyncio.wait([running])
        what = ", ".join(sorted(set(started.values()))) or "nothing that could be seen"
        raise AssertionError(f"not idle after {timeout:g} s of real time; still running: {what}")


async def _to_the_end(run: Coroutine[Any, Any, int]) -> int:
    return await run


@contextmanager
def _on_memory(app: Stem, clock: FakeClock, settings: Mapping[str, Any]) -> Iterator[None]:
    """Let the app forget what it was configured for, and be as it was afterwards."""
    if app.is_open:
        raise ConfigurationError(
            f"the app {app.name!r} is open already, on the stores that it is configured for",
            hint="enter the harness first, and app.open() inside it",
        )
    # What synchronous code opened stays open until the process ends, here on other stores.
    sync.close()
    url = f"memory://harness-{next(_numbers)}"
    before = (app._runtime, app.clock, app._command_line)  # noqa: SLF001 - see below
    listeners = {signal.name: signal.listeners for signal in app.signals}
    # An app is configured once, on purpose, and keeps it to itself; only a test may have it otherwise for a while.
    app._runtime, app.clock, app._command_line = None, clock, dict(app._command_line)  # noqa: SLF001
    try:
        app.configure(
            {
                # The command line goes before the environment and the code.
                "broker_url": url,
                "result_backend_url": url,
                "state_url": url,
                "signals_enabled": True,
                "signals_disabled": (),
                **settings,
            }
        )
        yield
    finally:
        sync.close()
        app._runtime, app.clock, app._command_line = before  # noqa: SLF001
        for signal in app.signals:
            # The plugins will connect theirs once more when the app is configured again.
            signal._board.put(listeners[signal.name])  # noqa: SLF001
