"""What holds for every test."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How fast the machine is says nothing about what is tested.
settings.register_profile("stem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stem")


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
