"""The fixtures that pytest finds by itself, and coroutine tests that use them.

pytest imports this module in every run of everybody who has Stem installed, so nothing of Stem is imported before a
fixture is used.

==================  ===================================================================================
``stem_app``        the app under test, on memory stores, its time standing still
``stem_harness``    runs its worker and turns its clock: ``run_until_idle``, ``advance``, ``run_until_empty``
``assert_enqueued`` asserts what was enqueued: ``assert_enqueued(send_welcome, 42, times=1)``
``stem_signals``    every event that the app told
``stem_clock``      the clock
``stem_source``     to be overridden: which app; default: the ini option ``stem_app`` (``module:attribute``), else one
                    without tasks
``stem_settings``   to be overridden: settings by dotted key
==================  ===================================================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.testing.clock import FakeClock
    from stem_core.testing.enqueued import Enqueued
    from stem_core.testing.harness import Harness
    from stem_core.testing.recorder import SignalRecorder

_OURS = frozenset({"assert_enqueued", "stem_app", "stem_clock", "stem_harness", "stem_signals"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini("stem_app", "the Stem app that the fixture stem_app gives, as module:attribute", default="")


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Run a coroutine test that uses a fixture of ours, where no plugin for coroutine tests has taken it."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function) or _OURS.isdisjoint(pyfuncitem.fixturenames):
        return None
    import asyncio

    names = inspect.signature(function).parameters
    asyncio.run(function(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def stem_clock() -> FakeClock:
    """The time of the app under test; stands still until it is turned."""
    from stem_core.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def stem_source(request: pytest.FixtureRequest) -> Stem:
    """Which app to test. Override it, or set the ini option ``stem_app``."""
    spec: str = request.config.getini("stem_app")
    if spec:
        from stem_core.bootstrap import load_app

        return load_app(spec, origin="the ini option stem_app")
    from stem_core.client.app import Stem

    return Stem("test")


@pytest.fixture
def stem_settings() -> dict[str, Any]:
    """Settings of the app under test, by dotted key. Override it."""
    return {}


@pytest.fixture
def stem_harness(stem_source: Stem, stem_clock: FakeClock, stem_settings: dict[str, Any]) -> Iterator[Harness]:
    """The app under test with a worker and a clock."""
    from stem_core.testing.harness import Harness

    with Harness(stem_source, clock=stem_clock, settings=stem_settings) as harness:
        yield harness


@pytest.fixture
def stem_app(stem_harness: Harness) -> Stem:
    """The app under test, on memory stores of this test."""
    return stem_harness.app


@pytest.fixture
def stem_signals(stem_harness: Harness) -> SignalRecorder:
    """Every event that the app under test told."""
    return stem_harness.signals


@pytest.fixture
def assert_enqueued(stem_harness: Harness) -> Enqueued:
    """Asserts what was enqueued."""
    return stem_harness.enqueued
