"""Thousands of dead letters put back by a real command, stopped in the middle and begun anew."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress

import pytest

from stem_core.clock import SYSTEM_CLOCK

LETTERS = 5_000
APP = """
import os
from pathlib import Path

from stem_core import RetryPolicy, Stem, TaskContext
from support.ledger import note

app = Stem("bank")


@app.task(name="pay", max_retries=1, retry=RetryPolicy.fixed(0))
async def pay(ctx: TaskContext, euros: int) -> int:
    note(os.environ["STEM_TEST_LEDGER"], "pay", id=ctx.id, run=ctx.run, attempt=ctx.attempt, euros=euros)
    if not Path("mended").exists():
        raise ConnectionError("the bank sleeps")
    return euros
"""


@pytest.fixture
def bank(site):
    (site.folder / "bank.py").write_text(APP)
    site.app = "bank:app"
    return site


def stem(bank, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "stem_core", *arguments, "-A", bank.app],
        cwd=bank.folder,
        env=bank.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def work(bank):
    worker = bank.worker("--burst", "-l", "critical", ready=False)
    assert worker.wait(60) == 0


def runs(bank):
    """What each job was seen as, in order: (run, attempt)."""
    seen = {}
    for line in bank.ledger.events("pay"):
        seen.setdefault(line["id"], []).append((line["run"], line["attempt"]))
    return seen


def hold_in_the_middle(database):
    """Return with the write lock of the database when some of the letters were put back, and not all."""
    deadline = SYSTEM_CLOCK.monotonic() + 30
    while SYSTEM_CLOCK.monotonic() < deadline:
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            continue  # the command holds it
        (dead,) = database.execute("SELECT count(*) FROM messages WHERE state = 3").fetchone()
        if 0 < dead < LETTERS:
            return dead
        database.execute("ROLLBACK")
        assert dead, "all were put back before anybody could look"
        # Whoever takes the lock again at once leaves the command none to get it in.
        time.sleep(0.002)
    raise TimeoutError("nothing was put back")


def replay_and_press_ctrl_c(bank):
    """The exit code, standard output, and what the terminal showed."""
    screen, inside = os.openpty()
    command = [sys.executable, "-m", "stem_core", "dlq", "replay", "--all", "--yes", "--json", "-A", bank.app]
    # Behind this process, so that it does not run through while nobody looks.
    command = ["nice", "-n", "19", *command]
    with closing(sqlite3.connect(bank.folder / "stem.db", timeout=0, isolation_level=None)) as database:
        process = subprocess.Popen(
            command,
            cwd=bank.folder,
            env=bank.environment | {"TERM": "xterm", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=inside,
            text=True,
        )
        os.close(inside)
        try:
            hold_in_the_middle(database)
            process.send_signal(signal.SIGINT)
            database.execute("ROLLBACK")
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    return process.returncode, out, read_all(screen)


def read_all(screen):
    shown = b""
    with suppress(OSError):  # nobody has the other end any more
        while part := os.read(screen, 65_536):
            shown += part
    os.close(screen)
    return " ".join(shown.decode().split())


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_five_thousand_are_replayed_with_ctrl_c_in_the_middle(bank):
    ids = await bank.enqueue("pay", 7, count=LETTERS)
    work(bank)
    assert set(map(tuple, runs(bank).values())) == {((1, 1), (2, 2))}
    (before,) = json.loads(stem(bank, "queues", "--json").stdout)
    assert (before["dead"], before["ready"]) == (LETTERS, 0)
    dry = stem(bank, "dlq", "replay", "--all", "--dry-run")
    assert dry.stdout == f"default\tpay\tfailed\t{LETTERS}\n"

    code, out, shown = replay_and_press_ctrl_c(bank)
    (told,) = json.loads(out)
    assert code == 130, shown
    assert 0 < told["done"] < LETTERS
    assert (told["selected"], told["gone"], told["left"]) == (LETTERS, 0, LETTERS - told["done"])
    assert f"stopped: {told['done']:,} of 5,000 dead letters were put back; the same command again does the" in shown
    assert "putting back" in shown, "there is a bar on a terminal"
    (between,) = json.loads(stem(bank, "queues", "--json").stdout)
    assert (between["dead"], between["ready"]) == (told["left"], told["done"])

    again = stem(bank, "dlq", "replay", "--all", "--yes")
    assert (again.returncode, again.stderr) == (0, f"{told['left']:,} dead letters were put back\n")
    (after,) = json.loads(stem(bank, "queues", "--json").stdout)
    assert (after["dead"], after["ready"]) == (0, LETTERS)
    assert stem(bank, "dlq", "replay", "--all", "--yes").stderr == "there are no such dead letters\n"

    (bank.folder / "mended").touch()
    work(bank)
    seen = runs(bank)
    assert set(seen) == set(ids)
    # The attempts begin anew, the run goes on, and nothing ran twice.
    assert Counter(map(tuple, seen.values())) == {((1, 1), (2, 2), (3, 1)): LETTERS}
    (end,) = json.loads(stem(bank, "queues", "--json").stdout)
    assert (end["dead"], end["ready"], end["in_flight"]) == (0, 0, 0)
    assert (await bank.status(ids[0])).state == (await bank.status(ids[-1])).state == "succeeded"


async def test_live_workers_are_the_readers_of_their_queues(bank):
    await bank.enqueue("pay", 1, queue="slow")
    worker = bank.worker("-Q", "mail,default", "--name", "web1")
    rows = {row["queue"]: row for row in json.loads(stem(bank, "queues", "--json").stdout)}
    assert {name: row["workers"] for name, row in rows.items()} == {"default": ["web1"], "mail": ["web1"], "slow": []}
    assert [row["readers"] for row in rows.values()] == [1, 1, 0]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    rows = json.loads(stem(bank, "queues", "--json").stdout)
    assert not any(row["workers"] for row in rows)
