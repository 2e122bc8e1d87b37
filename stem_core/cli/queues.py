"""``stem queues``: what is queued and who reads it; looking into a queue, moving and purging it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperGroup

from stem_core.cli import acting, common, messages, options, output

if TYPE_CHECKING:
    from stem_core.bootstrap import Composition
    from stem_core.cli import shapes
    from stem_core.client import Session
    from stem_core.control import MessageView, QueueView

T = TypeVar("T")

_COLUMNS = {
    "queue": "QUEUE",
    "ready": "READY",
    "scheduled": "SCHEDULED",
    "in_flight": "IN FLIGHT",
    "dead": "DEAD",
    "oldest": "OLDEST",
    "read_by": "READERS",
}
#: Moving or purging a long queue may take this long, in seconds.
_PATIENCE = 600.0
#: Seconds between two looks, unless said otherwise.
_EVERY = "2"


#: Where a message in a queue can be.
State = Literal["ready", "delayed", "leased"]
_AT = {"ready": "READY FOR", "delayed": "STARTS IN", "leased": "LEASE ENDS IN"}


class _Queues(TyperGroup):
    """Lets ``--watch`` stand without a number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Fill it in."""
        if "--watch" in args:
            place = args.index("--watch") + 1
            if place == len(args) or args[place][0] not in "0123456789.":
                args = [*args[:place], _EVERY, *args[place:]]
        return super().parse_args(ctx, args)


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
    group.callback(invoke_without_command=True)(queues)
    group.command("peek", short_help="Show messages in a queue.")(peek)
    group.command("move", short_help="Put what waits in a queue into another.")(move)
    group.command("purge", short_help="Remove what waits in a queue.")(purge)
    cli.add_typer(
        group, name="queues", cls=_Queues, subcommand_metavar="[COMMAND] ...", short_help="Show and tend the queues."
    )


_QUEUE = typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)
_PAYLOAD = typer.Option("--payload", help="Show the arguments, decoded; they may hold secrets.")
_STATE = typer.Option("--state", help="Which of its messages.")
_LIMIT = typer.Option("--limit", "-n", min=1, metavar="N", help="No more than so many.")
_WATCH = typer.Option("--watch", metavar="[TIME]", help=f"Look again every so often, {_EVERY} s unless said otherwise.")


@options.command
def queues(
    ctx: typer.Context,
    *,
    watch: Annotated[str | None, _WATCH] = None,
    as_json: options.Json = False,
    target: options.Target,
) -> None:
    """Show the queues: those that hold something, that a live worker reads, or that a task of the app (-A) goes to.

    READY waits for a worker, SCHEDULED for its time or its next attempt, IN FLIGHT is in the hands of workers, DEAD was
    given up. OLDEST is how long the oldest ready message has been waiting. READERS are the workers that take from the
    queue now; "no worker" means that nobody does.
    """
    if ctx.invoked_subcommand is not None:
        common.refuse_options_before(ctx)
        return
    every = common.span("--watch", watch)
    if every is not None:
        from stem_core.cli import watching

        if as_json:
            raise typer.BadParameter("--watch is for people, --json is not")
        watching.require_terminal()
        composed = target.shared()

        async def look(session: Session) -> list[dict[str, Any]]:
            return _for_people(await _rows(session, composed))

        watching.run(composed.app, look, _COLUMNS, every=max(every, 0.1))
        return
    composed = target.shared()

    async def once() -> list[shapes.Queue]:
        async with composed.app.open(producer=False) as session:
            return await _rows(session, composed)

    rows = common.run(once())
    output.show(rows if as_json else _for_people(rows), _COLUMNS, as_json=as_json)


async def _rows(session: Session, composed: Composition) -> list[shapes.Queue]:
    from stem_core.control import Inspector

    return [_row(view) for view in await Inspector(session, common.tasks_by_queue(composed)).queues()]


def _row(view: QueueView) -> shapes.Queue:
    return {
        "queue": view.queue,
        "ready": view.ready,
        "scheduled": view.scheduled,
        "in_flight": view.in_flight,
        "dead": view.dead,
        "oldest_age": None if view.oldest_age is None else round(view.oldest_age, 3),
        "readers": len(view.workers),
        "workers": list(view.workers),
        "tasks": list(view.tasks),
    }


def _for_people(rows: list[shapes.Queue]) -> list[dict[str, Any]]:
    return [{**row, "oldest": common.age(row["oldest_age"]), "read_by": row["readers"] or "no worker"} for row in rows]


@options.command
def peek(
    queue: Annotated[str, _QUEUE],
    *,
    state: Annotated[State, _STATE] = "ready",
    limit: Annotated[int, _LIMIT] = 20,
    payload: Annotated[bool, _PAYLOAD] = False,
    as_json: options.Json = False,
    target: options.Target,
) -> None:
    """Show messages in a queue, in the order in which they will be delivered. Nothing is claimed or changed."""
    from stem_core.model import check_queue

    check_queue(queue)
    composed = target.shared()
    views, now = common.run(_peek(composed, queue, state, limit))
    rows = [messages.message_row(view, payload=payload) for view in views]
    columns = {
        "id": "ID",
        "task": "TASK",
        "priority": "PRIORITY",
        "attempt": "ATTEMPT",
        "at": _AT[state],
        "size": "SIZE",
        **({"payload": "PAYLOAD"} if payload else {}),
    }
    away = [now - view.at if state == "ready" else view.at - now for view in views]
    shown = [
        {**messages.for_people(row), "at": common.age(max(0.0, seconds))}
        for row, seconds in zip(rows, away, strict=True)
    ]
    output.show(rows if as_json else shown, columns, as_json=as_json)


async def _peek(composed: Composition, queue: str, state: State, limit: int) -> tuple[list[MessageView], float]:
    from stem_core.control import Inspector

    async with composed.app.open(producer=False) as session:
        inspector = Inspector(session, common.tasks_by_queue(composed))
        await inspector.queue(queue)
        return await inspector.messages(queue, state, limit=limit), await inspector.now()


@options.command
def move(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The queue to empty.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The queue to put it into.", show_default=False)],
    *,
    as_json: options.Json = False,
    target: options.Target,
) -> None:
    """Put all that is ready or scheduled in the queue OLD into NEW, as it is: the same ids, attempts and times.

    What is in flight or dead stays. Later jobs go to OLD as before: that is decided where they are enqueued.
    """
    from stem_core.model import check_queue

    if check_queue(old) == check_queue(new):
        raise typer.BadParameter("OLD and NEW are the same queue")
    composed = target.shared()
    moved, read = common.run(_move(composed, old, new))
    output.message(
        acting.counted(moved, "message", f"moved from {old} to {new}") + ("" if read else f"; no worker reads {new}")
    )
    if as_json:
        row: shapes.Moved = {"queue": old, "other": new, "moved": moved}
        output.show([row], {}, as_json=True)


async def _move(composed: Composition, old: str, new: str) -> tuple[int, bool]:
    from stem_core.control import Inspector
    from stem_core.control.inspector import inspectable

    async with composed.app.open(producer=False) as session:
        inspector = Inspector(session, common.tasks_by_queue(composed))
        moving = inspectable(session).move
        await inspector.queue(old)
        moved = await _whole(session, "broker: move", moving(old, new))
        readers = {queue.queue: queue.workers for queue in await inspector.queues()}
    return moved, bool(readers.get(new))


@options.command
def purge(
    queue: Annotated[str, _QUEUE],
    *,
    yes: options.Yes = False,
    as_json: options.Json = False,
    target: options.Target,
) -> None:
    """Remove for good all that is ready or scheduled in a queue. What is in flight or dead stays."""
    from stem_core.model import check_queue

    check_queue(queue)
    composed = target.shared()
    removed = common.run(_purge(composed, queue, yes=yes))
    output.message(acting.counted(removed, "message", f"removed from {queue}"))
    if as_json:
        row: shapes.Purged = {"queue": queue, "removed": removed}
        output.show([row], {}, as_json=True)


async def _purge(composed: Composition, queue: str, *, yes: bool) -> int:
    from stem_core.control import Inspector

    async with composed.app.open(producer=False) as session:
        view = await Inspector(session, common.tasks_by_queue(composed)).queue(queue)
        waiting = view.ready + view.scheduled
        if not waiting:
            return 0
        acting.confirm(f"Remove {acting.count(waiting, 'message')} from the queue {queue} for good?", yes=yes)
        return await _whole(session, "broker: purge", session.broker.purge(queue))


async def _whole(session: Session, what: str, call: Awaitable[T]) -> T:
    from asyncio import CancelledError

    try:
        return await session.deadline(what, call, seconds=_PATIENCE)
    except CancelledError:
        output.message("stopped: what was done stays done; the same command again does the rest")
        raise
