import json
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from stem_core.settings import WORKER

COMMANDS = ["worker", "enqueue", "result", "queues", "dlq", "tasks", "routes", "plugins", "settings", "health", "demo"]
ACTING = ["queues move", "queues purge", "dlq replay", "dlq purge"]
READING = [
    "result",
    "tasks",
    "routes",
    "plugins",
    "settings",
    "health",
    "queues",
    "queues peek",
    "dlq list",
    "dlq show",
]
APP = """
from stem_core import Stem, Worker
app = Stem('shop', namespace='from-code', include=['more'])

@app.task(queue='mail', aliases=['old.name'], max_retries=7, soft_time_limit=2.5)
async def send():
    '''Sends one.

    At length.
    '''
"""
MORE = "from tasks import app\n@app.task\ndef report(): pass\n"


def test_help_lists_the_commands(stem):
    done = stem("--help")
    assert (done.code, done.err) == (0, "")
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", done.out, re.MULTILINE)
    assert stem("-h").out == done.out


def test_version(stem):
    assert stem("--version").out == f"stem {version('stem-core')}\n"


@pytest.mark.parametrize("name", ["worker", "enqueue", *READING, *ACTING])
def test_every_command_takes_the_shared_options(stem, name):
    told = stem(*name.split(), "--help").out
    for option in ("-A, --app", "--broker", "--backend", "--namespace", "-p, --plugin"):
        assert option in told


@pytest.mark.parametrize("name", [*READING, *ACTING])
def test_reading_commands_have_json(stem, name):
    assert "--json" in stem(*name.split(), "--help").out


@pytest.mark.parametrize(
    ("name", "below"), [("queues", ["peek", "move", "purge"]), ("dlq", ["list", "show", "replay"])]
)
def test_groups_list_what_is_below_them(stem, name, below):
    done = stem(name, "-h")
    assert done.code == 0
    for command in below:
        assert re.search(rf"^  {command} ", done.out, re.MULTILINE)


def test_every_worker_setting_is_an_option_and_names_its_variable(stem):
    told = " ".join(stem("worker", "--help").out.split())
    for key in WORKER.keys:
        assert f"{key.option} " in told
        for variable in key.environment:
            assert variable in told


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("worker", "--nonsense"), ("worker", "-c"), ("enqueue",), ("tasks", "extra"), ("demo", "-n", "1")],
)
def test_usage_errors_exit_2(stem, arguments):
    done = stem(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


def test_the_app_goes_behind_the_command(stem):
    done = stem("-A", "tasks:app", "worker")
    assert (done.code, done.out) == (2, "")
    assert "'-A': it goes behind the command, as in: stem worker -A tasks:app\n" in done.err


def test_options_before_something_that_is_no_app_are_a_usage_error(stem):
    done = stem("worker", "-c", "5", "ping")
    assert (done.code, done.out) == (2, "")
    assert done.err == "stem: error: -A ping: this names no app\n  hint: write MODULE:ATTRIBUTE, such as ping:app\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "many"), "--concurrency: worker.concurrency = 'many': expected a whole number, at least 1"),
        (("-c", "0"), "--concurrency: worker.concurrency = '0': expected a whole number, at least 1"),
        (
            ("--lease", "long"),
            (
                "--lease: worker.lease = 'long': expected a duration such as 250ms, 5s, 2m or 1h, "
                "or a number of seconds, at least 1s"
            ),
        ),
        (
            ("-l", "loud"),
            "--log-level: worker.log_level = 'loud': expected one of debug, info, warning, error, critical",
        ),
    ],
)
def test_values_that_cannot_be_read_name_the_option(stem, write, shared, arguments, message):
    write("tasks.py", APP)
    write("more.py", MORE)
    done = stem("worker", "tasks:app", *shared, *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"stem: error: command line {message}\n")


def test_tasks(stem, write, shared):
    write("tasks.py", APP)
    write("more.py", MORE)
    done = stem("tasks", "-A", "tasks:app", *shared)
    assert (done.code, done.err) == (0, "")
    assert done.out == "more.report\tdefault\tthreads\t3\t\ntasks.send\tmail\tevent_loop\t7\tSends one.\n"


def test_tasks_as_json(stem, write, shared):
    write("tasks.py", APP)
    write("more.py", MORE)
    rows = json.loads(stem("tasks", "-A", "tasks:app", "--json", *shared).out)
    assert rows[1] == {
        "name": "tasks.send", "aliases": ["old.name"], "queue": "mail", "strategy": "event_loop", "priority": 5,
        "max_retries": 7, "soft_time_limit": 2.5, "time_limit": None, "expires": None, "store_result": True,
        "about": "Sends one.",
    }  # fmt: skip


