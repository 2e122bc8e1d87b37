"""``stem health``: whether the app could do its work from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from stem_core.cli import common, options, output

if TYPE_CHECKING:
    from stem_core.cli import shapes
    from stem_core.control import Check

_COLUMNS = {"check": "CHECK", "state": "STATE", "took": "LATENCY", "off": "SKEW", "told": "DETAIL"}
#: What a program exits with when a service it needs is not there, as in ``sysexits.h``.
UNHEALTHY = 69


def register(cli: typer.Typer) -> None:
    """Add the command."""
    cli.command("health", short_help="Check settings, plugins, stores and clocks.")(health)


@options.command
def health(target: options.Target, *, as_json: options.Json = False) -> None:
    """Check that settings and plugins can be used and that each store answers, with its latency, and compare clocks.

    SKEW is how far this machine's clock is ahead of the store's, where the store tells its time.

    Exit codes: 0 all is well, or with warnings; 69 something failed.
    """
    from stem_core.bootstrap import require_shared
    from stem_core.control.health import check_health, healthy

    composed = target.compose().app
    checks = common.run(check_health(composed))
    well = healthy(checks)
    if well:
        require_shared(composed.runtime, "a health check")
    rows = [_row(check) for check in checks]
    output.show(rows if as_json else [_for_people(row) for row in rows], _COLUMNS, as_json=as_json)
    for check in checks:
        if check.hint and not as_json:
            output.message(f"{check.name}: {check.hint}")
    if not well:
        raise typer.Exit(UNHEALTHY)


def _row(check: Check) -> shapes.Check:
    return {
        "check": check.name,
        "state": check.state,
        "target": check.target or None,
        "latency": None if check.latency is None else round(check.latency, 6),
        "skew": None if check.skew is None else round(check.skew, 3) + 0.0,
        "detail": check.detail,
        "hint": check.hint or None,
    }


def _for_people(row: shapes.Check) -> dict[str, Any]:
    latency, skew, target = row["latency"], row["skew"], row["target"]
    return {
        **row,
        "took": None if latency is None else f"{latency * 1000:.1f} ms",
        "off": None if skew is None else f"{skew:+.3f} s",
        "told": f"{target}: {row['detail']}" if target else row["detail"],
    }
