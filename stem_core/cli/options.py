"""The options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

APP = typer.Option(
    "--app",
    "-A",
    metavar="MODULE:ATTRIBUTE",
    help="The app: a Stem, or a function without arguments that returns one. [env: STEM_APP]",
    show_default=False,
)
BROKER = typer.Option("--broker", metavar="URL", help="Address of the broker. [env: STEM_BROKER_URL]")
BACKEND = typer.Option(
    "--backend",
    metavar="URL",
    help="Address of the result backend; none stores no results. [env: STEM_RESULT_BACKEND_URL]",
)
NAMESPACE = typer.Option(
    "--namespace", metavar="NAME", help="Prefix of everything that is stored. [env: STEM_NAMESPACE]"
)
PLUGIN = typer.Option(
    "--plugin",
    "-p",
    metavar="NAME",
    help="Load only the plugins named, or all but those named no:NAME; may be repeated. [env: STEM_PLUGINS]",
)
JSON = typer.Option("--json", help="Write one JSON array of objects.")

App = Annotated[str | None, APP]
Broker = Annotated[str | None, BROKER]
Backend = Annotated[str | None, BACKEND]
Namespace = Annotated[str | None, NAMESPACE]
Plugins = Annotated[list[str] | None, PLUGIN]
Json = Annotated[bool, JSON]
