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
    return [
        f"stem {version('stem-core')}: worker {plan.worker}, app {app.name}, {count} task{'s' * (count != 1)}",
        f"broker: {urls.broker}" + (" (default, nothing is configured)" if urls.default_used else ""),
        f"results: {urls.backend or 'none'}; state: {urls.state}; namespace: {settings.app.namespace}",
        f"queues: {plan.subscription}" + (f"; broadcasts: {','.join(plan.broadcasts)}" if plan.broadcasts else ""),
        f"strategy: {strategies}; lease: {options.lease:g} s",
        f"concurrency: {plan.concurrency} ({plan.concurrency_reason}); prefetch: {plan.prefetch}",
        app.runtime.plugins_line,
        f"stop: SIGTERM drains, interrupts after {drain:g} s, hands back after {hard:g} s; SIGINT interrupts at once",
    ]


def _told(plan: Plan, name: str) -> str:
    if not plan.providers[name].isolated:
        return name
    return f"{name} ({plan.processes} child{'ren' * (plan.processes != 1)})"


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
    if not len(app.tasks):
        found.append("no task is registered; list the modules that define them in Stem(include=[...])")
    return found
