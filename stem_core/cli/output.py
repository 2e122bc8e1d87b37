"""What commands write: data to stdout, messages to stderr, and nothing that could steer a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stem_core.model.printable import clean

if TYPE_CHECKING:
    from rich.console import Console


def message(text: str) -> None:
    """One message to the person at the terminal."""
    print(clean(text, lines=True), file=sys.stderr, flush=True)


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
        _table(rows, columns)
    else:
        for row in rows:
            print("\t".join(clean(cell(row[key])) for key in columns), flush=True)


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


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        number = all(isinstance(row[key], int | float) and not isinstance(row[key], bool) for row in rows)
        table.add_column(heading, overflow="fold", justify="right" if number else "left")
    for row in rows:
        # Text, not str: square brackets in data are no markup.
        table.add_row(*(Text(clean(cell(row[key]))) for key in columns))
    console().print(table)


def console(*, stderr: bool = False) -> Console:
    """The terminal, for tables and progress bars. Knows ``NO_COLOR`` and whether it is a terminal at all."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
