import asyncio
import io
import json
import os
import signal
import sys

import pytest

APP = """
import os
from stem_core import Stem
app = Stem('shop')

@app.task(queue='mail', max_retries=0)
async def send(text: str) -> str:
    if text != 'well':
        raise ValueError(text)
    return text

@app.task(max_retries=0)
async def pay(euros: int) -> int:
    raise ConnectionError('the bank sleeps')
"""


@pytest.fixture
def shop(write, stem, shared):
    write("tasks.py", APP)

    def run(command, *arguments):
        return stem(*command.split(), *arguments, "-A", "tasks:app", *shared)

    return run


@pytest.fixture
def dead(shop):
    """Three dead letters: a and b of the queue mail, c of the default queue."""
    for id, task, text in (("a", "send", '["no\\u001b[31m"]'), ("b", "send", '["no"]'), ("c", "pay", "[7]")):
        shop(f"enqueue tasks.{task}", text, "--id", id)
    assert shop("worker --burst -Q mail,default -l critical").code == 0
    return shop


def names(done):
    return [line.split("\t")[0] for line in done.out.splitlines()]


def error(message, hint):
    return f"stem: error: {message}\n  hint: {hint}\n"


def test_nothing_there(shop):
    assert (shop("dlq list").code, shop("dlq list").out) == (0, "")
    assert shop("dlq list --json").out == "[]\n"
    done = shop("dlq replay --all")
    assert (done.code, done.out, done.err) == (0, "", "there are no such dead letters\n")


def test_listing(dead):
    done = dead("dlq list")
    assert (done.code, done.err) == (0, "")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [(row[0], row[1], row[2], row[3], row[4], row[6]) for row in rows] == [
        ("c", "default", "tasks.pay", "failed", "1", "ConnectionError: the bank sleeps"),
        ("a", "mail", "tasks.send", "failed", "1", "ValueError: no\\x1b[31m"),
        ("b", "mail", "tasks.send", "failed", "1", "ValueError: no"),
    ]
    assert all(row[5].endswith(" s ago") for row in rows)
    assert names(dead("dlq list --queue mail")) == ["a", "b"]
    assert names(dead("dlq list -Q mail -Q default --task *.send")) == ["a", "b"]
    assert names(dead("dlq list --task *.[ps]* --since 1h")) == ["c", "a", "b"]
    assert names(dead("dlq list --since 0")) == []


def test_more_than_the_limit(dead):
    done = dead("dlq list --limit 2")
    assert names(done) == ["c", "a"]
    assert done.err == "there are more than these 2: --limit N shows more of them\n"
    assert dead("dlq list --limit 3").err == ""


def test_dead_letters_as_json(dead):
    assert [row["id"] for row in json.loads(dead("dlq list --json").out)] == ["c", "a", "b"]
    (row,) = json.loads(dead("dlq show c --json").out)
    assert (row["root_id"], row["headers"], row["payload"]) == ("c", {}, None)
    assert list(row["error"]) == ["type", "message", "traceback"]
    (row,) = json.loads(dead("dlq show c --json --payload").out)
    assert row["payload"] == [[7], {}]


def test_showing_one(dead):
    done = dead("dlq show a --payload")
    assert (done.code, done.err) == (0, "")
    shown = dict(line.split("\t") for line in done.out.splitlines())
    assert shown["detail"] == "ValueError: no\\x1b[31m"
    assert shown["payload"] == '[["no\\u001b[31m"], {}]'
    assert shown["traceback"].startswith("Traceback (most recent call last):\\n")
    assert dict(line.split("\t") for line in dead("dlq show a").out.splitlines())["payload"] == ""


