"""Two workers, one long task and twenty short ones: with a prefetch, and without.

python examples/fairness/fairness.py
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stem_core import Stem

LONG, SHORT, COUNT = 3.0, 0.05, 20

app = Stem("fairness")


@app.task(name="nap")
async def nap(seconds: float) -> None:
    """Take a while."""
    await asyncio.sleep(seconds)


@contextmanager
def two_workers(folder: Path, prefetch: int) -> Iterator[None]:
    """Two workers of one slot each, in processes of their own."""
    command = [sys.executable, "-m", "stem_core", "worker", "fairness:app", "-l", "critical"]
    command += ["--concurrency", "1", "--prefetch", str(prefetch)]
    with (folder / f"workers-{prefetch}.log").open("wb") as log:
        workers = [
            subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.DEVNULL, stderr=log) for _ in range(2)
        ]
    try:
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait()


async def trial(folder: Path, prefetch: int) -> int:
    """How many of the short tasks ended only after the long one."""
    calls = [nap.call(LONG), *(nap.call(SHORT) for _ in range(COUNT))]
    handles = await app.enqueue_many(calls)
    with two_workers(folder, prefetch):
        for handle in handles:
            await handle.result(timeout=60)
    long, *short = [(await handle.status()).finished_at or 0.0 for handle in handles]
    return sum(ended > long for ended in short)


async def compare(folder: Path) -> None:
    """Print what comes of both."""
    print(f"two workers with one slot each, one task of {LONG:g} s and {COUNT} of {SHORT:g} s:")
    async with app.open():
        for prefetch in (COUNT // 2, 0):
            late = await trial(folder, prefetch)
            print(f"  prefetch {prefetch:2}: {late:2} of the short ones waited for the long one")


def main() -> None:
    """Run it on a database of its own."""
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STEM_BROKER_URL"] = f"sqlite:///{folder}/fairness.db"
        asyncio.run(compare(Path(folder)))


if __name__ == "__main__":
    main()
