"""The settings of the core. Spans are seconds, sizes are bytes."""

from __future__ import annotations

from typing import Literal

import attrs

from stem_core.model import Routing
from stem_core.settings import parsers as p
from stem_core.settings import shares
from stem_core.settings.declaration import SettingsSection, setting


@attrs.frozen(kw_only=True)
class AppSettings:
    """The top level of ``stem.toml`` or ``[tool.stem]``; ``STEM_<KEY>`` in the environment."""

    app: str | None = setting(
        None,
        parse=p.text("MODULE:ATTRIBUTE, such as tasks:app"),
        help="The app that commands load.",
    )
    namespace: str = setting(
        "stem", parse=p.name("namespace"), help="Prefix of everything this deployment stores: queues, results, state."
    )
    broker_url: str | None = setting(
        None, parse=p.url(), option="--broker", unset="a plugin's default", help="Address of the broker."
    )
    result_backend_url: str | None = setting(
        None,
        parse=p.url("none"),
        option="--backend",
        unset="the broker's, where it keeps results",
        help="Address of the result backend; none stores no results.",
    )
    state_url: str | None = setting(
        None,
        parse=p.url(),
        env=("STEM_REVOKE_STORE_URL",),
        unset="the result backend's, else the broker's",
        help="Address of the state store: revocations, heartbeats, locks.",
    )
    default_queue: str = setting(
        "default", parse=p.queue(), help="Queue of tasks that name none, and of workers without -Q."
    )
    routing_config: Routing = setting(  # noqa: RUF009 - a value, which nobody changes
        Routing(),
        parse=p.routing(),
        file_key="routing",
        help="Where tasks go: a TOML file with queues, channels and routes, or the same as tables under [routing].",
    )
    default_max_retries: int = setting(
        3, parse=p.integer(0), help="How often a failed task is run again, unless it says otherwise."
    )
    plugins: tuple[str, ...] | None = setting(
        None,
        parse=p.many(p.text(), "plugins as NAME, no:NAME or a module, such as redis,signing"),
        option="--plugin",
        file_key="plugins.select",
        unset="every installed plugin",
        help="Which plugins to load: only those named, or all but those named no:NAME; empty for the built-ins only.",
    )
    require_config: bool = setting(
        False, parse=p.boolean(), help="Refuse to enqueue on a default URL that nobody configured."
    )
    signals_enabled: bool = setting(True, parse=p.boolean(), help="Whether signals are sent at all.")
    signals_disabled: tuple[str, ...] = setting(
        (),
        parse=p.many(p.text(), "names of signals, such as worker-heartbeat,task-prerun"),
        help="Signals that are never sent.",
    )
    max_message_size: int = setting(
        2**20, parse=p.size(1), help="The largest message that is sent or accepted, header and arguments together."
    )
    result_ttl: float = setting(86400.0, parse=p.duration(1.0), help="How long results are kept.")
    dedupe_window: float = setting(
        600.0, parse=p.duration(1.0), help="How long the id of a finished task is remembered against repeated sends."
    )


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """Section ``[worker]``; ``STEM_WORKER_<OPTION>`` in the environment."""

    name: str | None = setting(
        None, parse=p.worker_name(), unset="host, pid and a random part", help="The worker's id; %h is the host's name."
    )
    queues: tuple[str, ...] | None = setting(
        None, parse=p.queues(), unset="the default queue", help="Queues to read, each NAME or NAME:WEIGHT."
    )
    strict: bool = setting(
        False, parse=p.boolean(), help="Take the queues in the order written instead of sharing by weight."
    )
    broadcasts: tuple[str, ...] = setting(
        (),
        parse=p.many(p.channel(), "names of broadcast channels, such as news,config"),
        option="--broadcast",
        help="Broadcast channels to listen to; they are declared in the routing configuration.",
    )
    exclude: tuple[str, ...] = setting(
        (),
        parse=p.many(p.queue(), "names of queues, such as bulk,images"),
        help="Queues to leave out of those to read.",
    )
    reserve: tuple[tuple[str, int], ...] = setting(
        (), parse=shares.slots(), help="Slots that only this queue may use, as QUEUE=NUMBER."
    )
    limit: tuple[tuple[str, int], ...] = setting(
        (), parse=shares.slots(), help="The most slots that this queue may use, as QUEUE=NUMBER."
    )
    concurrency: int | None = setting(
        None, parse=p.integer(1), unset="derived from the tasks", help="How many tasks run at once."
    )
    replicas: int = setting(
        1, parse=p.integer(1), help="How many worker processes 'stem worker' keeps running, each with all its slots."
    )
    autoscale: tuple[int, int] | None = setting(
        None,
        parse=shares.span(),
        unset="the concurrency is fixed",
        help="Let the concurrency follow the work, from MIN to MAX.",
    )
    autoscale_interval: float = setting(
        1.0, parse=p.duration(0.05), help="Time between two looks at the queues, and between two steps up."
    )
    autoscale_backlog: float = setting(
        1.0, parse=p.number(0.0), help="While no slot is free, step up when more tasks than this are ready for each."
    )
    autoscale_age: float = setting(
        2.0,
        parse=p.duration(),
        help="While no slot is free, step up when the oldest ready task has waited longer than this.",
    )
    autoscale_idle: float = setting(30.0, parse=p.duration(0.05), help="Step down when slots were idle for this long.")
    autoscale_step: float = setting(
        0.25, parse=p.number(0.01, 1.0), help="One step as a part of the concurrency; at least one slot."
    )
    autoscale_max_memory: float = setting(
        0.9,
        parse=p.number(0.01, 1.0),
        help="Step up only while less than this part of the memory, of the container or of the machine, is in use.",
    )
    strategy: str = setting(
        "auto",
        parse=p.name("strategy"),
        help="Where tasks run: auto, event_loop, threads, processes, or a plugin's own.",
    )
    prefetch: int | None = setting(
        None,
        parse=p.integer(0),
        unset="concurrency x prefetch_multiplier",
        help="How many tasks are held ready beside the running ones.",
    )
    prefetch_multiplier: float = setting(
        1.0,
        parse=p.number(0.0),
        env=("STEM_PREFETCH_MULTIPLIER",),
        help="The prefetch as a multiple of the concurrency.",
    )
    shutdown_timeout: float = setting(25.0, parse=p.duration(), help="The whole time a SIGTERM may take.")
    soft_margin: float = setting(
        5.0, parse=p.duration(), help="How long before the end of shutdown_timeout running tasks are interrupted."
    )
    hard_margin: float = setting(
        2.0, parse=p.duration(), help="How long before the end of shutdown_timeout everything is handed back."
    )
    heartbeat_interval: float = setting(5.0, parse=p.duration(0.1), help="Time between two heartbeats.")
    lease: float = setting(30.0, parse=p.duration(1.0), help="How long a task stays with a worker that fell silent.")
    stall_limit: float = setting(
        10.0, parse=p.duration(0.1), help="After this long without a turn of its loop a worker counts as wedged."
    )
    wedge_timeout: float = setting(
        300.0, parse=p.duration(0.1), help="After this long without a turn of its loop a worker gives up and exits."
    )
    max_crashes: int = setting(
        3, parse=p.integer(1), help="After this many lost workers a task goes to the dead letters."
    )
    unknown_task_grace: float = setting(
        600.0, parse=p.duration(), help="How long a message of an unknown task is handed back before it is given up."
    )
    track_started: bool = setting(
        False, parse=p.boolean(), help="Write the status running at once instead of with the first lease renewal."
    )
    processes: int | None = setting(
        None,
        parse=p.integer(1),
        unset="as many as slots, at most the usable CPUs",
        help="The most child processes that run tasks.",
    )
    max_tasks_per_child: int | None = setting(
        None, parse=p.integer(1), unset="no limit", help="A child process is replaced after about this many tasks."
    )
    max_memory_per_child: int | None = setting(
        None,
        parse=p.size(2**20),
        unset="no limit",
        help="A child process is replaced when it holds about this much memory.",
    )
    max_age_per_child: float | None = setting(
        None, parse=p.duration(1.0), unset="no limit", help="A child process is replaced when it is about this old."
    )
    call_timeout: float = setting(10.0, parse=p.duration(0.1), help="The longest that one call to a store may take.")
    log_level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        "info", parse=p.choice("debug", "info", "warning", "error", "critical"), help="The least level that is logged."
    )
    log_format: Literal["auto", "text", "json"] = setting(
        "auto", parse=p.choice("auto", "text", "json"), help="How log lines look; auto: text on a terminal, else json."
    )


#: The settings of the app: everything outside a table.
APP = SettingsSection(name="", schema=AppSettings)

#: The settings of a worker.
WORKER = SettingsSection(
    name="worker",
    schema=WorkerSettings,
    at_most=(
        ("soft_margin", "shutdown_timeout"),
        ("hard_margin", "soft_margin"),
        ("stall_limit", "wedge_timeout"),
    ),
)
