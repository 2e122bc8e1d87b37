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
#: Folders of tests that take so long, each, that one goes to whoever is free.
ONE_BY_ONE = {"benchmarks", "docs", "e2e", "packaging", "processes"}


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
    """Where tests run at once, a class of them or the rest of a file goes to whoever is free: to hand out thousands
    one by one costs a tenth of all."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file in TOGETHER:
                return file
            return nodeid if ONE_BY_ONE & set(file.split("/")) else nodeid.rpartition("::")[0]

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
