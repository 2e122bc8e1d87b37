"""``stem result``: what became of one job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stem_core.cli import common, options, output
from stem_core.errors import ResultError, ResultTimeout

if TYPE_CHECKING:
    from stem_core.cli import shapes
    from stem_core.client import Stem
    from stem_core.client.results import TaskHandle
    from stem_core.model import TaskStatus

_COLUMNS = {"id": "ID", "task": "TASK", "state": "STATE", "attempt": "ATTEMPT", "outcome": "OUTCOME"}


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("result", short_help="Show what became of one job.")(result)


@options.command
def result(
    id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    *,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wait for the end of the job, no longer than this.")
    ] = None,
    as_json: options.Json = False,
    target: options.Target,
) -> None:
    """Show what became of one job: its state, and its result as JSON or its error.

    Exit codes: 0 it succeeded or is on its way, 1 it failed, was cancelled, is not known, or did not end in time.
    """
    seconds = common.span("--timeout", timeout)
    composed = target.shared("a result").app
    show(common.run(_status(composed, id, seconds)), as_json=as_json)


async def _status(app: Stem, id: str, timeout: float | None) -> TaskStatus:
    from stem_core.model import TaskState, check_id

    async with app.open(producer=False):
        handle = app.handle(check_id("task id", id))
        status = await handle.status()
        if status.state is TaskState.UNKNOWN:
            raise ResultError(
                f"no job {id} is known",
                hint="it was never enqueued here, or its result was kept no longer; see broker, backend and namespace "
                "with stem settings",
            )
        return status if timeout is None or status.state.terminal else await finished(handle, timeout)


async def finished(handle: TaskHandle[Any], timeout: float | None) -> TaskStatus:
    """The terminal status of a job. Raises ResultTimeout after ``timeout`` seconds."""
    import asyncio

    status = await handle.status()
    try:
        async with asyncio.timeout(timeout):
            async for newer in handle.watch():
                status = newer
    except TimeoutError:
        raise ResultTimeout(handle.id, timeout or 0.0, status.state) from None
    return status


def tell(status: TaskStatus, *, as_json: bool) -> None:
    """Write the result alone, as JSON; exit with 1 when there is none."""
    from stem_core.model import TaskState

    if as_json or status.state is not TaskState.SUCCEEDED:
        show(status, as_json=as_json)
    else:
        output.line((status.result or b"null").decode())


def show(status: TaskStatus, *, as_json: bool) -> None:
    """Write the status; exit with 1 when the job ended without success."""
    from stem_core.model import TaskState

    row = _row(status)
    output.show([row if as_json else {**row, "outcome": _outcome(status)}], _COLUMNS, as_json=as_json)
    if status.state in {TaskState.FAILED, TaskState.CANCELLED}:
        raise typer.Exit(1)


def _row(status: TaskStatus) -> shapes.Result:
    """A status as ``--json`` has it."""
    import msgspec

    return {
        "id": status.id,
        "task": status.task,
        "queue": status.queue,
        "state": status.state.value,
        "attempt": status.attempt,
        "run": status.run,
        "result": None if status.result is None else msgspec.json.decode(status.result),
        "error": None
        if status.error is None
        else {"type": status.error.type, "message": status.error.message, "traceback": status.error.traceback},
        "reason": status.reason,
        "progress": None
        if status.progress is None
        else {
            "percent": status.progress.percent,
            "data": None if status.progress.data is None else msgspec.json.decode(status.progress.data),
        },
        "worker": status.worker,
        "enqueued_at": common.moment(status.enqueued_at),
        "started_at": common.moment(status.started_at),
        "alive_at": common.moment(status.alive_at),
        "finished_at": common.moment(status.finished_at),
        "retry_at": common.moment(status.retry_at),
    }


def _outcome(status: TaskStatus) -> str:
    if status.result is not None:
        return status.result.decode()
    if status.error is not None:
        # What the worker refused was never raised: it has no type.
        return f"{status.error.type}: {status.error.message}" if status.error.type else status.error.message
    if status.progress is not None:
        return f"{status.progress.percent:g} %"
    return status.reason or ""
