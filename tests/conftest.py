"""What holds for every test."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Collecting makes a hundred thousand objects that stay, and looking through them for garbage takes half of its time.
gc.disable()

# How fast the machine is says nothing about what is tested.
settings.register_profile("stem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stem")

#: Files whose tests share what is dear to make, so that they run in one process. (The groups of xdist do not work
#: with pytest 9.2.)
TOGETHER = {"tests/e2e/test_stop_matrix.py", "tests/packaging/test_wheels.py"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """What is there once the tests are collected stays: it is not looked through again."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Where tests run at once, each goes to whoever is free, but for those of :data:`TOGETHER`."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Commands run in this process set up logging for theirs; the next test must not inherit it."""
    root, stem = logging.getLogger(), logging.getLogger("stem_core")
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in (root, stem)]
    yield
    for logger, handlers, level, propagate in before:
        # pytest's own handlers come and go with its phases.
        logger.handlers[:] = [h for h in logger.handlers if h in handlers or type(h).__module__ == "_pytest.logging"]
        logger.setLevel(level)
        logger.propagate = propagate


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the tests with real processes have measured: times, kills, repeated runs."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("")]
    # A report of a later phase has the output of the earlier ones too.
    told = {report.nodeid: report.capstdout.strip() for report in reports if "/e2e/" in f"/{report.nodeid}"}
    if any(told.values()):
        terminalreporter.section("measured with real processes")
    for text in told.values():
        if text:
            terminalreporter.write_line(text)
