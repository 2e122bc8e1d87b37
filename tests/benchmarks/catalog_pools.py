"""The rows, columns and promises of pools: child processes and replicas."""

from __future__ import annotations

from benchmarks.model import Measure, Subject, Target

SCENARIOS = ("calls", "work_on_two", "replicas")
_CHILDREN = ("calls", "work_on_two")

POOL_SUBJECTS = (
    Subject(
        name="stem processes, memory",
        driver="stem_pools",
        url="memory://bench",
        guarantee="at least once, leases, results; a crash costs the one task; one process and its children",
        scenarios=_CHILDREN,
    ),
    Subject(
        name="stem processes, redis",
        driver="stem_pools",
        url="redis://{redis}",
        guarantee="as stem processes, memory, on Redis; no persistence",
        scenarios=("calls", "work_on_two", "replicas"),
        server="redis",
    ),
    Subject(
        name="concurrent.futures",
        driver="futures",
        guarantee="none: ProcessPoolExecutor has no broker, and one crash fails all calls",
        scenarios=_CHILDREN,
    ),
    Subject(
        name="celery prefork, redis",
        driver="celery_prefork",
        url="redis://{redis}",
        guarantee="at most once, results; no persistence",
        scenarios=_CHILDREN,
        environment={"BENCH_PEER": "celery"},
        venv="celery",
        server="redis",
        drain_factor=0.15,
    ),
    Subject(
        name="raw pool",
        driver="raw_pool",
        guarantee="none: bare round trips over socketpairs, one call at a time in each child",
        scenarios=_CHILDREN,
        drain_factor=5.0,
    ),
)

POOL_TABLES: tuple[tuple[str, str, tuple[Measure, ...]], ...] = (
    (
        "Pools",
        "tasks a second on child processes; the gain is that of the second one",
        (
            Measure(key="calls", scenario="calls", title="no-op tasks, two children"),
            Measure(key="calls_cpu", scenario="calls", title="CPU us a task, all processes", digits=1),
            Measure(key="work_one", scenario="work_on_two", title="10 ms tasks, one child", digits=1),
            Measure(key="work_two", scenario="work_on_two", title="two children", digits=1),
            Measure(key="work_gain", scenario="work_on_two", title="gain", digits=2),
        ),
    ),
    (
        "Replicas",
        "coroutine tasks of 2 ms of processor time each, a second",
        (
            Measure(key="replicas_one", scenario="replicas", title="one worker"),
            Measure(key="replicas_two", scenario="replicas", title="two replicas"),
            Measure(key="replicas_gain", scenario="replicas", title="gain", digits=2),
        ),
    ),
)

POOL_TARGETS = (
    Target(
        subject="stem processes, memory",
        key="calls",
        limit=8_000,
        at_least=True,
        text="processes, no-op tasks/s on two children",
    ),
    Target(
        subject="stem processes, redis",
        key="calls",
        limit=2,
        at_least=True,
        beside=("celery prefork, redis",),
        text="processes on Redis, no-op tasks, times those of celery prefork",
    ),
    Target(
        subject="stem processes, memory",
        key="work_gain",
        limit=1.9,
        at_least=True,
        text="processes, 10 ms tasks, gain of a second child",
    ),
    Target(
        subject="stem processes, redis",
        key="replicas_gain",
        limit=1.8,
        at_least=True,
        text="replicas, 2 ms coroutines, gain of a second worker",
    ),
)
