"""What commands write: data to stdout, messages to stderr, and nothing that could steer a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stem_core.model.printable import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def message(text: str) -> None:
    """One message to the person at the terminal."""
    print(clean(text, lines=True), file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """What the person at the terminal answers; empty for no answer."""
    print(clean(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def line(text: str) -> None:
    """One line of data."""
    print(clean(text), flush=True)


def show(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool) -> None:
    """Write rows as data.

    As JSON: one array of objects, with all keys of the rows. On a terminal: a table of the ``columns``, which map
    keys to headings. Into a pipe: the same columns, tab-separated, one row a line, without headings.
    """
    if as_json:
        import json

        # ASCII only, so that the text is harmless on any terminal and in any encoding.
        print(json.dumps([dict(row) for row in rows], indent=2, ensure_ascii=True), flush=True)
    elif sys.stdout.isatty():
        console().print(table(rows, columns))
    else:
        for row in rows:
            print("\t".join(clean(cell(row[key])) for key in columns), flush=True)


def markdown(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Write rows as a table in Markdown."""

    def written(cells: Iterable[str]) -> str:
        return "| " + " | ".join(clean(each).replace("|", "\\|") for each in cells) + " |"

    print(written(columns.values()), "|" + "---|" * len(columns), sep="\n")
    for row in rows:
        print(written(cell(row[key]) for key in columns), flush=True)


def cell(value: object) -> str:
    """A value of a row as text: lists joined by commas, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {cell(item)}" for key, item in value.items())
    return str(value)


def record(row: Mapping[str, Any], labels: Mapping[str, str], *, as_json: bool) -> None:
    """Write one thing as data: as JSON as :func:`show`; else a line a value, after its label on a terminal and after
    its key in a pipe. Values of several lines keep them on a terminal."""
    if as_json:
        show([row], labels, as_json=True)
        return
    width = max(map(len, labels.values())) + 2
    for key, label in labels.items():
        text = cell(row[key])
        if not sys.stdout.isatty():
            print(f"{key}\t{clean(text)}", flush=True)
        elif text:
            shown = clean(text.rstrip("\n"), lines=True).replace("\n", "\n" + " " * width)
            print(f"{label:{width}}{shown}", flush=True)


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Table:
    """The table that :func:`show` draws on a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        number = all(isinstance(row[key], int | float) and not isinstance(row[key], bool) for row in rows)
        table.add_column(heading, overflow="fold", justify="right" if number else "left")
    for row in rows:
        # Text, not str: square brackets in data are no markup.
        table.add_row(*(Text(clean(cell(row[key]))) for key in columns))
    return table


def console(*, stderr: bool = False) -> Console:
    """The terminal, for tables and progress bars. Knows ``NO_COLOR`` and whether it is a terminal at all."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
