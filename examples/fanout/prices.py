"""Workers that keep prices in memory. When a price changes, every worker has to forget the one it knows."""

from __future__ import annotations

import json
import os
from pathlib import Path

from stem_core import Stem, TaskContext

app = Stem("fanout")

#: Where the prices are kept, and what happened is written down.
FOLDER = Path(os.environ.get("FANOUT_FOLDER", "."))

#: What this worker knows. No other process can reach it.
known: dict[str, float] = {}


@app.task(name="prices.quote")
async def quote(ctx: TaskContext, item: str) -> float:
    """For one worker: the price, looked up once and remembered."""
    if item not in known:
        known[item] = json.loads((FOLDER / "prices.json").read_text())[item]
    note(f"{ctx.worker} quotes {item} at {known[item]:g}")
    return known[item]


@app.task(name="prices.changed")
async def changed(ctx: TaskContext, item: str) -> None:
    """For every worker: stem.toml routes it to a broadcast channel."""
    known.pop(item, None)
    note(f"{ctx.worker} forgets what {item} costs")


def note(line: str) -> None:
    """Write down what happened, for all processes in one file."""
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{line}\n")
