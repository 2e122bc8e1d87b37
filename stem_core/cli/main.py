"""``stem``: the entry point, the list of commands, and how errors look."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from stem_core.cli import demo, dlq, enqueue, health, output, plugins, queues, result, routes, settings, tasks, worker
from stem_core.errors import StemError

cli = typer.Typer(
    name="stem",
    help="Stem runs background jobs: enqueue tasks, run workers, look at what they do.",
    epilog="Data goes to stdout, messages to stderr. Tables become tab-separated lines in a pipe; "
    "--json gives one array of objects.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Plain text: what is shown does not depend on the terminal, and no variables are shown with a traceback.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        output.line(f"stem {version('stem-core')}")
        raise typer.Exit


def _misplaced(app: str | None) -> None:
    # Celery has it in front of the command, so that is where some write it.
    if app is not None:
        raise typer.BadParameter(f"it goes behind the command, as in: stem worker -A {app}")


@cli.callback()
def _stem(
    app: Annotated[str | None, typer.Option("--app", "-A", callback=_misplaced, hidden=True)] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for module in (worker, enqueue, result, queues, dlq, tasks, routes, plugins, settings, health, demo):
    module.register(cli)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit; the arguments default to those of the process.

    An error of ours is told as what it says and the next step, without a traceback; its class decides the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        # The commands find as their context's object whether the process has nothing else to do.
        cli(args=None if arguments is None else list(arguments), prog_name="stem", obj=arguments is None)
    except StemError as error:
        output.message(f"stem: error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
