"""``stem demo``: a tour in one process, with nothing to set up and nothing left behind."""

from __future__ import annotations

from typing import Annotated

import typer


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("demo", short_help="See Stem work, with nothing to set up.")(demo)


def demo(
    jobs: Annotated[int, typer.Option("--jobs", "-n", min=10, max=100_000, metavar="N", help="How many jobs.")] = 400,
) -> None:
    """See Stem work: jobs that succeed, fail and are tried again, and are given up.

    Everything happens in this process, on the memory broker with an embedded worker; settings and plugins of yours
    play no part, and nothing is written anywhere.
    """
    import asyncio

    from stem_core.cli import tour

    asyncio.run(tour.run(jobs))
