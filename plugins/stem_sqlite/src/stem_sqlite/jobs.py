"""What the thread of the connection is asked to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from stem_sqlite.transaction import Transaction


class Job:
    """One thing to be done in the database; ``run`` may be called again after a rollback."""

    __slots__ = ("future", "idle", "items", "run", "weight", "worth", "writes")

    def __init__(
        self,
        future: asyncio.Future[Any],
        run: Callable[..., Any],
        *,
        writes: bool,
        weight: int = 1,
        worth: Callable[[Transaction], bool] | None = None,
        idle: Any = None,
        items: Sequence[Any] | None = None,
    ) -> None:
        self.future = future
        #: Takes the transaction, and the items if there are any.
        self.run = run
        self.writes = writes
        #: About how many rows it writes.
        self.weight = weight
        #: Asked first, without the write lock; when it says no, the job is answered with ``idle``.
        self.worth = worth
        self.idle = idle
        #: What neighbours with an equal ``run`` do in one call, whose answer is that of each.
        self.items = items


def run_all(transaction: Transaction, jobs: Sequence[Job]) -> list[Any]:
    """Do the jobs in their order; the answer to each. A hundred publications of one message are one of a hundred."""
    answers: list[Any] = []
    for run, neighbours in groupby(jobs, key=attrgetter("run")):
        alike = list(neighbours)
        if alike[0].items is None:
            answers += [job.run(transaction) for job in alike]
        else:
            answers += [run(transaction, [item for job in alike for item in job.items or ()])] * len(alike)
    return answers
