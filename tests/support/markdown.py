"""What the generated pages of the reference are laid out with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any


def table(headings: list[str], rows: Iterable[list[str]]) -> str:
    """A table; white space within a cell is folded."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"

    return line(headings) + "|" + "---|" * len(headings) + "\n" + "".join(line(row) for row in rows)


def first(found: Any) -> str:
    """The first paragraph of what a docstring says."""
    return prose(inspect.getdoc(found) or "").partition("\n\n")[0]


def prose(doc: str) -> str:
    """A docstring as Markdown: references of Sphinx and double back-ticks become code."""
    doc = doc.partition("\n\nRaises:")[0].partition("\n\nArgs:")[0]
    doc = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", doc)
    return doc.replace("``", "`")
