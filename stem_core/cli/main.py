"""``stem``: the entry point, the list of commands, and how errors look."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from stem_core.cli import output
from stem_core.errors import StemError

#: Modules of this package, each with the command of its name, as the help lists them.
COMMANDS = ("worker", "enqueue", "result", "queues", "dlq", "tasks", "routes", "plugins", "settings", "health", "demo")


def command_line(*commands: str) -> typer.Typer:
    """``stem`` with these commands."""
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
    cli.callback()(_stem)
    for name in commands:
        import_module(f"stem_core.cli.{name}").register(cli)
    return cli


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        output.line(f"stem {version('stem-core')}")
        raise typer.Exit


def _misplaced(app: str | None) -> None:
    # Celery has it in front of the command, so that is where some write it.
    if app is not None:
        raise typer.BadParameter(f"it goes behind the command, as in: stem worker -A {app}")


def _stem(
    app: Annotated[str | None, typer.Option("--app", "-A", callback=_misplaced, hidden=True)] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit; the arguments default to those of the process.

    An error of ours is told as what it says and the next step, without a traceback; its class decides the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    # All are made for the help, and for a name that is none of theirs; else one is enough, and the start is quicker.
    cli = command_line(*([name] if (name := next(iter(given), "")) in COMMANDS else COMMANDS))
    try:
        # The commands find as their context's object whether the process has nothing else to do.
        cli(args=given, prog_name="stem", obj=arguments is None)
    except StemError as error:
        output.message(f"stem: error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