NOTED = """
from stem_core import Stem, TaskContext
app = Stem('shop')

@app.task(queue='mail', aliases=['old.name'], soft_time_limit=2.5)
async def send(ctx: TaskContext, to: int | str, *, note: str = 'a|b') -> None:
    'Sends one | two.'
"""


def test_tasks_as_markdown(stem, write, shared):
    write("tasks.py", NOTED)
    done = stem("tasks", "-A", "tasks:app", "--markdown", *shared)
    assert (done.code, done.err) == (0, "")
    call = r"`tasks.send(to: int \| str, *, note: str = 'a\|b')`"
    assert done.out.splitlines() == [
        "| task | also | queue | priority | retries | soft limit (s) | time limit (s) | what it does |",
        "|---|---|---|---|---|---|---|---|",
        rf"| {call} | old.name | mail | 5 | 3 | 2.5 |  | Sends one \| two. |",
    ]
    assert stem("tasks", "-A", "tasks:app", "--markdown", "--json", *shared).code == 2


def origins(stem, *arguments):
    rows = json.loads(stem("settings", "--json", *arguments).out)
    return {row["key"]: (row["value"], row["origin"]) for row in rows}


def test_settings_name_each_origin(stem, write, monkeypatch):
    write("tasks.py", APP)
    write("stem.toml", "default_max_retries = 5\n[worker]\nconcurrency = 3\nlease = '1m'\n")
    monkeypatch.setenv("STEM_WORKER_CONCURRENCY", "9")
    found = origins(stem, "-A", "tasks:app", "--broker", "redis://user:secret@host/0", "-p", "")
    assert found["worker.concurrency"] == ("9", "environment STEM_WORKER_CONCURRENCY")
    assert found["worker.lease"] == ("1m", "file stem.toml [worker]")
    assert found["default_max_retries"] == ("5", "file stem.toml")
    assert found["namespace"] == ("from-code", "code tasks.py:3")
    assert found["broker_url"] == ("redis://user:***@host/0", "command line --broker")
    assert found["worker.prefetch"][1] == "default"


def test_settings_in_a_pipe(stem):
    assert "default_queue\tdefault\tdefault\n" in stem("settings", "-p", "").out


def test_plugins(stem, shared):
    rows = json.loads(stem("plugins", "--json", *shared).out)
    found = {row["name"]: row for row in rows}
    assert found["builtin"]["state"] == found["acme_shared.plugin"]["state"] == "loaded"
    assert "broker shared://" in found["acme_shared.plugin"]["provides"]


def test_plugins_are_shown_with_a_broken_one(stem, write):
    write("acme_broken.py", "")
    write("acme/broken.py", "raise RuntimeError('nope')")
    done = stem("plugins", "--json", "-p", "acme.broken")
    found = {row["name"]: row for row in json.loads(done.out)}
    assert done.code == 0
    assert found["acme.broken"]["state"] == "broken"
    assert "nope" in found["acme.broken"]["why"]


def test_whatever_runs_tasks_refuses_a_broken_plugin(stem, write):
    write("tasks.py", APP)
    write("more.py", MORE)
    write("acme/broken.py", "raise RuntimeError('nope')")
    for command in (("worker", "tasks:app"), ("enqueue", "x"), ("result", "x")):
        done = stem(*command, "-p", "acme.broken", "--broker", "memory://")
        assert (done.code, done.out) == (3, "")
        assert "acme.broken" in done.err
        assert "Traceback" not in done.err


def test_plugins_are_shown_when_the_app_cannot_be_loaded(stem, write):
    done = stem("plugins", "-A", "nowhere:app", "-p", "")
    assert done.code == 2
    assert done.out.startswith("builtin\tstem-core\t")
    assert done.err.startswith("stem: error: -A nowhere:app: there is no module 'nowhere'")


def test_a_warning_is_a_message(stem, monkeypatch):
    monkeypatch.setenv("STEM_BROKR_URL", "x")
    done = stem("settings", "-p", "")
    assert (
        done.err == "stem: warning: environment variables that no setting answers to, ignored: "
        "STEM_BROKR_URL (did you mean STEM_BROKER_URL?)\n"
    )


def test_demo(stem):
    done = stem("demo", "-n", "40")
    assert done.code == 0
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [(row[0], *row[2:4], row[5]) for row in rows] == [
        ("demo.greet", "10", "10", "0"),
        ("demo.checksum", "10", "10", "0"),
        ("demo.fetch", "10", "10", "0"),
        ("demo.parse", "10", "9", "1"),
    ]
    # Each page fails as often as its number says, and the one text that is no number was tried three times.
    assert [row[4] for row in rows] == ["0", "0", str(sum(page % 3 for page in range(2, 40, 4))), "2"]
    assert "'Hello, reader 0!'" in done.err
    assert "failed: ValueError: invalid literal for int() with base 10: 'seven'" in done.err


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "stem_core", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"stem {version('stem-core')}\n"
    assert not done.stderr
