import asyncio
import io
import json
import os
import signal
import sys

import pytest

from stem_core.cli import watching

APP = """
from stem_core import Stem
app = Stem('shop')

@app.task(queue='mail', max_retries=0)
async def send(user_id: int, *, locale: str = 'en') -> str:
    raise ValueError('no')

@app.task
async def report() -> None: pass
"""
KNOWS_NOTHING = "it holds nothing, no live worker reads it, and no task of the app goes to it"
LIST_THEM = "`stem queues` lists the queues; see broker and namespace with `stem settings`"
# A broker with no facet at all, and a worker that was here a moment ago.
PLAIN_PLUGIN = """
from contextlib import asynccontextmanager
from stem_core.builtin import plugin as builtin
from stem_core.contracts import BackendProvider, Broker, BrokerCapabilities, BrokerProvider, StateProvider
from stem_core.hooks import hookimpl

VERBS = ('publish', 'receive', 'wait_for_work', 'settle', 'extend', 'depth', 'purge', 'queues')

def through(verb):
    async def call(self, *args, **kwargs):
        return await getattr(self.inner, verb)(*args, **kwargs)
    return call

Plain = type('Plain', (Broker,), {verb: through(verb) for verb in VERBS})

@asynccontextmanager
async def open_plain(context):
    async with builtin.open_broker(context) as inner:
        plain = Plain()
        plain.inner = inner
        yield plain

@hookimpl
def stem_register_brokers():
    return [BrokerProvider(schemes=('plain',), open=open_plain,
                           capabilities=BrokerCapabilities(durable=False, shared=True))]

@hookimpl
def stem_register_result_backends():
    return [BackendProvider(schemes=('plain',), open=builtin.open_backend)]

@hookimpl
def stem_register_state_stores():
    return [StateProvider(schemes=('plain',), open=builtin.open_state)]
"""


def error(message, hint):
    return f"stem: error: {message}\n  hint: {hint}\n"


@pytest.fixture
def shop(write, stem, shared):
    write("tasks.py", APP)

    def run(command, *arguments):
        return stem(*command.split(), *arguments, "-A", "tasks:app", *shared)

    return run


@pytest.fixture
def plain(write, stem):
    write("acme_plain/plugin.py", PLAIN_PLUGIN)
    write("acme_plain/__init__.py", "")
    write("tasks.py", APP)

    def run(command, *arguments):
        options = ("-A", "tasks:app", "-p", "acme_plain.plugin", "--broker", "plain://user:secret@host")
        return stem(*command.split(), *arguments, *options)

    return run


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_the_queues_of_the_app_are_known_before_anything_is_in_them(shop):
    done = shop("queues")
    assert (done.code, done.err) == (0, "")
    assert done.out == "default\t0\t0\t0\t0\t\tno worker\nmail\t0\t0\t0\t0\t\tno worker\n"


def test_without_an_app_only_what_holds_something(stem, shared):
    assert stem("queues", *shared).out == ""
    stem("enqueue", "somebody.elses", "[1]", "--queue", "slow", *shared)
    rows = json.loads(stem("queues", "--json", *shared).out)
    assert [(row["queue"], row["ready"], row["tasks"]) for row in rows] == [("slow", 1, [])]


def test_queues_as_json(shop):
    shop("enqueue tasks.send [1]")
    shop("enqueue tasks.send [1] --delay 1h")
    rows = json.loads(shop("queues --json").out)
    mail = rows[1]
    age = mail.pop("oldest_age")
    assert 0 <= age < 30
    assert mail == {
        "queue": "mail", "ready": 1, "scheduled": 1, "in_flight": 0, "dead": 0, "readers": 0, "workers": [],
        "tasks": ["tasks.send"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, None), (0.04, "0.0 s"), (119.9, "119.9 s"), (120, "2 min"), (7_200, "2 h"), (3 * 86_400, "3 d")],
)
def test_ages(seconds, shown):
    from stem_core.cli import common

    assert common.age(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, None),
        (1_800_000_000.5, "2027-01-15T08:00:00.500+00:00"),
        (1e12, "1000000000000.000"),
        (1e300, f"{1e300:.3f}"),
        (float("inf"), "inf"),
    ],
)
def test_moments_that_no_calendar_reaches_are_shown_as_numbers(seconds, shown):
    from stem_core.cli import common

    assert common.moment(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (10_239, "10,239 B"), (20_480, "20 KiB")])