def test_showing_one_on_a_terminal(dead, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", screen)
    dead("dlq show a")
    lines = screen.getvalue().splitlines()
    assert lines[:5] == [
        "Id           a", "Queue        mail", "Task         tasks.send", "Reason       failed",
        "Detail       ValueError: no\\x1b[31m",
    ]  # fmt: skip
    assert lines[-1] == "             ValueError: no\\x1b[31m"
    assert "Traceback    Traceback (most recent call last):" in lines
    assert not [line for line in lines if line.startswith(("Payload", "Unreadable"))]


def test_unknown_ids(dead):
    done = dead("dlq show nobody")
    assert (done.code, done.out) == (1, "")
    assert done.err == error(
        "there is no dead letter nobody",
        "`stem result nobody` shows what became of the job, `stem dlq list` what there is",
    )
    assert dead("dlq show", "no such id").code == 2
    done = dead("dlq list --queue mial")
    assert done.code == 1
    assert "did you mean mail?" in done.err


def test_replay_by_id(dead):
    done = dead("dlq replay a c")
    assert (done.code, done.out, done.err) == (0, "", "2 dead letters were put back\n")
    assert names(dead("dlq list")) == ["b"]
    assert names(dead("queues peek mail")) == ["a"]
    # Again, and one that is there: what can be done is done, and what is not there is told.
    done = dead("dlq replay a b")
    assert (done.code, done.err) == (1, "no dead letters: a\n1 dead letter was put back\n")
    done = dead("dlq replay a")
    assert (done.code, done.err) == (1, "no dead letters: a\n")


def test_replay_runs_them_again_from_the_first_attempt(dead):
    dead("dlq replay --task *.pay --yes")
    assert dead("worker --burst -l critical").code == 0
    (row,) = json.loads(dead("dlq show c --json").out)
    assert (row["attempt"], row["run"]) == (1, 2)


def test_a_dry_run_changes_nothing(dead):
    for verb, command in (("put back", "replay"), ("removed", "purge")):
        done = dead(f"dlq {command} --all --dry-run")
        assert done.code == 0
        assert done.out == "default\ttasks.pay\tfailed\t1\nmail\ttasks.send\tfailed\t2\n"
        assert done.err == f"3 dead letters would be {verb}; nothing was changed\n"
    rows = json.loads(dead("dlq purge --queue mail --dry-run --json").out)
    assert rows == [{"queue": "mail", "task": "tasks.send", "reason": "failed", "letters": 2}]
    assert dead("dlq replay a nobody --dry-run").code == 1
    assert len(names(dead("dlq list"))) == 3


def test_a_choice_is_asked_about(dead, monkeypatch):
    done = dead("dlq replay --queue mail")
    assert done.code == 2
    assert done.err == error(
        "nobody is here to answer: Put 2 dead letters back into their queues?", "give --yes to go ahead"
    )
    done = dead("dlq purge a")
    assert done.err == error("nobody is here to answer: Remove 1 dead letter for good?", "give --yes to go ahead")
    keyboard = io.StringIO("y\n")
    keyboard.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", keyboard)
    assert dead("dlq purge a").err.endswith("1 dead letter was removed\n")
    assert names(dead("dlq list")) == ["c", "b"]


def test_the_keys_of_what_was_done_are_stable(dead):
    done = dead("dlq replay --queue mail --yes --json")
    assert json.loads(done.out) == [{"selected": 2, "done": 2, "gone": 0, "left": 0}]
    done = dead("dlq purge --since 1h -y --json")
    assert json.loads(done.out) == [{"selected": 1, "done": 1, "gone": 0, "left": 0}]
    assert json.loads(dead("dlq list --json").out) == []


@pytest.mark.parametrize("command", ["replay", "purge"])
def test_something_has_to_be_chosen_once(dead, command):
    done = dead(f"dlq {command} --yes")
    assert done.err == error(
        "no dead letters were chosen", "give ids, --queue, --since or --task, or --all for all of them"
    )
    assert (done.code, done.out) == (2, "")
    for arguments in ("a --queue mail", "a --all", "--all --task x", "--since soon", "--queue a,b"):
        assert dead(f"dlq {command} {arguments} --yes").code == 2
    assert len(names(dead("dlq list"))) == 3


def test_expired_ones_are_told(shop, monkeypatch):
    shop("enqueue tasks.pay [1] --id e --expires 1h")
    shop("worker --burst -l critical")
    from stem_core.builtin.memory_broker import MemoryBroker

    now = MemoryBroker.now

    async def later(self):
        return await now(self) + 7200

    monkeypatch.setattr(MemoryBroker, "now", later)
    done = shop("dlq replay e")
    assert done.err == ("1 of them have expired, and will be cancelled instead of run\n1 dead letter was put back\n")


def test_what_cannot_be_read_is_shown_all_the_same(dead, monkeypatch):
    from stem_core.builtin.memory_broker import MemoryBroker
    from stem_core.model import Message

    page, one = MemoryBroker.dead_letters, MemoryBroker.dead_letter

    def spoil(letter):
        letter.message = Message(id=letter.message.id, queue="mail", priority=5, header=b"\xff", payload=b"\xff[")
        return letter

    async def spoiled_page(self, queue, **options):
        return [spoil(letter) for letter in await page(self, queue, **options)]

    async def spoiled_one(self, id):
        return spoil(await one(self, id))

    monkeypatch.setattr(MemoryBroker, "dead_letters", spoiled_page)
    monkeypatch.setattr(MemoryBroker, "dead_letter", spoiled_one)
    assert dead("dlq list").out.splitlines()[0].split("\t")[2] == "(unreadable)"
    (row,) = json.loads(dead("dlq show a --json --payload").out)
    assert (row["task"], row["headers"], row["payload"]) == (None, None, "\\xff[")
    assert row["problem"].startswith("the header is unreadable: ")
    assert "problem\tthe header is unreadable: " in dead("dlq show a").out
    assert names(dead("dlq list --task x*")) == []


def ctrl_c_after(monkeypatch, presses):
    """Ctrl-C is pressed while the store puts back the first few."""
    from stem_core.builtin.memory_broker import MemoryBroker
    from stem_core.control import dead_letters

    replay = MemoryBroker.replay
    steps = []

    async def slow(self, ids):
        done = await replay(self, ids)
        steps.append(ids)
        if len(steps) == 1:
            for _ in range(presses):
                os.kill(os.getpid(), signal.SIGINT)
                # The loop hears of it in its next turns.
                await asyncio.sleep(0.01)
        return done

    monkeypatch.setattr(dead_letters, "STEP", 2)
    monkeypatch.setattr(MemoryBroker, "replay", slow)
    return steps


def test_ctrl_c_ends_the_step_that_was_begun_and_says_how_far_it_came(dead, monkeypatch):
    steps = ctrl_c_after(monkeypatch, 1)
    done = dead("dlq replay --all --yes --json")
    assert done.code == 130
    assert done.err == (
        "stopping after this step; Ctrl-C again stops at once\n"
        "stopped: 1 of 3 dead letters were put back; the same command again does the rest\n"
    )
    assert json.loads(done.out) == [{"selected": 3, "done": 1, "gone": 0, "left": 2}]
    assert steps == [["c"]]
    done = dead("dlq replay --all --yes")
    assert (done.code, done.err) == (0, "2 dead letters were put back\n")
    assert names(dead("queues peek mail")) == ["a", "b"]


def test_ctrl_c_twice_ends_it_at_once(dead, monkeypatch):
    ctrl_c_after(monkeypatch, 2)
    done = dead("dlq replay --queue mail --yes")
    assert (done.code, done.out) == (130, "")
    assert done.err.splitlines()[-1] == (
        "stopped: 0 of 2 dead letters were put back; the same command again does the rest"
    )
    # The step that was begun had happened all the same; saying less than was done is the safe side.
    assert dead("dlq replay --queue mail --yes").err == "there are no such dead letters\n"


def test_ctrl_c_in_the_last_step_changes_nothing(dead, monkeypatch):
    ctrl_c_after(monkeypatch, 1)
    done = dead("dlq replay --queue mail --yes")
    assert done.code == 0
    assert done.err.endswith("\n2 dead letters were put back\n")


def test_a_store_that_fails_on_the_way(dead, monkeypatch):
    from stem_core.builtin.memory_broker import MemoryBroker
    from stem_core.errors import StoreUnavailable

    replay = MemoryBroker.replay

    async def fails(self, ids):
        if "a" in ids:
            raise StoreUnavailable("the store sleeps", hint="wake it")
        return await replay(self, ids)

    monkeypatch.setattr(MemoryBroker, "replay", fails)
    done = dead("dlq replay --all --yes")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "stopped: 1 of 3 dead letters were put back; the same command again does the rest\n"
        "stem: error: the store sleeps\n  hint: wake it\n"
    )


def test_a_bar_on_thousands(monkeypatch, capsys):
    from stem_core.cli import acting

    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", screen)
    with acting.bar("putting back", 999) as advance:
        advance(999)
    assert screen.getvalue() == ""
    with acting.bar("putting back", 5_000) as advance:
        advance(2_000)
        advance(3_000)
    assert "putting back" in screen.getvalue()
    assert "5000/5000" in screen.getvalue()


def test_what_is_told_of_progress():
    from stem_core.cli.acting import Progress

    progress = Progress(what="dead letter", verb="put back", total=5_000)
    progress.taken, progress.done = 1_400, 1_390
    assert progress.told() == (
        "stopped: 1,390 of 5,000 dead letters were put back; the same command again does the rest"
    )
    progress.taken, progress.done = 5_000, 4_990
    assert progress.told() == "4,990 dead letters were put back; 10 had gone before"
