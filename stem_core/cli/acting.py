"""What commands do that change much at once: ask first, show how far it is, stop in good order."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import attrs
import typer

from stem_core.cli import output
from stem_core.errors import ConfigurationError

#: From here on work is long enough for a bar.
LONG = 1_000


def confirm(question: str, *, yes: bool) -> None:
    """Ask the person at the terminal, unless they said ``--yes``; a no ends the command with 1.

    Raises:
        ConfigurationError: there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"nobody is here to answer: {question}", hint="give --yes to go ahead")
    if output.ask(f"{question} [y/N] ").lower() not in {"y", "yes"}:
        output.message("nothing was changed")
        raise typer.Exit(1)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within it the first Ctrl-C is only noted, for whoever asks; a second one ends the command at once."""
    from asyncio import get_running_loop

    loop = get_running_loop()
    noted = False

    def note() -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True
        output.message("stopping after this step; Ctrl-C again stops at once")

    loop.add_signal_handler(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def bar(doing: str, total: int, *, least: int = LONG) -> Iterator[Callable[[int], None]]:
    """Gives the function that is told of each so many that are done; a bar where there is a terminal to show it on."""
    if total < least or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.console(stderr=True)) as shown:
        line = shown.add_task(doing, total=total)
        yield lambda done: shown.advance(line, done)


@attrs.define
class Progress:
    """How far some work on many things came."""

    #: One of them, such as ``dead letter``.
    what: str
    #: What becomes of them, such as ``put back``.
    verb: str
    total: int
    #: How many were taken on.
    taken: int = 0
    #: How many of them were there and done.
    done: int = 0

    @property
    def complete(self) -> bool:
        """Whether all were taken on."""
        return self.taken >= self.total

    def told(self) -> str:
        """In one line."""
        if not self.complete:
            return (
                f"stopped: {self.done:,} of {count(self.total, self.what)} were {self.verb}; "
                "the same command again does the rest"
            )
        gone = self.taken - self.done
        return counted(self.done, self.what, self.verb) + (f"; {gone:,} had gone before" if gone else "")


def count(number: int, what: str) -> str:
    """``1 message``, ``5,000 messages``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def counted(number: int, what: str, verb: str) -> str:
    """``1 message was moved``, ``5,000 messages were moved``."""
    return f"{count(number, what)} {'was' if number == 1 else 'were'} {verb}"


async def carry_out(progress: Progress, doing: str, steps: AsyncIterator[tuple[int, int]]) -> None:
    """Do the steps with a bar, until they end or Ctrl-C is pressed; whatever happens, how far it came is told.

    Each step gives how many it took on and how many of those it did.
    """
    try:
        with bar(doing, progress.total) as advance, interruptible() as stopped:
            async for taken, done in steps:
                progress.taken += taken
                progress.done += done
                advance(taken)
                if stopped():
                    break
    finally:
        output.message(progress.told())