def test_sizes(count, shown):
    from stem_core.cli import common

    assert common.size(count) == shown


def test_on_a_terminal_a_table(shop, monkeypatch):
    screen = Screen()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", screen)
    shop("queues")
    assert [line.rstrip() for line in screen.getvalue().splitlines()] == [
        "QUEUE    READY  SCHEDULED  IN FLIGHT  DEAD  OLDEST  READERS",
        "default      0          0          0     0          no worker",
        "mail         0          0          0     0          no worker",
    ]


def test_options_before_a_command_are_refused(shop, stem):
    done = stem("queues", "--json", "peek", "mail")
    assert (done.code, done.out) == (2, "")
    assert "options go behind the command: stem queues peek ..., not before it" in done.err


def test_watching_draws_again_until_ctrl_c(shop, monkeypatch):
    screen = Screen()
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    waits = []

    async def wait(seconds):
        waits.append(seconds)
        if len(waits) % 3 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "sleep", wait)
    assert shop("queues --watch").code == 0
    assert waits == [2, 2, 2]
    assert screen.getvalue().count("mail ") >= 3
    assert "every 2 s; Ctrl-C ends" in screen.getvalue()
    waits.clear()
    shop("queues --watch 500ms")
    shop("queues --watch=0")
    assert set(waits) == {0.5, 0.1}


def test_watching_goes_on_when_the_store_does_not_answer(shop, monkeypatch):
    from stem_core.control import Inspector
    from stem_core.errors import StoreUnavailable

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    look = Inspector.queues
    looks = []

    async def sometimes(self):
        looks.append(1)
        if len(looks) == 2:
            raise StoreUnavailable("the store sleeps")
        return await look(self)

    async def wait(seconds):
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Inspector, "queues", sometimes)
    monkeypatch.setattr(watching, "sleep", wait)
    assert shop("queues --watch 1").code == 0
    assert len(looks) == 3
    assert "the store sleeps; looking again" in screen.getvalue()


def test_watching_needs_a_terminal(shop):
    done = shop("queues --watch")
    assert (done.code, done.out) == (2, "")
    assert done.err == error(
        "--watch draws on a terminal, and standard output is none", "leave --watch out to look once"
    )
    assert shop("queues --watch --json").code == 2
    assert shop("queues --watch 5 --json").code == 2
    assert "'5x' cannot be used" in shop("queues --watch 5x").err


def test_peeking(shop):
    shop('enqueue tasks.send {"user_id":7,"locale":"fr\\u001b[2J"} --id a')
    shop("enqueue tasks.send [8] --id b --priority 9")
    done = shop("queues peek mail")
    assert (done.code, done.err) == (0, "")
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[:4] for row in rows] == [["b", "tasks.send", "9", "1"], ["a", "tasks.send", "5", "1"]]
    assert all(row[4].endswith(" s") and row[5].endswith(" B") and len(row) == 6 for row in rows)
    shown = shop("queues peek mail --payload").out.splitlines()
    assert shown[0].endswith("\t[[8], {}]")
    assert shown[1].endswith('\t[[], {"user_id": 7, "locale": "fr\\u001b[2J"}]')
    assert "\x1b" not in shown[1]
    assert len(shop("queues peek mail --limit 1").out.splitlines()) == 1


def test_messages_as_json(shop):
    shop("enqueue tasks.send [8] --id b --delay 1h --expires 2h")
    (row,) = json.loads(shop("queues peek mail --state delayed --json").out)
    assert (row["state"], row["payload"], row["problem"]) == ("delayed", None, None)
    assert row["enqueued_at"] < row["at"] < row["expires_at"]
    (row,) = json.loads(shop("queues peek mail --state delayed --json --payload").out)
    assert row["payload"] == [[8], {}]
    assert shop("queues peek mail --state leased --json").out == "[]\n"
    assert shop("queues peek mail --state delayed").out.split("\t")[4] == "60 min"


