"""An app on memory stores that the test can look into, without plugins and settings files."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from typing import Any

import attrs

from stem_core.builtin import memory_backend, memory_broker, memory_state
from stem_core.client.app import Stem
from stem_core.clock import Clock
from stem_core.contracts import StoreContext
from stem_core.model import StoreUrl
from stem_core.settings.schema import AppSettings, WorkerSettings

_numbers = itertools.count()


@attrs.define
class FakeSettings:
    """What sessions read of the settings."""

    app: AppSettings
    worker: WorkerSettings


@attrs.define
class FakeUrls:
    """What sessions read of the URLs."""

    broker: StoreUrl
    backend: StoreUrl | None
    state: StoreUrl
    default_used: bool = False


class FakeRuntime:
    """Stands for :class:`stem_core.plugins.runtime.Runtime`: opens memory stores and writes down when.

    ``events`` lists ``+broker``, ``-broker`` and so on; ``fail[name]`` is raised by the opener, ``gate[name]`` and
    ``gate[f"-{name}"]`` are awaited before it opens and closes.
    """

    def __init__(self, clock: Clock, app: AppSettings | None = None, worker: WorkerSettings | None = None) -> None:
        url = StoreUrl.parse(f"memory://fake-{next(_numbers)}")
        self.settings = FakeSettings(app or AppSettings(), worker or WorkerSettings())
        self.middleware: tuple[Any, ...] = ()
        self.events: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.gate: dict[str, Any] = {}
        self._urls = FakeUrls(url, url, url)
        self._context = StoreContext(url=url, namespace="test", clock=clock)

    def require_usable(self) -> None:
        self.events.append("usable")

    def urls(self) -> FakeUrls:
        return self._urls

    @asynccontextmanager
    async def _open(self, name: str, opener: Any) -> Any:
        if name in self.gate:
            await self.gate[name]()
        if name in self.fail:
            raise self.fail[name]
        async with opener(self._context) as opened:
            self.events.append(f"+{name}")
            try:
                yield opened
            finally:
                if f"-{name}" in self.gate:
                    await self.gate[f"-{name}"]()
                self.events.append(f"-{name}")

    def open_broker(self) -> Any:
        return self._open("broker", memory_broker.open_broker)

    def open_backend(self) -> Any:
        return self._open("backend", memory_backend.open_backend)

    def open_state(self) -> Any:
        return self._open("state", memory_state.open_state)


def fake_app(
    clock: Clock, *, app: AppSettings | None = None, worker: WorkerSettings | None = None, **given: Any
) -> Stem:
    """A ``Stem("shop")`` on a :class:`FakeRuntime`, found at ``app._runtime``."""
    made = Stem("shop", clock=clock, **given)
    made._runtime = FakeRuntime(clock, app, worker)  # type: ignore[assignment]
    return made
