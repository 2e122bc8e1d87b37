"""A service with workers in it, one after the other: ``python -m support.embedding``. Prints for each life what the
process held before it and after it, as one line of JSON."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from contextlib import suppress
from pathlib import Path

from stem_core.worker import Worker
from support.ledger import Ledger
from support.proc_table import family, open_files
from support.stop_jobs import app
from support.until import until

STRATEGIES, MODES = ("event_loop", "threads", "processes"), ("warm", "soft", "hard")


def _holds() -> dict[str, object]:
    files = open_files(os.getpid()).values()
    return {
        # The number of a socket or pipe is another one each time.
        "files": sorted(file.partition(":[")[0] for file in files if not file.startswith("/proc/")),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "children": sorted(family(os.getpid())),
        "tasks": sorted(task.get_name() for task in asyncio.all_tasks()),
    }


async def _live(strategy: str, mode: str, ledger: Ledger, door: Path) -> dict[str, object]:
    queue = f"{strategy}-{mode}"
    kind = "finishing" if mode == "warm" else "busy"
    task = app.tasks[f"{kind}_coroutine" if strategy == "event_loop" else kind]
    before, begun = _holds(), len(ledger.events("start"))
    async with app.open():
        async with Worker(app, strategy=strategy, queues=[queue], concurrency=2, processes=2) as worker:
            await app.enqueue_many([task.options(queue=queue).call(str(door)) for _ in range(4)])
            await until(lambda: len(ledger.events("start")) == begun + 2)
            threading.Thread(target=worker.stop, args=(mode,)).start()
            await until(lambda: worker.phase not in ("running", "starting"))
            door.touch()
        door.unlink()
        depth = (await app.session.broker.depth([queue]))[queue]
    with suppress(TimeoutError):
        # The thread of a store may take a moment to be gone.
        await until(lambda: _holds() == before, 2.0)
    return {
        "strategy": strategy,
        "mode": mode,
        "exit_code": worker.exit_code,
        "ready": depth.ready,
        "leased": depth.leased,
        "before": before,
        "after": _holds(),
    }


async def _main() -> None:
    ledger = Ledger(Path(os.environ["STEM_TEST_LEDGER"]))
    door = ledger.path.with_name("door")
    for strategy, mode in itertools.product(STRATEGIES, MODES):
        print(json.dumps(await _live(strategy, mode, ledger, door)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
