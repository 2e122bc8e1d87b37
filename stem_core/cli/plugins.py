"""``stem plugins``: what is installed, what was selected, and what is wrong with the rest."""

from __future__ import annotations

import typer

from stem_core.cli import common, options, output

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


def plugins(
    app: options.App = None,
    as_json: options.Json = False,
    broker: options.Broker = None,
    backend: options.Backend = None,
    namespace: options.Namespace = None,
    plugins: options.Plugins = None,
) -> None:
    """List the plugins: loaded, skipped (not selected), broken or duplicate, what each provides, and why.

    A plugin that is skipped is not imported.
    """
    common.show_warnings()
    composed = common.compose_app(app, broker, backend, namespace, plugins).app
    output.show([row.as_json() for row in composed.runtime.plugin_rows()], _COLUMNS, as_json=as_json)
