import io
import json
import sys

import pytest

APP = """
from stem_core import Stem
app = Stem('shop')

@app.task(queue='mail')
async def send_welcome(user_id: int, *, locale: str = 'en') -> str:
    return f'{locale} {user_id}'

@app.task(max_retries=0)
async def fail(text: str) -> None:
    raise ValueError(text)
"""
WRITE_AN_OBJECT = """write an object for arguments by name, '{"user_id": 42}', or an array for those by place, '[42]'"""


def error(message, hint):
    return f"stem: error: {message}\n  hint: {hint}\n"


@pytest.fixture
def shop(write, stem, shared):
    write("tasks.py", APP)

    def run(command, *arguments):
        return stem(command, *arguments, "-A", "tasks:app", *shared)

    return run


def test_the_id_goes_to_standard_output(shop):
    done = shop("enqueue", "tasks.send_welcome", '{"user_id": 42}')
    assert (done.code, done.err) == (0, "")
    id = done.out.rstrip("\n")
    known = shop("result", id)
    assert (known.code, known.out, known.err) == (0, f"{id}\ttasks.send_welcome\tqueued\t0\t\n", "")


def test_options_reach_the_job(shop):
    options = ["--queue", "slow", "--delay", "2m", "--priority", "9", "--id", "order-7", "--json"]
    done = shop("enqueue", "tasks.send_welcome", "[1]", *options)
    assert json.loads(done.out) == [{"id": "order-7", "task": "tasks.send_welcome", "queue": "slow"}]
    row = json.loads(shop("result", "order-7", "--json").out)[0]
    assert (row["queue"], row["state"]) == ("slow", "scheduled")


def test_arguments_from_standard_input(shop, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"user_id": 1}'))
    assert shop("enqueue", "tasks.send_welcome", "-").code == 0


def test_without_an_app_any_name_is_taken(stem, shared):
    done = stem("enqueue", "somebody.elses", "[NaN]", *shared)
    assert done.code == 2
    done = stem("enqueue", "somebody.elses", "[1]", "--id", "j1", *shared)
    assert (done.code, done.out, done.err) == (0, "j1\n", "")


def test_run_it_and_see(shop):
    for id, name, text in (("good", "send_welcome", "[7]"), ("bad", "fail", '["no\\u001b[31m"]')):
        assert shop("enqueue", f"tasks.{name}", text, "--id", id).code == 0
    # In this process, so that the stores are the same ones.
    worker = shop("worker", "--burst", "-Q", "mail,default", "-l", "critical")
    assert (worker.code, worker.out) == (0, "")

    good = shop("result", "good", "--timeout", "5s")
    assert (good.code, good.out) == (0, 'good\ttasks.send_welcome\tsucceeded\t1\t"en 7"\n')
    bad = shop("result", "bad")
    assert (bad.code, bad.out) == (1, "bad\ttasks.fail\tfailed\t1\tValueError: no\\x1b[31m\n")


def test_a_result_as_json(shop):
    shop("enqueue", "tasks.fail", '["x"]', "--id", "bad")
    shop("worker", "--burst", "-l", "critical")
    done = shop("result", "bad", "--json")
    (row,) = json.loads(done.out)
    assert done.code == 1
    assert row["error"]["type"] == "ValueError"
    assert row["error"]["message"] == "x"
    assert row["finished_at"].endswith("+00:00")


