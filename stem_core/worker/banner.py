"""What a worker says at its start."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from stem_core.worker.stopping import margins

if TYPE_CHECKING:
    from stem_core.client.app import Stem
    from stem_core.settings import Settings
    from stem_core.worker.plan import Plan


def banner(app: Stem, settings: Settings, plan: Plan) -> list[str]:
    """The lines that tell what this worker is about to do. No secrets."""
    urls = app.runtime.urls()
    options = settings.worker
    strategies = ", ".join(_told(plan, name) for name in plan.providers) or "none: no task is registered"
    count = len(app.tasks)
    budget = options.shutdown_timeout
    drain, hard = (budget - margin for margin in margins(budget, options.soft_margin, options.hard_margin))
    lines = [
        f"stem {version('stem-core')}: worker {plan.worker}, app {app.name}, {count} task{'s' * (count != 1)}",
        f"broker: {urls.broker}" + (" (default, nothing is configured)" if urls.default_used else ""),
        f"results: {urls.backend or 'none'}; state: {urls.state}; namespace: {settings.app.namespace}",
        f"queues: {plan.subscription}" + (f"; broadcasts: {','.join(plan.broadcasts)}" if plan.broadcasts else ""),
        f"strategy: {strategies}; lease: {options.lease:g} s",
        f"concurrency: {plan.concurrency} ({plan.concurrency_reason}); prefetch: {_prefetch(plan)}",
        app.runtime.plugins_line,
        f"stop: SIGTERM drains, interrupts after {drain:g} s, hands back after {hard:g} s; SIGINT interrupts at once",
    ]
    if plan.lanes:
        lines.insert(4, f"lanes: {_lanes(plan)}")
    return lines


def _prefetch(plan: Plan) -> str:
    low, high = (plan.prefetch_for(slots) for slots in plan.autoscale or (plan.concurrency, plan.concurrency))
    return str(low) if low == high else f"{low} to {high}"


def _lanes(plan: Plan) -> str:
    told = []
    for queue in plan.subscription.queues:
        reserve, limit = plan.lanes.reserve.get(queue), plan.lanes.limit.get(queue)
        parts = [f"{reserve} reserved"] * (reserve is not None) + [f"at most {limit}"] * (limit is not None)
        if parts:
            told.append(f"{queue} ({', '.join(parts)})")
    return "; ".join(told)


def _told(plan: Plan, name: str) -> str:
    if not plan.providers[name].isolated:
        return name
    low, high = plan.autoscale or (plan.concurrency, plan.concurrency)
    fewest, most = plan.children(low), plan.children(high)
    count = str(most) if fewest == most else f"{fewest} to {most}"
    when = ", on demand" if name in plan.on_demand else ""
    return f"{name} ({count} child{'ren' * (most != 1)}{when})"


def warnings(app: Stem, plan: Plan) -> list[str]:
    """What looks like a mistake but may be none."""
    found: list[str] = []
    if plan.unread:
        listed = "; ".join(f"{queue} ({', '.join(names)})" for queue, names in plan.unread.items())
        queues = ",".join([*plan.subscription.queues, *plan.unread])
        found.append(f"registered but not subscribed: {listed}; add -Q {queues}")
    if plan.unheard:
        listed = "; ".join(f"{channel} ({', '.join(names)})" for channel, names in plan.unheard.items())
        options = " ".join(f"--broadcast {channel}" for channel in (*plan.broadcasts, *plan.unheard))
        found.append(f"registered but not listening: {listed}; add {options}")
    if plan.autoscale is not None and plan.prefetch_multiplier is None and plan.prefetch > 2 * plan.autoscale[1]:
        found.append(
            f"prefetch {plan.prefetch} is more than twice the most slots, {plan.autoscale[1]}: this worker holds back "
            "what others could run; leave the prefetch out, and it follows the concurrency"
        )
    if not len(app.tasks):
        found.append("no task is registered; list the modules that define them in Stem(include=[...])")
    return found
