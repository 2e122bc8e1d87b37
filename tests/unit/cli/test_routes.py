import json

import pytest

APP = """
from stem_core import Stem
app = Stem('shop')

@app.task(queue='mail', priority=9)
async def send_welcome(user_id: int) -> str: ...

@app.task(name='emails.digest', queue='mail')
async def digest(): ...

@app.task(name='cache.refresh')
async def refresh(): ...

@app.task(name='report')
async def report(): ...
"""
ROUTING = """
[queues.mail]
priority = [0, 6]

[channels.news]

[[routes]]
task = 'emails.*'
queue = 'slow'

[[routes]]
task = 'cache.*'
channel = 'news'
"""


@pytest.fixture
def shop(write, stem, shared, monkeypatch):
    write("tasks.py", APP)
    write("routing.toml", ROUTING)
    monkeypatch.setenv("STEM_ROUTING_CONFIG", "routing.toml")

    def run(command, *arguments):
        return stem(command, *arguments, "-A", "tasks:app", *shared)

    return run


def test_where_each_task_goes_and_why(shop):
    done = shop("routes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "cache.refresh\tchannel news\t5\troutes[1], task = 'cache.*'",
        "emails.digest\tqueue slow\t5\troutes[0], task = 'emails.*'",
        "report\tqueue default\t5\tthe default queue",
        "tasks.send_welcome\tqueue mail\t6\tthe task names it",
    ]


def test_as_json(shop):
    assert json.loads(shop("routes", "--json").out)[0] == {
        "task": "cache.refresh",
        "goes_to": "channel news",
        "queue": None,
        "channel": "news",
        "priority": 5,
        "because": "routes[1], task = 'cache.*'",
    }


def test_tasks_and_queues_know_of_routes(shop):
    assert [row["queue"] for row in json.loads(shop("tasks", "--json").out)] == ["news", "slow", "default", "mail"]
    shop("enqueue", "emails.digest")
    assert [row["queue"] for row in json.loads(shop("queues", "--json").out)] == ["default", "mail", "slow"]


def test_a_broadcast_is_enqueued(shop):
    done = shop("enqueue", "cache.refresh", "--id", "one", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == [{"id": "one", "task": "cache.refresh", "queue": "news"}]
    assert shop("result", "one").code == 1


def test_a_broadcast_cannot_wait_and_has_no_result(shop):
    done = shop("enqueue", "cache.refresh", "--delay", "5s")
    assert (done.code, done.out) == (2, "")
    assert "delay=5.0 cannot be used" in done.err
    done = shop("enqueue", "cache.refresh", "--wait")
    assert (done.code, done.out) == (2, "")
    assert "--wait: cache.refresh is broadcast on the channel 'news', and no copy has a result" in done.err


def test_a_queue_that_the_call_names_goes_before_the_route(shop):
    done = shop("enqueue", "cache.refresh", "--queue", "q", "--delay", "5s", "--json")
    assert json.loads(done.out)[0]["queue"] == "q"