@pytest.mark.parametrize("command", ["peek mial", "purge mial --yes", "move mial other"])
def test_a_queue_of_which_nothing_is_known(shop, command):
    done = shop(f"queues {command}")
    assert (done.code, done.out) == (1, "")
    assert done.err == error(f"no queue 'mial' is known: {KNOWS_NOTHING}", f"did you mean mail? {LIST_THEM}")


@pytest.mark.parametrize("command", ["peek", "purge", "move x"])
def test_names_that_no_queue_can_have(shop, command):
    assert shop(f"queues {command}", "no spaces").code == 2
    assert shop(f"queues {command}", "a.control.b").code == 2


def test_bad_options(shop):
    assert shop("queues peek mail --state dead").code == 2
    assert shop("queues peek mail --limit 0").code == 2
    assert "the same queue" in shop("queues move mail mail").err


def test_moving(shop):
    shop("enqueue tasks.send [1] --id a")
    shop("enqueue tasks.send [1] --id b --delay 1h")
    done = shop("queues move mail other")
    assert (done.code, done.out) == (0, "")
    assert done.err == "2 messages were moved from mail to other; no worker reads other\n"
    rows = json.loads(shop("queues --json").out)
    assert {row["queue"]: (row["ready"], row["scheduled"]) for row in rows} == {
        "default": (0, 0), "mail": (0, 0), "other": (1, 1),
    }  # fmt: skip
    done = shop("queues move other mail --json")
    assert json.loads(done.out) == [{"queue": "other", "other": "mail", "moved": 2}]


def test_purging_asks_first(shop, monkeypatch):
    shop("enqueue tasks.send [1]")
    done = shop("queues purge mail")
    question = "Remove 1 message from the queue mail for good?"
    assert (done.code, done.err) == (2, error(f"nobody is here to answer: {question}", "give --yes to go ahead"))

    monkeypatch.setattr(sys, "stdin", Screen("n\n"))
    done = shop("queues purge mail")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(question)
    assert done.err.endswith("nothing was changed\n")
    monkeypatch.setattr(sys, "stdin", Screen("y\n"))
    done = shop("queues purge mail")
    assert (done.code, done.err.endswith("1 message was removed from mail\n")) == (0, True)


def test_purging_without_a_question(shop):
    shop("enqueue tasks.send [1]")
    shop("enqueue tasks.send [1] --delay 1h")
    done = shop("queues purge mail --yes --json")
    assert (done.code, done.err) == (0, "2 messages were removed from mail\n")
    assert json.loads(done.out) == [{"queue": "mail", "removed": 2}]
    assert shop("queues purge mail").err == "0 messages were removed from mail\n"


def test_a_broker_that_cannot_look_inside(plain):
    plain("enqueue tasks.send [1]")
    assert plain("queues").out.startswith("default\t0\t0\t0\t0\t\tno worker\nmail\t1\t")
    lacks = "the broker plain://user:***@host cannot {}: it lacks the ability {}"
    use = "use the tools of the broker itself, or a version of the plugin acme_plain.plugin (module) that implements {}"
    for command in ("queues peek mail", "queues move mail other"):
        done = plain(command)
        assert (done.code, done.out) == (2, "")
        assert done.err == error(
            lacks.format("show or move the messages in its queues", "Inspectable"), use.format("Inspectable")
        )
    for command in ("dlq list", "dlq show x", "dlq replay x", "dlq purge --all"):
        done = plain(command)
        assert (done.code, done.out) == (2, "")
        assert done.err == error(
            lacks.format("show its dead letters or put them back", "KeepsDeadLetters"), use.format("KeepsDeadLetters")
        )
    assert plain("queues purge mail --yes").code == 0


def test_a_store_of_one_process_is_refused(stem):
    for command in (("queues",), ("queues", "peek", "x"), ("dlq", "list"), ("health",)):
        done = stem(*command, "--broker", "memory://", "-p", "")
        assert (done.code, done.out) == (2, "")
        assert "the broker memory:// is private to one process" in done.err


def test_ctrl_c_while_a_long_queue_is_moved(shop, monkeypatch):
    from stem_core.builtin.memory_broker import MemoryBroker

    async def endless(self, old, new):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    monkeypatch.setattr(MemoryBroker, "move", endless)
    done = shop("queues move mail other")
    assert (done.code, done.out) == (130, "")
    assert done.err == "stopped: what was done stays done; the same command again does the rest\n"
