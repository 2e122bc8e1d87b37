"""Count the files of a directory tree with two workers, and kill one of them in the middle.

python examples/census/run.py [DIR]     DIR: default Python's own library; KILL=0 kills nobody
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import report
from tasks import app, count
from workers import CONCURRENCY, PREFETCH, Workers

from stem_core import Session

SKIPPED = {"__pycache__", "site-packages", "dist-packages", ".git"}
#: A census in which nothing happens for this many seconds has failed.
STUCK = 60.0


def files_under(root: Path) -> list[Path]:
    """The files to count: no links, nothing that Python or git makes by itself."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - SKIPPED)
        found += [Path(folder, name) for name in sorted(names)]
    return [path for path in found if path.is_file() and not path.is_symlink() and _is_text(str(path))]


def _is_text(name: str) -> bool:
    """Arguments of tasks are JSON; a name that is not UTF-8 cannot be one."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


async def census(root: Path, files: Sequence[Path], folder: Path, *, kill: bool) -> bool:
    """Enqueue, run, kill, wait, prove. Returns whether every file has its outcome."""
    clock = asyncio.get_running_loop().time
    begun, ledger = clock(), folder / "ledger"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STEM_")}
    environment["STEM_BROKER_URL"] = f"sqlite:///{quote(str(folder))}/census.db"
    environment["STEM_DEFAULT_QUEUE"] = "census"
    environment["CENSUS_LEDGER"] = str(ledger)
    os.environ.clear()
    os.environ.update(environment)

    async with app.open() as session:
        with Workers(folder, environment) as workers:
            workers.start()
            workers.start()
            handles = await app.enqueue_many([count.call(str(path)) for path in files])
            killed = await follow(session, workers, len(files), kill=kill)
        found = await report.collect(session, files, handles, ledger.read_text())
    seconds = clock() - begun
    return report.show(found, root, killed=killed, bound=killed * (CONCURRENCY + PREFETCH), seconds=seconds)


async def follow(session: Session, workers: Workers, total: int, *, kill: bool) -> int:
    """Return when the queue is empty. Half-way, kill a worker and start another; returns how many were killed."""
    clock = asyncio.get_running_loop().time
    killed, done, changed = 0, -1, clock()
    with progress(total) as show:
        while done < total:
            workers.check()
            depth = (await session.broker.depth(["census"]))["census"]
            if done != (done := total - depth.ready - depth.delayed - depth.leased):
                changed = clock()
                show(done)
            if kill and not killed and total // 2 <= done < total:
                name = workers.kill()
                killed += 1
                workers.start()
                show(done, f"{name} was killed with kill -9; its work comes back when its lease ends")
            if clock() > changed + STUCK:
                raise SystemExit(f"census: nothing has happened for {STUCK:g} s, {done} of {total} files are done")
            await asyncio.sleep(0.1)
    return killed


@contextmanager
def progress(total: int) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        told = 0

        def line(done: int, message: str = "") -> None:
            nonlocal told
            if message or done >= told + max(1, total // 10) or done == total:
                told = done
                print(message or f"{done:,} of {total:,} files", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("counting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as bar:
        task = bar.add_task("", total=total)

        def advance(done: int, message: str = "") -> None:
            bar.update(task, completed=done)
            if message:
                bar.console.print(message)

        yield advance


async def supervised(root: Path, files: Sequence[Path], folder: Path, *, kill: bool) -> bool:
    """The census, which SIGTERM and a closed terminal stop as Ctrl-C does."""
    task = asyncio.create_task(census(root, files, folder, kill=kill))
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib")).resolve()
    files = files_under(root)
    if not files:
        print(f"census: there are no files under {root}", file=sys.stderr)
        return 2
    print(f"counting {len(files):,} files under {root}", flush=True)
    with tempfile.TemporaryDirectory(prefix="stem-census-") as folder:
        try:
            complete = asyncio.run(supervised(root, files, Path(folder), kill=os.environ.get("KILL") != "0"))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("\ncensus: stopped; the workers have ended, nothing is left behind", file=sys.stderr)
            return 130
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
