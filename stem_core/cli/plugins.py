"""``stem plugins``: what is installed, what was selected, and what is wrong with the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from stem_core.cli import options, output
from stem_core.errors import StemError

if TYPE_CHECKING:
    from stem_core.cli import shapes
    from stem_core.plugins.report import PluginRow

_COLUMNS = {
    "name": "PLUGIN",
    "distribution": "DISTRIBUTION",
    "version": "VERSION",
    "state": "STATE",
    "provides": "PROVIDES",
    "why": "WHY",
}


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("plugins", short_help="List the plugins and what they provide.")(plugins)


@options.command
def plugins(target: options.Target, *, as_json: options.Json = False) -> None:
    """List the plugins: loaded, skipped (not selected), broken or duplicate, what each provides, and why.

    A plugin that is skipped is not imported.
    """
    problem: StemError | None = None
    try:
        composed = target.compose().app
        rows = composed.runtime.plugin_rows()
    except StemError as error:
        # This is where people look when nothing works: an app or a setting that is wrong does not hide the plugins.
        from stem_core.plugins.runtime import survey

        problem = error
        rows = survey(selection=target.plugins)
    output.show([_row(row) for row in rows], _COLUMNS, as_json=as_json)
    if problem is not None:
        raise problem


def _row(row: PluginRow) -> shapes.Plugin:
    return {
        "name": row.name,
        "distribution": row.distribution,
        "version": row.version,
        "state": row.state,
        "provides": list(row.provides),
        "why": row.why,
    }
