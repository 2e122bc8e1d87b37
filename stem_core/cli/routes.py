"""``stem routes``: where each task goes, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from stem_core.cli import common, options, output

if TYPE_CHECKING:
    from stem_core.cli import shapes
    from stem_core.settings import AppSettings
    from stem_core.tasks import AnyTask

_COLUMNS = {"task": "TASK", "goes_to": "GOES TO", "priority": "PRIORITY", "because": "BECAUSE"}


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("routes", short_help="Show where each task goes, and why.")(routes)


@options.command
def routes(target: options.Target, *, as_json: options.Json = False) -> None:
    """Show where each task of the app goes, with the priority that it gets there, and what decides it.

    A call that names a queue, as options(queue=...) and stem enqueue --queue do, goes there whatever the routes say.
    """
    composed = target.compose(app_needed=True).app
    settings = composed.runtime.settings.app
    known = sorted(common.known_tasks(composed), key=lambda task: task.name)
    output.show([_row(task, settings) for task in known], _COLUMNS, as_json=as_json)


def _row(task: AnyTask, settings: AppSettings) -> shapes.Route:
    routing = settings.routing_config
    queue, channel = routing.destination(task.name, task.queue or settings.default_queue)
    route = routing.route(task.name)
    if route is not None:
        because = f"routes[{routing.routes.index(route)}], task = {route.task!r}"
    else:
        because = "the task names it" if task.queue else "the default queue"
    return {
        "task": task.name,
        "goes_to": f"queue {queue}" if channel is None else f"channel {channel}",
        "queue": queue if channel is None else None,
        "channel": channel,
        "priority": routing.priority(queue, task.defaults.priority),
        "because": because,
    }
