"""Looking again and again, on a terminal."""

from __future__ import annotations

import sys
from asyncio import sleep
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.text import Text

from stem_core.cli import common, output
from stem_core.errors import ConfigurationError, StoreError
from stem_core.model.printable import clean

if TYPE_CHECKING:
    from stem_core.client import Session, Stem

Look = Callable[["Session"], Awaitable[Sequence[Mapping[str, Any]]]]


def require_terminal() -> None:
    """Refuse to draw where nothing can be drawn anew.

    Raises:
        ConfigurationError: standard output is no terminal.
    """
    if not sys.stdout.isatty():
        raise ConfigurationError(
            "--watch draws on a terminal, and standard output is none", hint="leave --watch out to look once"
        )


def run(app: Stem, look: Look, columns: Mapping[str, str], *, every: float) -> None:
    """Show what ``look`` finds, and again ``every`` so many seconds, until Ctrl-C.

    A store that does not answer is told below the last table, and asked again.
    """
    try:
        common.run(_watch(app, look, columns, every))
    except KeyboardInterrupt:
        # The way to end it, so no failure.
        return


async def _watch(app: Stem, look: Look, columns: Mapping[str, str], every: float) -> None:
    rows: Sequence[Mapping[str, Any]] = []
    async with app.open(producer=False) as session:
        with Live(console=output.console(), auto_refresh=False) as live:
            while True:
                note = f"every {every:g} s; Ctrl-C ends"
                try:
                    rows = await look(session)
                except StoreError as error:
                    note = f"{error.message}; looking again"
                live.update(Group(output.table(rows, columns), Text(clean(note), "dim")), refresh=True)
                await sleep(every)
