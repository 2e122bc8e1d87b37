"""The rows, the columns and the promises. A new store is a new row here, not new code."""

from __future__ import annotations

from benchmarks.catalog_pools import POOL_SUBJECTS, POOL_TABLES, POOL_TARGETS, SCENARIOS
from benchmarks.catalog_redis import REDIS_SUBJECTS, REDIS_TABLES, REDIS_TARGETS
from benchmarks.model import Measure, Subject, Target

_AT_LEAST_ONCE = "at least once, leases, results"
_SYNC = "every commit on the disk (WAL, synchronous=FULL)"

_STORES = ("enqueue", "drain", "drain_bare", "latency", "process")
ALL = (*_STORES, "fencing", *SCENARIOS)

SUBJECTS = (
    Subject(
        name="stem memory",
        driver="stem",
        url="memory://bench",
        guarantee=f"{_AT_LEAST_ONCE}; one process",
        scenarios=_STORES,
        drain_factor=2.5,
        latency_factor=2.0,
    ),
    Subject(
        name="raw loop memory",
        driver="raw_memory",
        guarantee="a dictionary of leases and one of results; decode, call, settle; one process",
        scenarios=("enqueue", "drain", "drain_bare"),
        drain_factor=5.0,
    ),
    Subject(
        name="stem sqlite",
        driver="stem",
        url="sqlite:///{folder}/stem.db",
        guarantee=f"{_AT_LEAST_ONCE}; many processes; {_SYNC}",
        scenarios=_STORES,
    ),
    Subject(
        name="stem sqlite, plain",
        driver="stem",
        url="sqlite:///{folder}/stem.db",
        guarantee=f"as stem sqlite; the task is a plain function, run in threads; {_SYNC}",
        scenarios=("drain", "drain_bare"),
        environment={"BENCH_TASKS": "plain"},
        drain_factor=0.25,
    ),
    Subject(
        name="huey sqlite",
        driver="huey_sqlite",
        url="{folder}/huey.db",
        guarantee=f"at most once, results; many processes; {_SYNC}",
        scenarios=_STORES,
        requires="huey",
        drain_factor=0.15,
        latency_factor=0.1,
    ),
    Subject(
        name="raw loop sqlite",
        driver="raw_sqlite",
        url="{folder}/raw.db",
        guarantee=f"{_AT_LEAST_ONCE}; a batch of 200 claimed and settled in a transaction each; {_SYNC}",
        scenarios=("enqueue", "drain", "drain_bare"),
    ),
    *REDIS_SUBJECTS,
    *POOL_SUBJECTS,
)

#: Title, what the numbers are, columns.
TABLES: tuple[tuple[str, str, tuple[Measure, ...]], ...] = (
    (
        "Throughput",
        "jobs a second",
        (
            Measure(key="enqueue_one", scenario="enqueue", title="enqueue one by one"),
            Measure(key="enqueue_gather", scenario="enqueue", title="100 at once"),
            Measure(key="enqueue_bulk", scenario="enqueue", title="in bulk"),
            Measure(key="drain", scenario="drain", title="drain with results"),
            Measure(key="drain_bare", scenario="drain_bare", title="drain without"),
        ),
    ),
    (
        "Latency",
        "milliseconds, an idle worker",
        (
            Measure(key="start_p50", scenario="latency", title="start p50", digits=2),
            Measure(key="start_p99", scenario="latency", title="start p99", digits=2),
            Measure(key="result_p50", scenario="latency", title="awaited result p50", digits=2),
            Measure(key="result_p99", scenario="latency", title="awaited result p99", digits=2),
            Measure(key="first_job", scenario="process", title="first job after process start"),
        ),
    ),
    (
        "Cost",
        "of one worker process",
        (
            Measure(key="drain_cpu", scenario="drain", title="CPU us a job, with results", digits=1),
            Measure(key="drain_bare_cpu", scenario="drain_bare", title="CPU us a job, without", digits=1),
            Measure(key="idle_cpu", scenario="process", title="CPU s a minute, idle", digits=2),
            Measure(key="idle_rss", scenario="process", title="RSS MB, idle", digits=1),
            Measure(key="drain_rss", scenario="drain", title="RSS MB, peak of the drain", digits=1),
        ),
    ),
    *REDIS_TABLES,
    *POOL_TABLES,
)

MEASURES = {measure.key: measure for _, _, measures in TABLES for measure in measures}

TARGETS = (
    Target(
        subject="stem sqlite",
        key="drain",
        limit=4,
        at_least=True,
        beside=("huey sqlite",),
        text="SQLite drain with results, times that of huey",
    ),
    Target(subject="stem sqlite", key="drain", limit=8_000, at_least=True, text="SQLite drain with results, jobs/s"),
    Target(subject="stem memory", key="drain", limit=50_000, at_least=True, text="memory drain with results, jobs/s"),
    Target(
        subject="stem sqlite",
        key="enqueue_bulk",
        limit=20_000,
        at_least=True,
        text="SQLite `enqueue_many`, jobs/s (10,000 in 0.5 s)",
    ),
    Target(subject="stem memory", key="start_p50", limit=0.3, at_least=False, text="memory start p50, ms"),
    Target(
        subject="stem sqlite",
        key="start_p50",
        limit=5,
        at_least=False,
        text="SQLite start p50 across processes, ms",
    ),
    Target(subject="stem sqlite", key="first_job", limit=350, at_least=False, text="first job, ms from process start"),
    Target(subject="stem sqlite", key="idle_rss", limit=45, at_least=False, text="idle worker, MB"),
    Target(subject="stem sqlite", key="idle_cpu", limit=0.6, at_least=False, text="idle worker, CPU s a minute"),
    *REDIS_TARGETS,
    *POOL_TARGETS,
)
