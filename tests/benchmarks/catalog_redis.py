"""The rows and promises on Redis, all against one server in one run."""

from __future__ import annotations

from benchmarks.model import Measure, Subject, Target

_SCENARIOS = ("enqueue", "drain", "drain_bare", "latency", "process")
_AT_LEAST = ("dramatiq redis", "saq redis", "arq redis", "taskiq redis, stream")
_NOT_COMPARED, _PLAIN = "stem redis, not compared", "stem redis, plain commands"


def _peer(name: str, guarantee: str, *, venv: str = "", variant: str = "", latency_factor: float = 0.5) -> Subject:
    venv = venv or name.partition(" ")[0]
    return Subject(
        name=name,
        driver="peers",
        url="redis://{redis}",
        guarantee=guarantee,
        scenarios=_SCENARIOS,
        environment={"BENCH_PEER": venv, "BENCH_VARIANT": variant},
        venv=venv,
        server="redis",
        drain_factor=0.25,
        latency_factor=latency_factor,
    )


def _unfenced(name: str, variant: str, guarantee: str) -> Subject:
    return Subject(
        name=name,
        driver="stem_unfenced",
        url="redis://{redis}",
        guarantee=guarantee,
        scenarios=("fencing",),
        environment={"BENCH_VARIANT": variant},
        server="redis",
    )


REDIS_SUBJECTS = (
    Subject(
        name="stem redis",
        driver="stem",
        url="redis://{redis}",
        guarantee="at least once, leases, results; no persistence",
        scenarios=_SCENARIOS,
        server="redis",
    ),
    Subject(
        name="stem redis, AOF",
        driver="stem",
        url="redis://{redis}",
        guarantee="as stem redis, with appendonly yes and appendfsync everysec",
        scenarios=("enqueue", "drain", "drain_bare"),
        server="aof",
    ),
    Subject(
        name="raw loop redis",
        driver="raw_redis",
        url="{redis}",
        guarantee="at least once, results; no leases: XREADGROUP, run, then SET, XACK and XDEL in one write a turn",
        scenarios=("enqueue", "drain", "drain_bare", "latency"),
        server="redis",
    ),
    _peer("saq redis", "at least once, results"),
    _peer("dramatiq redis", "at least once, results; 8 threads"),
    _peer("arq redis", "at least once, results; polls every 10 ms"),
    _peer("taskiq redis, stream", "at least once, results", venv="taskiq", variant="stream"),
    _peer("taskiq redis, list", "at most once, results", venv="taskiq", variant="list"),
    Subject(
        name="streaq redis",
        driver="peers",
        url="redis://{redis}",
        guarantee="at least once, results; only how it enqueues",
        scenarios=("enqueue",),
        environment={"BENCH_PEER": "streaq"},
        venv="streaq",
        server="redis",
    ),
    _unfenced(
        _NOT_COMPARED, "script", "as stem redis, but a settlement looks neither at token nor at run; the same scripts"
    ),
    _unfenced(_PLAIN, "plain", "as stem redis, but no tokens; settlements are SET, ZREM and HDEL without a script"),
)

REDIS_TABLES: tuple[tuple[str, str, tuple[Measure, ...]], ...] = (
    (
        "Redis",
        "what the server does for a job during the drain; commands in scripts count as well",
        (
            Measure(key="drain_commands", scenario="drain", title="commands, with results", digits=2),
            Measure(key="drain_bare_commands", scenario="drain_bare", title="commands, without", digits=2),
            Measure(key="drain_server_cpu", scenario="drain", title="CPU us, with results", digits=1),
            Measure(key="drain_bare_server_cpu", scenario="drain_bare", title="CPU us, without", digits=1),
        ),
    ),
    (
        "Fencing",
        "stem redis beside itself without the fence, in turn; drains with results, jobs a second and CPU us a job",
        (
            Measure(key="unfenced", scenario="fencing", title="unfenced"),
            Measure(key="fenced", scenario="fencing", title="fenced"),
            Measure(key="fencing_cost", scenario="fencing", title="cost, %", digits=1),
            Measure(key="unfenced_cpu", scenario="fencing", title="worker CPU, unfenced", digits=1),
            Measure(key="fenced_cpu", scenario="fencing", title="fenced", digits=1),
            Measure(key="unfenced_server_cpu", scenario="fencing", title="server CPU, unfenced", digits=1),
            Measure(key="fenced_server_cpu", scenario="fencing", title="fenced", digits=1),
            Measure(key="fencing_cpu_cost", scenario="fencing", title="cost in CPU of both, %", digits=1),
        ),
    ),
)


def _fencing(subject: str, text: str) -> Target:
    return Target(
        subject=subject, key="fencing_cost", limit=15, at_least=False, text=f"Redis fencing, % of the drain {text}"
    )


def _target(
    key: str, limit: float, text: str, *, at_least: bool, beside: tuple[str, ...] = (), beside_key: str = ""
) -> Target:
    return Target(
        subject="stem redis",
        key=key,
        limit=limit,
        at_least=at_least,
        beside=beside,
        beside_key=beside_key,
        text=f"Redis {text}",
    )


REDIS_TARGETS = (
    _target(
        "drain", 12, "drain with results, times that of the best at-least-once peer", at_least=True, beside=_AT_LEAST
    ),
    _target("drain", 0.3, "drain with results, part of the raw loop", at_least=True, beside=("raw loop redis",)),
    _target("drain", 20_000, "drain with results, jobs/s", at_least=True),
    _target("drain_commands", 2.2, "commands a job with results", at_least=False),
    _target("drain_cpu", 35, "worker CPU us a job with results", at_least=False),
    _target("enqueue_one", 0.7, "enqueue, part of a bare awaited XADD", at_least=True, beside=("raw loop redis",)),
    _target("enqueue_gather", 3, "100 at once, times that of SAQ", at_least=True, beside=("saq redis",)),
    _target("enqueue_bulk", 6, "`enqueue_many`, times that of streaQ", at_least=True, beside=("streaq redis",)),
    _target("enqueue_bulk", 0.5, "`enqueue_many`, part of pipelined XADD", at_least=True, beside=("raw loop redis",)),
    _target("start_p50", 0.8, "start p50 across processes, ms", at_least=False),
    _target("start_p99", 2, "start p99 across processes, ms", at_least=False),
    _target("result_p50", 1.5, "awaited result p50, ms", at_least=False),
    _target("first_job", 300, "first job, ms from process start", at_least=False),
    _target("idle_rss", 40, "idle worker, MB", at_least=False),
    _fencing(_NOT_COMPARED, "by scripts that do not compare"),
    _fencing(_PLAIN, "by plain commands"),
)
