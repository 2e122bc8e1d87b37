"""``stem dlq``: the dead letters, the messages that were given up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from stem_core.cli import acting, common, messages, options, output
from stem_core.errors import ConfigurationError
from stem_core.model._value import value

if TYPE_CHECKING:
    from stem_core.bootstrap import Composition
    from stem_core.cli import shapes
    from stem_core.control import DeadLetters, DeadLetterView, Selected, Selection

_COLUMNS = {
    "id": "ID",
    "queue": "QUEUE",
    "task": "TASK",
    "reason": "REASON",
    "attempt": "ATTEMPT",
    "died": "DIED",
    "detail": "DETAIL",
}
_GROUPS = {"queue": "QUEUE", "task": "TASK", "reason": "REASON", "letters": "LETTERS"}
_LABELS = {
    "id": "Id",
    "queue": "Queue",
    "task": "Task",
    "problem": "Unreadable",
    "reason": "Reason",
    "detail": "Detail",
    "priority": "Priority",
    "attempt": "Attempt",
    "crashes": "Crashes",
    "run": "Run",
    "enqueued_at": "Enqueued at",
    "expires_at": "Expires at",
    "died_at": "Died at",
    "headers": "Headers",
    "parent_id": "Parent",
    "root_id": "Root",
    "size": "Size",
    "payload": "Payload",
    "traceback": "Traceback",
}


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        rich_markup_mode=None, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}
    )
    group.command("list", short_help="List dead letters, oldest first.")(list_)
    group.command("show", short_help="Show all that is known of one dead letter.")(show)
    group.command("replay", short_help="Put dead letters back into their queues.")(replay)
    group.command("purge", short_help="Remove dead letters for good.")(purge)
    cli.add_typer(
        group,
        name="dlq",
        help="Look at dead letters, the messages that were given up, and put them back into their queues.\n\n"
        "They are kept for 30 days, at most 100,000 a queue.",
        short_help="Look at what was given up, and run it again.",
    )


_QUEUE = typer.Option("--queue", "-Q", metavar="NAME", help="Only those of this queue; may be repeated.")
_SINCE = typer.Option("--since", metavar="TIME", help="Only those given up within this time: 30m, 2h, 1d or seconds.")
_TASK = typer.Option("--task", metavar="GLOB", help="Only those of these tasks: shop.*, shop.mail.send_*.")
_IDS = typer.Argument(metavar="[ID]...", help="Ids of jobs; instead of the choice by options.", show_default=False)
_ALL = typer.Option("--all", help="All of them.")
_DRY = typer.Option("--dry-run", help="Only show which, by queue, task and reason.")
_ID = typer.Argument(metavar="ID", help="The job's id.", show_default=False)
_LIMIT = typer.Option("--limit", "-n", min=1, metavar="N", help="No more than so many.")
_PAYLOAD = typer.Option("--payload", help="Show the arguments, decoded; they may hold secrets.")


@value
class Filter(options.Group):
    """Which dead letters to look at."""

    queue: Annotated[list[str] | None, _QUEUE] = None
    since: Annotated[str | None, _SINCE] = None
    task: Annotated[str | None, _TASK] = None

    @property
    def empty(self) -> bool:
        """Whether all of them pass it."""
        return not self.queue and self.since is None and self.task is None

    def selection(self, ids: Sequence[str] = ()) -> Selection:
        """It and these ids, checked."""
        from stem_core.control import Selection
        from stem_core.model import check_id, check_queue

        return Selection(
            ids=tuple(check_id("task id", id) for id in ids),
            queues=tuple(check_queue(queue) for queue in self.queue or ()),
            within=common.span("--since", self.since),
            task=self.task,
        )


@value
class Choice(Filter):
    """Which dead letters to do something with, and how."""

    ids: Annotated[list[str] | None, _IDS] = None
    everything: Annotated[bool, _ALL] = False
    dry_run: Annotated[bool, _DRY] = False
    yes: options.Yes = False
    as_json: options.Json = False

    def chosen(self) -> Selection:
        """What was chosen; something has to be said.

        Raises:
            ConfigurationError: nothing was chosen, or ids and something else.
        """
        if self.ids and (self.everything or not self.empty):
            raise ConfigurationError("ids and options both choose dead letters", hint="give ids, or options")
        if self.everything and not self.empty:
            raise ConfigurationError("--all and other options both choose dead letters", hint="leave one of them out")
        if not (self.everything or self.ids) and self.empty:
            raise ConfigurationError(
                "no dead letters were chosen", hint="give ids, --queue, --since or --task, or --all for all of them"
            )
        return self.selection(self.ids or ())


@options.command
def list_(
    *, wanted: Filter, limit: Annotated[int, _LIMIT] = 100, as_json: options.Json = False, target: options.Target
) -> None:
    """List dead letters, by queue and oldest first."""
    selection = wanted.selection()
    composed = target.shared()
    views, now = common.run(_list(composed, selection, limit + 1))
    rows = [messages.dead_letter_row(view) for view in views[:limit]]
    ages = [common.age(max(0.0, now - view.died_at)) for view in views]
    shown = [{**messages.for_people(row), "died": f"{age} ago"} for row, age in zip(rows, ages, strict=False)]
    output.show(rows if as_json else shown, _COLUMNS, as_json=as_json)
    if len(views) > limit:
        output.message(f"there are more than these {limit:,}: --limit N shows more of them")


async def _list(composed: Composition, selection: Selection, limit: int) -> tuple[list[DeadLetterView], float]:
    views: list[DeadLetterView] = []
    async with _letters(composed) as letters:
        async for view in letters.find(selection):
            views.append(view)
            if len(views) == limit:
                break
        return views, await letters.now()


@options.command
def show(
    id: Annotated[str, _ID],
    *,
    payload: Annotated[bool, _PAYLOAD] = False,
    as_json: options.Json = False,
    target: options.Target,
) -> None:
    """Show all that is known of one dead letter, with the traceback where the result backend has it."""
    from stem_core.model import check_id

    check_id("task id", id)
    composed = target.shared()
    row = messages.whole_dead_letter(common.run(_get(composed, id)), payload=payload)
    shown = {**messages.for_people(row), "traceback": row["error"] and row["error"]["traceback"]}
    output.record(row if as_json else shown, _LABELS, as_json=as_json)


async def _get(composed: Composition, id: str) -> DeadLetterView:
    async with _letters(composed) as letters:
        return await letters.get(id)


@options.command
def replay(choice: Choice, target: options.Target) -> None:
    """Put dead letters back into their queues: the same ids and arguments, from attempt 1.

    Choose them by id, by --queue, --since and --task, or take --all. Ctrl-C stops between two steps and says how many
    were put back; the same command again does the rest.
    """
    # Ids that were typed one by one are answer enough.
    action = _Action(
        verb="put back", doing="putting back", question="Put {} back into their queues?", sure=bool(choice.ids)
    )
    action.start(choice, target)


@options.command
def purge(choice: Choice, target: options.Target) -> None:
    """Remove dead letters for good. Choose them as for `replay`."""
    action = _Action(verb="removed", doing="removing", question="Remove {} for good?", sure=False)
    action.start(choice, target)


@attrs.frozen(kw_only=True)
class _Action:
    """What is to be done with dead letters."""

    #: As in "5 dead letters were ...".
    verb: str
    doing: str
    #: Asked before, with the number in it.
    question: str
    #: Whether nobody need be asked.
    sure: bool

    def start(self, choice: Choice, target: options.Target) -> None:
        """Choose, ask, do, and tell; exits with 130 when it was stopped, with 1 when an id was none."""
        selection = choice.chosen()
        common.run(self._run(target.shared(), selection, choice))

    async def _run(self, composed: Composition, selection: Selection, choice: Choice) -> None:
        async with _letters(composed) as letters:
            selected = await letters.select(selection)
            self._remark(selected)
            if choice.dry_run:
                output.show(_groups(selected), _GROUPS, as_json=choice.as_json)
                output.message(
                    f"{acting.count(selected.total, 'dead letter')} would be {self.verb}; nothing was changed"
                )
                raise typer.Exit(1 if selected.missing else 0)
            progress = acting.Progress(what="dead letter", verb=self.verb, total=selected.total)
            if selected.total:
                question = self.question.format(acting.count(selected.total, "dead letter"))
                acting.confirm(question, yes=choice.yes or self.sure)
                steps = letters.replay(selected) if self.verb == "put back" else letters.purge(selected)
                await acting.carry_out(progress, self.doing, steps)
            elif not selected.missing:
                output.message("there are no such dead letters")
        if choice.as_json:
            row: shapes.Handled = {
                "selected": progress.total,
                "done": progress.done,
                "gone": progress.taken - progress.done,
                "left": progress.total - progress.taken,
            }
            output.show([row], {}, as_json=True)
        if not progress.complete:
            raise typer.Exit(130)
        if selected.missing:
            raise typer.Exit(1)

    def _remark(self, selected: Selected) -> None:
        if selected.missing:
            output.message(f"no dead letters: {', '.join(selected.missing)}")
        if selected.expired and self.verb == "put back":
            output.message(f"{selected.expired:,} of them have expired, and will be cancelled instead of run")


def _groups(selected: Selected) -> list[shapes.Chosen]:
    return [
        {"queue": queue, "task": task or None, "reason": reason, "letters": count}
        for (queue, task, reason), count in sorted(selected.groups.items())
    ]


@asynccontextmanager
async def _letters(composed: Composition) -> AsyncIterator[DeadLetters]:
    from stem_core.control import DeadLetters

    async with composed.app.open(producer=False) as session:
        yield DeadLetters(session, common.tasks_by_queue(composed))
