import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from stem_core.client import sync
from stem_core.errors import BadArguments, StemError, StoreUnavailable
from stem_core.model import TaskState, TaskStatus
from stem_core.tasks import TaskContext, current
from stem_core.testing.clock import FakeClock
from support.opened import fake_app

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _closed():
    yield
    sync.close()


@pytest.fixture
def app():
    made = fake_app(FakeClock())

    @made.task(name="tasks.add")
    async def add(a: int, b: int = 0) -> int:
        return a + b

    return made


def ready(app):
    async def look():
        return (await app.session.broker.depth(["default"]))["default"].ready

    return sync.run(app, look)


def test_enqueues_without_a_loop_and_without_open(app):
    add = app.tasks["tasks.add"]
    handles = [
        add.enqueue_sync(1),
        add.options(priority=9).enqueue_sync(2),
        app.enqueue_sync(add, 3),
        app.enqueue_sync("elsewhere.task", 4),
        *app.enqueue_many_sync([add.call(5), add.call(6)]),
    ]
    assert [handle.status_sync().state for handle in handles] == ["queued"] * 6
    assert ready(app) == 6


def test_a_generator_of_calls_runs_in_the_thread_of_its_author(app):
    add, threads = app.tasks["tasks.add"], set()

    def calls():
        for n in range(3):
            threads.add(threading.current_thread())
            yield add.call(add.enqueue_sync(n).status_sync().attempt)

    assert len(app.enqueue_many_sync(calls())) == 3
    assert threads == {threading.current_thread()}


def test_opens_one_session_and_closes_it(app):
    for n in range(3):
        app.tasks["tasks.add"].enqueue_sync(n)
    assert app._runtime.events == ["usable", "+broker", "+backend", "+state"]
    sync.close()
    assert app._runtime.events[-3:] == ["-state", "-backend", "-broker"]
    app.tasks["tasks.add"].enqueue_sync(4)
    assert app._runtime.events[6:] == ["-broker", "usable", "+broker", "+backend", "+state"]


def test_several_apps_share_the_loop(app):
    other = fake_app(FakeClock())
    loops = {sync.run(each, _loop) for each in (app, other)}
    assert len(loops) == 1


async def _loop():
    return asyncio.get_running_loop()


def test_threads_share_it(app):
    barrier = threading.Barrier(8)

    def enqueue():
        barrier.wait()
        app.tasks["tasks.add"].enqueue_sync(1)

    threads = [threading.Thread(target=enqueue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ready(app) == 8
    assert app._runtime.events.count("+broker") == 1
    assert len([thread for thread in threading.enumerate() if thread.name == "stem-sync"]) == 1


def test_results(app):
    handle = app.tasks["tasks.add"].enqueue_sync(1, b=2)

    async def finish():
        done = TaskState.SUCCEEDED
        await app.session.backend.record(
            [TaskStatus(id=handle.id, task="tasks.add", queue="default", state=done, run=1, result=b"3")]
        )

    sync.run(app, finish)
    assert handle.result_sync(timeout=5) == 3


def test_cancelling(app):
    handle = app.tasks["tasks.add"].enqueue_sync(1)
    assert handle.cancel_sync("why not") is True
    assert handle.status_sync().state == "cancelled"


async def test_on_a_running_loop_it_raises_and_sends_nothing(app):
    with pytest.raises(StemError) as caught:
        app.tasks["tasks.add"].enqueue_sync(1)
    assert str(caught.value) == (
        "a _sync method was called on a running event loop, which it would block\n"
        "  hint: use 'await task.enqueue(...)' and 'await handle.result()' inside 'async with app.open()'"
    )
    assert app._runtime.events == []


def test_errors_come_as_they_are(app):
    with pytest.raises(BadArguments):
        app.tasks["tasks.add"].enqueue_sync("one")


def test_a_store_that_cannot_be_opened_is_tried_again_the_next_time(app):
    app._runtime.fail["broker"] = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable, match=r"^away$"):
        app.enqueue_sync("t")
    app._runtime.fail.clear()
    app.enqueue_sync("t")
    assert ready(app) == 1


def test_a_task_in_a_thread_is_the_parent_of_what_it_enqueues(app):
    parent = TaskContext.local()
    token = current.set(parent)
    try:
        handle = app.enqueue_sync("t")
    finally:
        current.reset(token)
    assert (handle._header.parent_id, handle._header.root_id) == (parent.id, parent.id)


def test_who_waits_when_it_is_closed_is_let_go(app):
    waiting, ended = threading.Event(), []

    async def forever():
        waiting.set()
        await asyncio.Event().wait()

    def use():
        try:
            sync.run(app, forever)
        except BaseException as error:
            ended.append(type(error).__name__)

    thread = threading.Thread(target=use)
    thread.start()
    waiting.wait(5)
    sync.close()
    thread.join(5)
    assert ended == ["CancelledError"]


PROGRAM = """
import os, sys, threading
from stem_core import Stem
app = Stem("shop", plugins=[], broker_url="memory://forked")

@app.task(name="tasks.add")
async def add(a: int) -> int:
    return a

"""


def program(text):
    # Warnings as errors: whatever is left behind is heard of. Newer Pythons warn of any fork beside threads.
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", PROGRAM + textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "STEM_BROKER_URL": "memory://forked"},
    )


def test_a_process_ends_in_silence():
    done = program("print(add.enqueue_sync(1).status_sync().state)")
    assert (done.stdout, done.stderr, done.returncode) == ("queued\n", "", 0)


@pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)"])
def test_a_forked_child_begins_anew_and_the_parent_goes_on(leave):
    done = program(f"""
        add.enqueue_sync(1)
        child = os.fork()
        if child == 0:
            print("child", add.enqueue_sync(2).status_sync().state, flush=True)
            {leave}
        status = os.waitpid(child, 0)[1]
        print("parent", add.enqueue_sync(3).status_sync().state, status)
        """)
    assert (done.stdout, done.stderr, done.returncode) == ("child queued\nparent queued 0\n", "", 0)


def test_a_fork_while_others_hold_the_locks():
    done = program("""
        from stem_core.client import app as module, sync
        add.enqueue_sync(1)
        held, release = threading.Event(), threading.Event()
        def hold():
            with sync._lock, module._assembling:
                held.set()
                release.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            fresh = Stem("fresh", plugins=[], broker_url="memory://fresh")
            print(add.enqueue_sync(2).status_sync().state, fresh.enqueue_sync("t").status_sync().state, flush=True)
            os._exit(0)
        release.set()
        thread.join()
        os.waitpid(child, 0)
        """)
    assert (done.stdout, done.stderr, done.returncode) == ("queued queued\n", "", 0)
