"""What commands do before and around their own work."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, overload

import typer

from stem_core.cli import output
from stem_core.errors import InvalidOption

if TYPE_CHECKING:
    from stem_core.bootstrap import Composition
    from stem_core.client import Stem
    from stem_core.tasks import TaskRegistry

T = TypeVar("T")


def refuse_options_before(ctx: typer.Context) -> None:
    """Refuse options that stand between a command and the one below it: they would say nothing to that."""
    if any(ctx.params.values()):
        raise typer.BadParameter(
            f"options go behind the command: {ctx.command_path} {ctx.invoked_subcommand} ..., not before it"
        )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do ``work`` on an event loop; ``asyncio`` is not loaded before."""
    import asyncio

    return asyncio.run(work)


def tasks_by_queue(composed: Composition) -> dict[str, list[str]]:
    """The names of the app's tasks by the queue they go to; nothing where no app is named."""
    if not composed.named:
        return {}
    found: dict[str, list[str]] = {}
    settings = composed.app.runtime.settings.app
    for task in known_tasks(composed.app):
        queue, channel = settings.routing_config.destination(task.name, task.queue or settings.default_queue)
        if channel is None:
            found.setdefault(queue, []).append(task.name)
    return found


def known_tasks(app: Stem) -> TaskRegistry:
    """The tasks of the app, those of its ``include`` among them."""
    from stem_core.tasks import import_tasks

    import_tasks(app.include)
    return app.tasks


def span(option: str, text: str | None) -> float | None:
    """The seconds of an option such as ``--delay 5s``.

    Raises:
        InvalidOption: it cannot be read.
    """
    from stem_core.settings import parsers

    if text is None:
        return None
    parser = parsers.duration()
    try:
        return parser(text)
    except parsers.NotAccepted:
        raise InvalidOption(option, text, parser.accepts) from None


@overload
def moment(seconds: float) -> str: ...


@overload
def moment(seconds: float | None) -> str | None: ...


def moment(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC; as the number that it is where no calendar reaches."""
    from datetime import UTC, datetime

    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.3f}"


def age(seconds: float | None) -> str | None:
    """A span of time for people: ``0.4 s``, ``12 min``, ``3 h``, ``9 d``."""
    if seconds is None:
        return None
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.1f} s"


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count:,} B" if count < 10_240 else f"{count / 1024:,.0f} KiB"


class _Messages(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        output.message(f"stem: {record.levelname.lower()}: {record.getMessage()}")


def show_warnings() -> None:
    """Tell warnings of the core as messages; for commands that have no log of their own."""
    logger = logging.getLogger("stem_core")
    if not logger.handlers:
        logger.addHandler(_Messages(logging.WARNING))
        logger.propagate = False
