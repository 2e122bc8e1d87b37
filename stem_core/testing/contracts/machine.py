"""Histories that nobody thought of: a Hypothesis state machine over a broker, with :class:`~.model.Model` as oracle.

Hypothesis makes up sequences of calls and of time that passes, compares each answer with what the model says, and
cuts a sequence that fails down to the shortest one that does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import pytest

from stem_core.clock import Clock
from stem_core.contracts import Broker, StoreContext
from stem_core.model import StoreUrl
from stem_core.plugins.runtime import Runtime
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import WINDOW, OpenedStore, StoreContract, open_in
from stem_core.testing.contracts.model import Model

T = TypeVar("T")

#: How many histories to try instead of the number in the class; they are other ones every time then.
EXAMPLES = "STEM_TEST_MACHINE_EXAMPLES"


class OpenFresh(Protocol):
    """Opens a store in a namespace; each namespace is empty at first."""

    def __call__(self, clock: Clock, namespace: str) -> AbstractAsyncContextManager[OpenedStore]: ...


class History:
    """One broker in two sessions, and the model beside it. The rules call these."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, open_fresh: OpenFresh, *, moment: float, moves_in_order: bool
    ) -> None:
        self._loop = loop
        self._moment = moment
        #: As in :class:`BrokerMachineContract`.
        self.moves_in_order = moves_in_order
        self.clock = FakeClock()
        self.model = Model(WINDOW)
        self.sessions: list[Broker] = []
        self._leave = asyncio.Event()
        opened: asyncio.Future[None] = loop.create_future()
        # One task enters and leaves: not every store can be left by another.
        self._owner = loop.create_task(self._own(open_fresh, f"history-{secrets.token_hex(6)}", opened))
        loop.run_until_complete(asyncio.wait({opened, self._owner}, return_when=asyncio.FIRST_COMPLETED))
        if self._owner.done():
            self._owner.result()

    async def _own(self, open_fresh: OpenFresh, namespace: str, opened: asyncio.Future[None]) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                store = await stack.enter_async_context(open_fresh(self.clock, namespace))
                self.sessions.append(store.broker)
            opened.set_result(None)
            await self._leave.wait()

    def ask(self, answer: Coroutine[Any, Any, T]) -> T:
        """Wait for what the broker says."""
        return self._loop.run_until_complete(answer)

    def tick(self) -> float:
        """Let a moment pass, so that no two steps happen at one time; the time."""
        self.clock.advance(self._moment)
        return self.clock.now()

    def close(self) -> None:
        """Close the sessions."""
        self._leave.set()
        self._loop.run_until_complete(self._owner)


class BrokerMachineContract(StoreContract):
    """``class TestHistories(BrokerMachineContract): url = "mine://localhost"``.

    Needs hypothesis, and a store that takes its time from the clock that it is given.
    """

    #: How many histories to try, of how many steps each.
    examples: ClassVar[int] = 100
    steps: ClassVar[int] = 50
    #: Seconds between two steps. A store that counts in whole milliseconds needs one of them that is exact as a float.
    moment: ClassVar[float] = 0.5 + 2**-20
    #: Whether what is moved to another queue stands there by the time since which it is ready; else behind what is
    #: ready there already.
    moves_in_order: ClassVar[bool] = True

    @pytest.fixture
    def open_fresh(self, stem_runtime: Runtime, store_url: str, tmp_path: Path) -> OpenFresh:
        """Opens the store of the URL in a namespace, with a clock."""

        def opener(clock: Clock, namespace: str) -> AbstractAsyncContextManager[OpenedStore]:
            url = StoreUrl.parse(store_url)
            context = StoreContext(
                url=url, namespace=namespace, clock=clock, dedupe_window=WINDOW, directory=str(tmp_path)
            )
            return open_in(stem_runtime, context)

        return opener

    def test_every_history_is_as_the_model_tells_it(self, clock: FakeClock, open_fresh: OpenFresh) -> None:
        hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
        from hypothesis.stateful import run_state_machine_as_test

        from stem_core.testing.contracts.rules import broker_machine

        wanted = os.environ.get(EXAMPLES)
        settings = hypothesis.settings(
            max_examples=int(wanted or self.examples),
            stateful_step_count=self.steps,
            deadline=None,
            derandomize=not wanted,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        loop = asyncio.new_event_loop()
        try:
            machine = broker_machine(
                lambda: History(loop, open_fresh, moment=self.moment, moves_in_order=self.moves_in_order)
            )
            run_state_machine_as_test(machine, settings=settings)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
