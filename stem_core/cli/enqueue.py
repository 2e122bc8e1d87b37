"""``stem enqueue``: put one task into its queue."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stem_core.cli import common, options, output, result
from stem_core.errors import BadArguments, UnknownTask

if TYPE_CHECKING:
    from stem_core.cli import shapes
    from stem_core.client import Stem
    from stem_core.client.results import TaskHandle
    from stem_core.tasks import TaskCall

_OBJECT_OR_ARRAY = (
    """write an object for arguments by name, '{"user_id": 42}', or an array for those by place, '[42]'"""
)


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("enqueue", short_help="Put one task into its queue.")(enqueue)


_ARGUMENTS = typer.Argument(
    metavar="[ARGUMENTS]",
    help="JSON: an object for arguments by name, an array for those by place; - reads it from standard input.",
    show_default=False,
)
_DELAY = typer.Option(metavar="TIME", help="Start this much later: 250ms, 5s, 2m, 1h or seconds.")
_PRIORITY = typer.Option(metavar="N", help="From 0 to 9; 9 is the most urgent.", show_default=False)
_EXPIRES = typer.Option(metavar="TIME", help="Do not start it when this much time has passed.")
_ID = typer.Option("--id", metavar="ID", help="The job's id; the same id is the same job.")


@options.command
def enqueue(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Name of the task, such as tasks.send_welcome.")],
    arguments: Annotated[list[str] | None, _ARGUMENTS] = None,
    *,
    target: options.Target,
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="Instead of the task's own queue.")] = None,
    delay: Annotated[str | None, _DELAY] = None,
    priority: Annotated[int | None, _PRIORITY] = None,
    expires: Annotated[str | None, _EXPIRES] = None,
    id: Annotated[str | None, _ID] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and write it, as JSON.")] = False,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Wait no longer than this.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Enqueue a task that the app does not know.")] = False,
    as_json: options.Json = False,
) -> None:
    """Put one task into its queue and write the job's id.

    With an app (-A), its tasks are known: the name and the arguments are checked, and the task's own options hold.
    Without one, any name is taken and goes to --queue or the default queue.
    """
    from stem_core.bootstrap import require_shared

    if timeout is not None and not wait:
        raise typer.BadParameter("--timeout is for --wait")
    seconds = common.span("--timeout", timeout)
    composed = target.compose()
    call = _call(
        composed.app,
        task,
        _read(task, _one(task, arguments or ["[]"])),
        {
            "queue": queue,
            "delay": common.span("--delay", delay),
            "expires": common.span("--expires", expires),
            "priority": priority,
            "id": id,
        },
        checked=composed.named and not force,
    )
    if wait and queue is None:
        _refuse_broadcast(composed.app, task)
    require_shared(composed.app.runtime, "a job")
    common.run(_enqueue(composed.app, call, wait=wait, timeout=seconds, as_json=as_json))


def _one(task: str, given: list[str]) -> str:
    if len(given) > 1:
        shown = " ".join(given)
        raise BadArguments(
            f"the arguments are one JSON text, not {len(given)}: {shown if len(shown) <= 80 else shown[:77] + '...'}",
            task=task,
            hint=_OBJECT_OR_ARRAY,
        )
    return given[0]


def _read(task: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    import msgspec

    if text == "-":
        text = sys.stdin.read()
    try:
        # Not the json module: it takes NaN and infinities for JSON.
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise BadArguments(f"the arguments are no JSON: {error}: {shown}", task=task, hint=_OBJECT_OR_ARRAY) from None
    if isinstance(decoded, dict):
        return [], decoded
    if isinstance(decoded, list):
        return decoded, {}
    raise BadArguments(f"the arguments are one JSON value: {text}", task=task, hint=_OBJECT_OR_ARRAY)


def _call(
    app: Stem, name: str, arguments: tuple[list[Any], dict[str, Any]], chosen: dict[str, Any], *, checked: bool
) -> TaskCall[Any]:
    from stem_core.tasks import CallOptions

    tasks = common.known_tasks(app)
    if checked and name not in tasks:
        close = tasks.close_matches(name)
        known = f"its tasks are {', '.join(tasks.names()[:5])}" if len(tasks) else "it has no tasks"
        guess = f"did you mean {' or '.join(close)}?" if close else known
        raise UnknownTask(
            f"the app {app.name!r} has no task {name!r}",
            task=name,
            hint=f"{guess} (--force enqueues it all the same)",
        )
    args, kwargs = arguments
    given = {option: value for option, value in chosen.items() if value is not None}
    return tasks.call(app, name, args, kwargs, CallOptions.build(given))


def _refuse_broadcast(app: Stem, task: str) -> None:
    route = app.runtime.settings.app.routing_config.route(task)
    if route is not None and route.channel is not None:
        raise typer.BadParameter(
            f"--wait: {task} is broadcast on the channel {route.channel!r}, and no copy has a result; --queue sends it "
            "to one worker"
        )


async def _enqueue(app: Stem, call: TaskCall[Any], *, wait: bool, timeout: float | None, as_json: bool) -> None:
    async with app.open():
        handle: TaskHandle[Any] = await app.submit(call)
        if not wait:
            if as_json:
                row: shapes.Enqueued = {
                    "id": handle.id,
                    "task": call.name,
                    "queue": (await handle.status()).queue,
                }
                output.show([row], {}, as_json=True)
            else:
                output.line(handle.id)
            return
        status = await result.finished(handle, timeout)
    result.tell(status, as_json=as_json)
