"""``stem tasks``: what an app can run."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated

import typer

from stem_core.cli import common, options, output

if TYPE_CHECKING:
    from stem_core.cli import shapes
    from stem_core.settings import AppSettings
    from stem_core.tasks import AnyTask

_COLUMNS = {"name": "TASK", "queue": "QUEUE", "strategy": "STRATEGY", "max_retries": "RETRIES", "about": "ABOUT"}
_IN_MARKDOWN = {
    "call": "task",
    "aliases": "also",
    "queue": "queue",
    "priority": "priority",
    "max_retries": "retries",
    "soft_time_limit": "soft limit (s)",
    "time_limit": "time limit (s)",
    "about": "what it does",
}


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("tasks", short_help="List the tasks of the app.")(tasks)


_MARKDOWN = typer.Option("--markdown", help="Write a table in Markdown, with the arguments of each task.")


@options.command
def tasks(
    target: options.Target, *, as_json: options.Json = False, markdown: Annotated[bool, _MARKDOWN] = False
) -> None:
    """List the tasks of the app, with the queue they go to and where they run."""
    if as_json and markdown:
        raise typer.BadParameter("choose one of --json and --markdown")
    composed = target.compose(app_needed=True).app
    known = sorted(common.known_tasks(composed), key=lambda task: task.name)
    settings = composed.runtime.settings.app
    rows = [_row(task, settings) for task in known]
    if markdown:
        output.markdown(
            [{**row, "call": f"`{task.signature.definition}`"} for row, task in zip(rows, known, strict=True)],
            _IN_MARKDOWN,
        )
    else:
        output.show(rows, _COLUMNS, as_json=as_json)


def _row(task: AnyTask, settings: AppSettings) -> shapes.Task:
    defaults = task.defaults
    return {
        "name": task.name,
        "aliases": list(task.aliases),
        "queue": settings.routing_config.destination(task.name, task.queue or settings.default_queue)[0],
        "strategy": task.strategy,
        "priority": defaults.priority,
        "max_retries": settings.default_max_retries if defaults.max_retries is None else defaults.max_retries,
        "soft_time_limit": defaults.soft_time_limit,
        "time_limit": defaults.time_limit,
        "expires": defaults.expires,
        "store_result": defaults.store_result,
        "about": (inspect.getdoc(task.function) or "").partition("\n")[0],
    }
