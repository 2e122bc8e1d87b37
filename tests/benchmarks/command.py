"""The command line of ``make bench``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, report
from benchmarks.catalog import ALL, SUBJECTS
from benchmarks.model import FULL, QUICK, TINY
from benchmarks.sampling import chosen, measure
from benchmarks.servers import Servers

SIZES = {"full": FULL, "quick": QUICK, "tiny": TINY}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 when a sample failed. Missed targets do not fail: the machine may be busy."""
    given = _parser().parse_args(arguments)
    cells = chosen(given.subject, given.scenario)
    if not cells:
        sys.exit(f"nothing is called {given.subject} {given.scenario}; see --list")
    if given.list:
        for subject, scenario in cells:
            print(f"{subject.name}: {scenario}")
        return 0
    sizes = SIZES[given.size]
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="bench-") as place:
        folder = Path(place).resolve()
        servers = Servers(folder)
        about = machine.describe(folder, servers.version)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            total = bar.add_task("", total=len(cells) * (given.repetitions + given.warm_up))
            told = 0

            def progress(title: str) -> None:
                nonlocal told
                bar.update(total, completed=told, description=title)
                told += 1

            try:
                samples = measure(
                    cells,
                    sizes,
                    given.repetitions,
                    warm_up=given.warm_up,
                    folder=folder,
                    servers=servers,
                    progress=progress,
                )
            finally:
                servers.stop()
    given.json.write_text(json.dumps(report.as_json(samples, about, sizes, given.repetitions), indent=1) + "\n")
    print(report.as_markdown(samples, about, given.repetitions))
    print(f"written: {given.json}", file=sys.stderr)
    return 1 if samples.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description="Measure Stem beside peers and raw loops.")
    names = ", ".join(subject.name for subject in SUBJECTS)
    parser.add_argument(
        "-s", "--subject", action="append", default=[], help=f"only this row, or rows with this in the name: {names}"
    )
    parser.add_argument("-m", "--scenario", action="append", default=[], choices=ALL, help="only what this measures")
    parser.add_argument("-r", "--repetitions", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--size", choices=SIZES, default="full", help="how many jobs a sample takes")
    parser.add_argument("--quick", action="store_const", dest="size", const="quick", help="short for --size quick")
    parser.add_argument("--no-warm-up", action="store_false", dest="warm_up", help="start with the first repetition")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="default: %(default)s")
    parser.add_argument(
        "--folder", type=Path, default=Path(".stem"), help="databases are made below it; its disk is what is measured"
    )
    parser.add_argument("--list", action="store_true", help="show what would be measured")
    return parser