def test_waiting(shop):
    assert shop("enqueue", "tasks.send_welcome", "[3]", "--id", "w").code == 0
    shop("worker", "--burst", "-Q", "mail", "-l", "critical")
    # The same id is the same job, so its result is there already.
    done = shop("enqueue", "tasks.send_welcome", "[3]", "--id", "w", "--wait", "--timeout", "5s")
    assert (done.code, done.out, done.err) == (0, '"en 3"\n', "")
    late = shop("enqueue", "tasks.send_welcome", "[4]", "--id", "never", "--wait", "--timeout", "50ms")
    assert late.code == 1
    assert late.err == error(
        "no result of never within 0.05 s (state: queued)", "wait longer, and see that a worker reads its queue"
    )
    assert shop("result", "never", "--timeout", "0.05").err == late.err


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["tasks.send_welcom", "[1]"], 2, "the app 'shop' has no task 'tasks.send_welcom'",
         "did you mean tasks.send_welcome? (--force enqueues it all the same)"),
        (["zzz", "[1]"], 2, "the app 'shop' has no task 'zzz'",
         "its tasks are tasks.fail, tasks.send_welcome (--force enqueues it all the same)"),
        (["no spaces", "[]", "--force"], 2, "'no spaces' is no task name",
         "use 1 to 128 of the characters A-Z a-z 0-9 _ . -"),
        (["tasks.send_welcome", "{user_id: 42}"], 2,
         "the arguments are no JSON: JSON is malformed: object keys must be strings (byte 1): {user_id: 42}",
         WRITE_AN_OBJECT),
        (["tasks.send_welcome", "[NaN]"], 2,
         "the arguments are no JSON: JSON is malformed: invalid character (byte 1): [NaN]", WRITE_AN_OBJECT),
        (["tasks.send_welcome", "42"], 2, "the arguments are one JSON value: 42", WRITE_AN_OBJECT),
        (["tasks.send_welcome", "[1]", "--queue", "a b"], 2, "'a b' is no queue name",
         "use 1 to 128 of the characters A-Z a-z 0-9 _ . -"),
        (["tasks.send_welcome", "[1]", "--delay", "soon"], 2, "--delay='soon' cannot be used",
         "give a duration such as 250ms, 5s, 2m or 1h, or a number of seconds"),
        (["tasks.send_welcome", "[1]", "--priority", "11"], 2, "priority=11 cannot be used",
         "give a whole number from 0 to 9"),
    ],
)  # fmt: skip
def test_refused(shop, arguments, code, message, hint):
    done = shop("enqueue", *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err == error(message, hint)


def test_arguments_of_the_wrong_type_name_the_parameter(shop):
    done = shop("enqueue", "tasks.send_welcome", '{"user_id": "forty-two"}')
    assert (done.code, done.out) == (2, "")
    assert "user_id" in done.err
    assert "Traceback" not in done.err


def test_force(shop):
    assert shop("enqueue", "tasks.not_yet", "[1]", "--force", "--id", "f").out == "f\n"


def test_timeout_is_for_wait(shop):
    done = shop("enqueue", "tasks.send_welcome", "[1]", "--timeout", "5s")
    assert done.code == 2
    assert "--timeout is for --wait" in done.err


def test_unknown_result(shop):
    done = shop("result", "nobody")
    assert (done.code, done.out) == (1, "")
    assert done.err == error(
        "no job nobody is known",
        "it was never enqueued here, or its result was kept no longer; see broker, backend and namespace with stem "
        "settings",
    )
    assert shop("result", "no such id").code == 2


@pytest.mark.parametrize("command", [("enqueue", "t", "[]"), ("result", "t"), ("worker", "tasks:app")])
def test_memory_is_private(stem, write, command):
    write("tasks.py", APP)
    done = stem(*command, "--broker", "memory://", "-p", "")
    what = {"enqueue": "a job", "result": "a result", "worker": "a worker"}[command[0]]
    assert (done.code, done.out) == (2, "")
    assert done.err == error(
        f"the broker memory:// is private to one process: {what} on it would meet nobody",
        "use a broker that processes share, such as sqlite:///stem.db, or run the worker inside your program: "
        "async with Worker(app)",
    )


def test_a_private_backend_beside_a_shared_broker(shop):
    done = shop("worker", "--backend", "memory://")
    assert done.code == 2
    assert done.err.startswith("stem: error: the result backend memory:// is private to one process")


def test_an_error_without_a_type_is_shown_without_one():
    from stem_core.cli.result import _outcome
    from stem_core.model import ErrorInfo, TaskState, TaskStatus

    status = TaskStatus(
        id="a", task="t", queue="q", state=TaskState.FAILED, error=ErrorInfo(type="", message="no task 't' is here")
    )
    assert _outcome(status) == "no task 't' is here"
