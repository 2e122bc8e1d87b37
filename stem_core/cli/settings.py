"""``stem settings``: every setting, its value, and who set it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from stem_core.cli import options, output

if TYPE_CHECKING:
    from stem_core.cli import shapes

_COLUMNS = {"key": "SETTING", "value": "VALUE", "origin": "FROM"}


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("settings", short_help="Show every setting and where it came from.")(settings)


@options.command
def settings(target: options.Target, *, as_json: options.Json = False) -> None:
    """Show every setting, its value, and where that came from; secrets are masked.

    What is set on the command line goes before the environment, that before the code of the app, that before
    stem.toml, and that before the default.
    """
    composed = target.compose().app
    rows: list[shapes.Setting] = [
        {
            "key": row.key,
            "value": row.value,
            "origin": row.origin,
            "variable": row.variable,
            "accepts": row.accepts,
            "help": row.help,
        }
        for row in composed.runtime.settings.rows()
    ]
    output.show(rows, _COLUMNS, as_json=as_json)
