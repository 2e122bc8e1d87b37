"""The shipped suite is worth its time: each of these errors, put into this broker, turns it red.

The suite runs inside this process, on modules that were changed for the while. A mutant changes a piece of text or a
function that has to be there: one that no longer fits the code is an error, and no mutant that nobody noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stem_core.model import DONE, Release, Retry
from stem_sqlite import claiming, inspecting, outcomes, settling
from stem_sqlite.transaction import Bulk

SUITE = """
from stem_core.testing.contracts import BrokerContract

class TestSqlite(BrokerContract):
    url = "sqlite:///{tmp_path}/stem.db"
    plugins = ("sqlite",)
    settings = {"sqlite.synchronous": "normal"}
"""
#: Plugins that hold things of the whole process, which are the outer run's.
LEFT_OUT = ("asyncio", "cacheprovider", "faulthandler", "hypothesispytest", "randomly", "terminal", "timeout")

Patch = pytest.MonkeyPatch


class Reports:
    """What became of the cases of one run."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            self.outcomes[report.outcome] += 1
            if report.failed:
                self.failed.append(report.nodeid.rpartition("::")[2])


def run_suite(folder: Path, chosen: str) -> Reports:
    """Run the cases until the first that fails."""
    suite = folder / "test_suite.py"
    suite.write_text(SUITE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    reports = Reports()
    left_out = [option for name in LEFT_OUT for option in ("-p", f"no:{name}")]
    options = ["-x", "--import-mode=importlib", f"--basetemp={folder / 'tmp'}", f"--rootdir={folder}"]
    pytest.main([*options, *left_out, "-c", str(folder / "pytest.ini"), "-k", chosen, str(suite)], plugins=[reports])
    return reports


def replace(patch: Patch, module: Any, name: str, old: str, new: str) -> None:
    """Change a statement."""
    before = getattr(module, name)
    text = before._sql if isinstance(before, Bulk) else before
    assert old in text, f"{module.__name__}.{name} no longer has {old!r}"
    after: Any = text.replace(old, new)
    patch.setattr(module, name, Bulk(after, before._columns) if isinstance(before, Bulk) else after)


def no_token_check(patch: Patch) -> None:
    """A receipt is good while the row is leased, whoever it was granted to."""

    def holds(transaction, namespace, receipts):
        parts = [settling._parts(receipt) for receipt in receipts]
        rows = {seq for (seq,) in transaction.rows("SELECT seq FROM messages WHERE state IN (0, 2)")}
        return [part[2] if part is not None and part[2] in rows else None for part in parts]

    assert settling._holds
    patch.setattr(settling, "_holds", holds)


def ack_by_id_only(patch: Patch) -> None:
    """The message of that id is settled, whatever the receipt says."""

    def holds(transaction, namespace, receipts):
        sql = "SELECT id, seq FROM messages WHERE ns = ? AND state IN (0, 1, 2)"
        rows = dict(transaction.rows(sql, (namespace,)))
        return [rows.get(receipt.id) for receipt in receipts]

    assert settling._holds
    patch.setattr(settling, "_holds", holds)


def promote_early(patch: Patch) -> None:
    """What is due within a second is ready."""
    replace(patch, claiming, "_DUE", "<= ?3", "<= ?3 + 1.0")
    replace(patch, claiming, "_PROMOTE_DELAYED", "at <= ?", "at <= ? + 1.0")


def promote_in_two_steps(patch: Patch) -> None:
    """Delayed messages are taken out first and put back as new ones; what they were in between is forgotten."""
    replace(
        patch, claiming, "_PROMOTE_DELAYED", "state = 0,", "state = 0, attempt = 1, crashes = 0, at = ROUND(at, -9),"
    )


def crash_is_not_counted(patch: Patch) -> None:
    """A lease that ran out is a hand-back."""
    replace(patch, claiming, "_PROMOTE_LAPSED", "suspect = 1", "token = NULL, suspect = (crashes > 0)")


def hand_back_counts(patch: Patch) -> None:
    """A release counts as an attempt."""
    placed = settling.Settling._placed

    def counted(self, action):
        state, at, tried, *rest = placed(self, action)
        return (state, at, 1 if isinstance(action, Release) else tried, *rest)

    patch.setattr(settling.Settling, "_placed", counted)


def retry_does_not_count(patch: Patch) -> None:
    """A retry is the same attempt again."""
    placed = settling.Settling._placed

    def uncounted(self, action):
        state, at, tried, *rest = placed(self, action)
        return (state, at, 0 if isinstance(action, Retry) else tried, *rest)

    patch.setattr(settling.Settling, "_placed", uncounted)


def replay_loses_the_run(patch: Patch) -> None:
    """A dead letter starts from nothing."""
    replace(patch, inspecting, "_REPLAY", "attempt = 1,", "attempt = 1, run = 0,")


def priority_is_ignored(patch: Patch) -> None:
    """First in, first out, and nothing else."""
    replace(patch, claiming, "_PICK", "ORDER BY priority DESC, at", "ORDER BY at")


def one_more_than_the_limit(patch: Patch) -> None:
    """A claim takes one more than it may."""
    replace(patch, claiming, "_PICK", "at, seq LIMIT ?3)", "at, seq LIMIT ?3 + 1)")


def extend_steals_back(patch: Patch) -> None:
    """A receipt that was superseded is good for extending."""

    def extend(transaction, namespace, receipts, until):
        rows = [part[2] for receipt in receipts if (part := settling._parts(receipt))]
        transaction.change(settling._EXTEND, (until, settling.numbers(rows)))
        return [DONE for _ in receipts]

    assert settling.extend
    patch.setattr(settling, "extend", extend)


def no_marker_after_ack(patch: Patch) -> None:
    """A finished id is forgotten at once."""
    assert outcomes.mark
    patch.setattr(outcomes, "mark", lambda *_: None)


def repeated_settlement_is_lost(patch: Patch) -> None:
    """What was settled is not remembered."""
    assert settling._settled_before
    patch.setattr(settling, "_settled_before", lambda *_: set())


def any_number_of_suspects(patch: Patch) -> None:
    """A claim takes every suspect there is."""
    replace(patch, claiming, "_PICK", "LIMIT min(?3, ?4)", "LIMIT ?3")


def purge_takes_the_leased(patch: Patch) -> None:
    """What is being worked on is purged, too."""
    replace(patch, inspecting, "_WAITING", "AND at <= ?3 LIMIT", "AND at > ?3 - 1e9 LIMIT")


#: Each with the cases that have to do with it.
MUTANTS: list[tuple[Callable[[Patch], None], str]] = [
    (no_token_check, "stale_receipt"),
    (ack_by_id_only, "stale_receipt"),
    (promote_early, "early"),
    (promote_in_two_steps, "suspect or retry or delay"),
    (crash_is_not_counted, "crash"),
    (hand_back_counts, "release or handed_back"),
    (retry_does_not_count, "retry or attempt"),
    (replay_loses_the_run, "replay"),
    (priority_is_ignored, "priority"),
    (one_more_than_the_limit, "the_limit"),
    (extend_steals_back, "extend or extending"),
    (no_marker_after_ack, "finished or dedupe or settled_again"),
    (repeated_settlement_is_lost, "settled_again or repeated"),
    (any_number_of_suspects, "suspect"),
    (purge_takes_the_leased, "purge"),
]


@pytest.mark.parametrize(("mutate", "chosen"), [pytest.param(*one, id=one[0].__name__) for one in MUTANTS])
def test_the_suite_notices(mutate: Callable[[Patch], None], chosen: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutate(patch)
        reports = run_suite(tmp_path, chosen)
    assert reports.failed, f"{mutate.__doc__} Nobody noticed in {reports.outcomes['passed']} cases."


def test_without_a_mutant_the_same_cases_pass(tmp_path: Path) -> None:
    reports = run_suite(tmp_path, " or ".join(f"({chosen})" for _, chosen in MUTANTS))
    assert not reports.failed
    assert reports.outcomes["passed"] > 100
    assert not reports.outcomes["skipped"]
