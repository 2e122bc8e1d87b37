"""Change a price, and watch every worker forget the old one.

python examples/fanout/fanout.py
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent
#: Nothing here takes longer than this many seconds.
PATIENCE = 30.0


@contextmanager
def worker(name: str) -> Iterator[None]:
    """A worker in a process of its own: takes jobs from its own queue and listens to the channel ``prices``."""
    command = [sys.executable, "-m", "stem_core", "worker", "--name", name, "-Q", name, "--broadcast", "prices"]
    with subprocess.Popen(
        [*command, "-l", "error", "--log-format", "text"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                # The last line of the banner: from here on it listens.
                if line.startswith("stop: "):
                    break
            yield
        finally:
            process.terminate()
            process.communicate()


async def noted(folder: Path, *lines: str) -> None:
    """Wait until the lines are written down, then show them."""
    async with asyncio.timeout(PATIENCE):
        notes = folder / "notes"
        while not (notes.exists() and set(lines) <= set(notes.read_text().splitlines())):  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
    for line in lines:
        print(line)


async def show(folder: Path) -> None:
    """One price, two workers that know it, a change, and a third worker that comes late."""
    from prices import app, changed, quote

    prices = folder / "prices.json"
    prices.write_text(json.dumps({"tea": 3}))
    with ExitStack() as workers:
        workers.enter_context(worker("web1"))
        workers.enter_context(worker("web2"))
        async with app.open():
            for name in ("web1", "web2"):
                await quote.options(queue=name).enqueue("tea")
            await noted(folder, "web1 quotes tea at 3", "web2 quotes tea at 3")

            prices.write_text(json.dumps({"tea": 4}))
            await changed.enqueue("tea")
            await noted(folder, "web1 forgets what tea costs", "web2 forgets what tea costs")

            for name in ("web1", "web2"):
                await quote.options(queue=name).enqueue("tea")
            await noted(folder, "web1 quotes tea at 4", "web2 quotes tea at 4")

            workers.enter_context(worker("web3"))
            await noted(folder, "web3 forgets what tea costs")


def main() -> None:
    os.chdir(HERE)
    with tempfile.TemporaryDirectory(prefix="stem-fanout-") as folder:
        settings = {"FANOUT_FOLDER": folder, "STEM_BROKER_URL": f"sqlite:///{folder}/fanout.db"}
        for name in [name for name in os.environ if name.startswith("STEM_")]:
            del os.environ[name]
        os.environ.update(settings)
        asyncio.run(show(Path(folder)))


if __name__ == "__main__":
    main()
