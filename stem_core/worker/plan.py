"""What a worker is going to do: its id, queues, strategies, slots. Decided once, before anything is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from stem_core.contracts import StrategyProvider
from stem_core.errors import ConfigurationError, InvalidSetting
from stem_core.model import Subscription
from stem_core.settings.routing import undeclared
from stem_core.tasks import TaskRegistry
from stem_core.tasks.task import AnyTask
from stem_core.worker.cpus import usable_cpus
from stem_core.worker.identity import worker_id
from stem_core.worker.lanes import LaneRules
from stem_core.worker.subscribing import lane_rules, subscribe

if TYPE_CHECKING:
    from stem_core.plugins.registry import Registry
    from stem_core.settings import Settings

#: Slots of a worker whose tasks all run on the event loop.
EVENT_LOOP_SLOTS = 100


@attrs.frozen(kw_only=True)
class Plan:
    """The start-up decisions of a worker."""

    worker: str
    subscription: Subscription
    #: Slots at the start.
    concurrency: int
    #: Why this many slots, for the banner.
    concurrency_reason: str
    #: Prefetch at the start.
    prefetch: int
    #: How the prefetch follows the concurrency; None: it is fixed.
    prefetch_multiplier: float | None
    #: The least and the most slots; None: their number is fixed.
    autoscale: tuple[int, int] | None
    #: Slots that are for some queues only.
    lanes: LaneRules
    #: Strategy by name of the task.
    strategy_of: dict[str, str]
    #: The providers of the strategies in use, by name.
    providers: dict[str, StrategyProvider]
    #: Strategies that nothing which this worker reads needs: they start with the first call, if one ever comes.
    on_demand: frozenset[str]
    #: Tasks that run in child processes.
    isolated: frozenset[str]
    #: The most child processes, however many slots there are.
    processes: int
    #: Tasks whose queue this worker does not read, by queue.
    unread: dict[str, list[str]]
    #: Channels that this worker listens to.
    broadcasts: tuple[str, ...] = ()
    #: Tasks that go to a channel which this worker does not listen to, by channel.
    unheard: dict[str, list[str]] = attrs.field(factory=dict)

    def prefetch_for(self, concurrency: int) -> int:
        """The prefetch of a worker with so many slots."""
        if self.prefetch_multiplier is None:
            return self.prefetch
        return int(concurrency * self.prefetch_multiplier)

    def children(self, concurrency: int) -> int:
        """The child processes of a worker with so many slots."""
        return min(concurrency, self.processes)


def make_plan(settings: Settings, tasks: TaskRegistry, strategies: Registry[StrategyProvider]) -> Plan:
    """Raises:
    ConfigurationError: a task needs a strategy that is not there, or that cannot run it; or its queue has the name of
        a channel.
    """
    options = settings.worker
    default_queue = settings.app.default_queue
    subscription = subscribe(settings)
    for task in tasks:
        # An annotation that leads nowhere fails here, at the start, and not in the first run of the task.
        _ = task.takes_context
    if options.strategy != "auto":
        # Even where no task would ask for it: a name with a typing error must not go unnoticed.
        strategies.get(options.strategy)
    strategy_of = {task.name: _strategy(task, options.strategy, strategies) for task in tasks}
    providers = {name: strategies.get(name) for name in sorted(set(strategy_of.values()))}
    broadcasts = _broadcasts(settings)
    read: list[str] = []
    unread: dict[str, list[str]] = {}
    unheard: dict[str, list[str]] = {}
    for task in sorted(tasks, key=lambda task: task.name):
        queue, channel = settings.app.routing_config.destination(task.name, task.queue or default_queue)
        if channel is None and queue in settings.app.routing_config.channels:
            raise _shared_name(task, queue, settings)
        if queue in (subscription.queues if channel is None else broadcasts):
            read.append(task.name)
        elif channel is not None:
            unheard.setdefault(queue, []).append(task.name)
        elif queue not in options.exclude:
            unread.setdefault(queue, []).append(task.name)
    isolated = frozenset(name for name, strategy in strategy_of.items() if providers[strategy].isolated)
    for name in sorted(isolated):
        _refuse_main(tasks[name])
    used = [providers[strategy_of[name]] for name in read or strategy_of]
    if options.autoscale is None:
        concurrency, reason = _concurrency(options.concurrency, used)
    else:
        concurrency, reason = options.autoscale[0], "from {} to {}".format(*options.autoscale)
        _refuse_both(settings)
    prefetch = options.prefetch
    if prefetch is None:
        prefetch = int(concurrency * options.prefetch_multiplier)
    return Plan(
        worker=worker_id(options.name),
        subscription=subscription,
        concurrency=concurrency,
        concurrency_reason=reason,
        prefetch=prefetch,
        prefetch_multiplier=options.prefetch_multiplier if options.prefetch is None else None,
        autoscale=options.autoscale,
        lanes=lane_rules(settings, subscription, concurrency, broadcasts),
        strategy_of=strategy_of,
        providers=providers,
        on_demand=frozenset(providers) - {strategy_of[name] for name in read},
        isolated=isolated,
        processes=options.processes or usable_cpus(),
        unread=unread,
        broadcasts=broadcasts,
        unheard=unheard,
    )


def _broadcasts(settings: Settings) -> tuple[str, ...]:
    declared = settings.app.routing_config.channels
    for channel in settings.worker.broadcasts:
        if channel not in declared:
            origin = settings.origin("worker.broadcasts")
            raise InvalidSetting(
                f"{origin}: worker.broadcasts = {channel!r}: expected a channel that [routing] declares",
                key="worker.broadcasts",
                origin=str(origin),
                hint=undeclared(channel, declared),
            )
    return tuple(dict.fromkeys(settings.worker.broadcasts))


def _shared_name(task: AnyTask, queue: str, settings: Settings) -> ConfigurationError:
    return ConfigurationError(
        f"task {task.name} has the queue {queue!r}, which is the name of a broadcast channel "
        f"({settings.origin('routing_config')})",
        hint=f"give one of the two another name; to broadcast the task, route it: task = {task.name!r}, "
        f"channel = {queue!r}",
    )


def _concurrency(configured: int | None, used: Sequence[StrategyProvider]) -> tuple[int, str]:
    if configured is not None:
        return configured, "as set"
    if all(provider.name == "event_loop" for provider in used):
        return EVENT_LOOP_SLOTS, "all tasks on the event loop"
    if any(provider.isolated for provider in used):
        return usable_cpus(), "some tasks in processes"
    return min(32, usable_cpus() + 4), "some tasks in threads"


def _refuse_both(settings: Settings) -> None:
    concurrency, autoscale = settings.origin("worker.concurrency"), settings.origin("worker.autoscale")
    if concurrency.kind != "default":
        raise InvalidSetting(
            f"{concurrency}: worker.concurrency = {settings.worker.concurrency}: the number of slots is left to "
            f"worker.autoscale, which is {'{},{}'.format(*settings.worker.autoscale or ())} ({autoscale})",
            key="worker.concurrency",
            origin=str(concurrency),
            hint="keep one of the two: a fixed number of slots, or a range",
        )


def _strategy(task: AnyTask, preferred: str, strategies: Registry[StrategyProvider]) -> str:
    """The task's own strategy; for ``auto`` the worker's where that can run the task, else by the task's kind."""
    chosen = task.strategy
    if task.defaults.strategy == "auto" and preferred != "auto" and _can_run(strategies.get(preferred), task):
        chosen = preferred
    provider = strategies.get(chosen)
    if not _can_run(provider, task):
        kind = "coroutine" if task.is_coroutine else "plain"
        limit = "" if task.defaults.time_limit is None else " with a time limit"
        raise ConfigurationError(
            f"task {task.name} is a {kind} function{limit}, which the strategy {chosen!r} does not run",
            hint="leave the task's strategy out, or name one that runs it",
        )
    return chosen


def _can_run(provider: StrategyProvider, task: AnyTask) -> bool:
    if task.is_coroutine:
        return provider.runs_coroutines
    return provider.runs_functions and (provider.preemptible or task.defaults.time_limit is None)


def _refuse_main(task: AnyTask) -> None:
    if task.function.__module__ == "__main__":
        raise ConfigurationError(
            f"task {task.name} is defined in the program itself (__main__), which child processes cannot import",
            hint="move it into a module of its own (tasks.py) and import that, or run it with another strategy",
        )
