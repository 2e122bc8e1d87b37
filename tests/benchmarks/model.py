"""What is measured, of whom, and how much of it: values that go between the parts, as JSON where a process ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Sizes:
    """How many jobs each scenario takes; ``scaled`` for those that are so slow or fast that another number does."""

    enqueue_one: int = 500
    gather_rounds: int = 20
    bulk: int = 10_000
    drain: int = 20_000
    latency: int = 200
    #: Tasks of about 10 ms each.
    work: int = 300
    #: Seconds for which an idle worker is watched.
    idle: float = 5.0


FULL = Sizes()
QUICK = Sizes(enqueue_one=200, gather_rounds=5, bulk=10_000, drain=5_000, latency=50, work=100, idle=2.0)
TINY = Sizes(enqueue_one=5, gather_rounds=1, bulk=20, drain=60, latency=3, work=20, idle=0.2)


@attrs.frozen(kw_only=True)
class Subject:
    """One row of the tables: a library on a store, or the loop that says what the store has to give."""

    name: str
    #: Module in ``benchmarks.drivers``; each scenario is a function in it.
    driver: str
    #: Where its jobs are kept; ``{folder}`` is an empty folder of each sample, ``{redis}`` host and port.
    url: str = ""
    guarantee: str
    #: The scenarios that mean something for it.
    scenarios: tuple[str, ...]
    #: Variables for its processes: a variant of a driver.
    environment: Mapping[str, str] = attrs.field(factory=dict)
    #: Package that has to be there; without it the row is left out, by name.
    requires: str = ""
    #: Environment below ``.venv/peers`` that its processes run in; without it the row is left out, by name.
    venv: str = ""
    #: Kind of Redis that it needs (``benchmarks.servers.KINDS``); without one the row is left out, by name.
    server: str = ""
    #: Times ``Sizes.drain``: a rate wants seconds, not a number of jobs.
    drain_factor: float = 1.0
    #: Times ``Sizes.latency``: polling costs its interval for every sample.
    latency_factor: float = 1.0


@attrs.frozen(kw_only=True)
class Request:
    """One sample: what a process of its own is asked to measure."""

    driver: str
    scenario: str
    url: str
    folder: str
    sizes: Sizes

    def to_json(self) -> dict[str, Any]:
        """For the command line of that process."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Request:
        """The opposite of :meth:`to_json`."""
        return cls(**{**given, "sizes": Sizes(**given["sizes"])})


@attrs.frozen(kw_only=True)
class Measure:
    """One column: a number that a scenario returns under ``key``."""

    key: str
    scenario: str
    title: str
    digits: int = 0


@attrs.frozen(kw_only=True)
class Target:
    """What was promised of one cell: at least or at most ``limit``, times the greatest of ``beside`` if given."""

    subject: str
    key: str
    limit: float
    at_least: bool
    beside: tuple[str, ...] = ()
    #: The measure of ``beside``; the same one when empty.
    beside_key: str = ""
    text: str
