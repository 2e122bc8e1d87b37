"""What came of a census, and the proof that nothing is missing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
from tasks import FileCount, count

from stem_core import Session, TaskHandle, TaskState, TaskStatus
from stem_core.contracts import KeepsDeadLetters
from stem_core.model import DeadMessage

#: Dead letters are read in pages of this many.
PAGE = 1_000


@attrs.frozen
class Report:
    """Everything that is known when the queue is empty."""

    files: Sequence[Path]
    #: By file, in their order: what the result backend says of its task.
    statuses: Sequence[TaskStatus]
    dead: Sequence[DeadMessage]
    #: The ledger: how often each attempt of each task was begun.
    begun: Counter[tuple[str, int]]
    #: What the broker still holds.
    queued: int

    @property
    def succeeded(self) -> dict[Path, FileCount]:
        """The result of every file that has one."""
        return {
            path: count.decode_result(status.result)
            for path, status in zip(self.files, self.statuses, strict=True)
            if status.state is TaskState.SUCCEEDED and status.result is not None
        }

    @property
    def failed(self) -> dict[Path, str]:
        """What was wrong with every file that was given up: the error's type and message."""
        return {
            path: f"{status.error.type}: {status.error.message}"
            for path, status in zip(self.files, self.statuses, strict=True)
            if status.state is TaskState.FAILED and status.error is not None
        }

    @property
    def retried(self) -> int:
        """How many files were tried more than once because their task failed."""
        return sum(status.attempt > 1 for status in self.statuses)

    @property
    def repeated(self) -> int:
        """How many runs were begun again although nothing had failed: their worker was lost."""
        return sum(times - 1 for times in self.begun.values())

    @property
    def fingerprint(self) -> str:
        """One checksum of all outcomes: two censuses of the same files have the same, whatever was killed."""
        lines = [
            f"{path} {counted.sha256} {counted.lines} {counted.functions}" for path, counted in self.succeeded.items()
        ]
        lines += [f"{path} dead" for path in self.failed]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]

    def gaps(self) -> list[str]:
        """What is missing or does not agree; nothing, when the census is complete."""
        found = []
        if open_ends := len(self.files) - len(self.succeeded) - len(self.failed):
            found.append(f"{open_ends} files have no outcome")
        if self.queued:
            found.append(f"{self.queued} tasks are still in the queue")
        given_up = {status.id for status in self.statuses if status.state is TaskState.FAILED}
        if given_up != {letter.message.id for letter in self.dead}:
            found.append(f"{len(given_up)} tasks failed, but {len(self.dead)} are in the dead letters")
        if never := {status.id for status in self.statuses} - {id for id, _ in self.begun}:
            found.append(f"{len(never)} tasks were never begun")
        return found


async def collect(
    session: Session, files: Sequence[Path], handles: Sequence[TaskHandle[FileCount]], ledger: str
) -> Report:
    """Ask the result backend for every single file, the broker for its dead letters, and count the ledger."""
    broker = session.broker
    assert isinstance(broker, KeepsDeadLetters)
    dead: list[DeadMessage] = []
    while page := await broker.dead_letters("census", limit=PAGE, after=dead[-1].message.id if dead else None):
        dead += page
    depth = (await broker.depth(["census"]))["census"]
    runs = [json.loads(line) for line in ledger.splitlines()]
    return Report(
        files=files,
        statuses=[await handle.status() for handle in handles],
        dead=dead,
        begun=Counter((run["id"], run["attempt"]) for run in runs),
        queued=depth.ready + depth.delayed + depth.leased,
    )


def show(report: Report, root: Path, *, killed: int, bound: int, seconds: float) -> bool:
    """Print the table; returns whether the census is complete."""
    succeeded, failed = report.succeeded, report.failed
    reasons = Counter(error.partition(":")[0] for error in failed.values())
    functions = sum(counted.functions or 0 for counted in succeeded.values())
    rows: list[tuple[str, int, str]] = [
        ("files in", len(report.files), f"under {root}"),
        ("succeeded", len(succeeded), _totals(succeeded, functions)),
        ("dead", len(failed), ", ".join(f"{times:,} x {reason}" for reason, times in reasons.most_common())),
        ("missing", len(report.files) - len(succeeded) - len(failed), "files in - succeeded - dead"),
        ("retried", report.retried, "files that failed and were tried again"),
        ("repeated", report.repeated, f"runs that a killed worker had begun; at most {bound} can be"),
        ("killed", killed, "workers, with kill -9" if killed else "workers"),
    ]
    print()
    for name, number, about in rows:
        print(f"  {name:<10}{number:>8,}   {about}".rstrip())
    print(f"\n  {seconds:.1f} s; fingerprint {report.fingerprint}, the same for every census of these files")
    if failed:
        path, error = min(failed.items(), key=lambda item: (item[0].suffix != ".py", item[0]))
        print(f"  one of the dead: {path.relative_to(root)}: {error}")
    gaps = report.gaps()
    print(f"\nNOT COMPLETE: {'; '.join(gaps)}" if gaps else "\ncomplete: every file has exactly one outcome")
    return not gaps


def _totals(succeeded: dict[Path, FileCount], functions: int) -> str:
    lines = sum(counted.lines for counted in succeeded.values())
    size = sum(counted.size for counted in succeeded.values())
    return f"{lines:,} lines, {functions:,} functions, {size / 1e6:.1f} MB"
