"""Several workers under one supervisor: real processes, real signals."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from stem_core.model import TaskState
from support.terminal import Terminal
from support.worker_proc import Stopwatch

#: The whole budget of a worker, and when its phases begin.
BUDGET = {"shutdown_timeout": "3s", "soft_margin": "2s", "hard_margin": "1s"}


def processes():
    """Parent, group and state of every process, by id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        found[int(folder.name)] = (int(fields[1]), int(fields[2]), fields[0])
    return found


def running():
    """Everything but what only waits to be asked for its exit code."""
    return {pid for pid, (_, _, state) in processes().items() if state != "Z"}


def children(pid):
    return {child for child, (parent, _, _) in processes().items() if parent == pid}


def until(condition, timeout=20.0):
    limit = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.01)
    return found


def fleet(site, size, *arguments, **settings):
    """A supervisor with so many workers that are ready."""
    supervisor = site.worker("--replicas", str(size), *arguments, **settings)
    ready(supervisor, size)
    return supervisor


def ready(supervisor, count):
    """Wait until so many workers have become ready, one after another; their process ids."""

    def seen():
        return [line for line in supervisor.lines if " is ready (pid " in line["message"]]

    until(lambda: len(seen()) >= count or not supervisor.alive)
    assert len(seen()) >= count, supervisor.text()
    return [int(line["message"].rpartition("pid ")[2].rstrip(")")) for line in seen()]


class TestRunning:
    async def test_each_is_a_whole_worker_and_the_supervisor_is_small(self, site):
        supervisor = fleet(site, 3, "-c", "1", "--prefetch", "0", "--name", "web@host")
        ids = await site.enqueue("hold", str(site.folder), count=3)
        starts = site.ledger.wait_for("start", 3)
        assert {event["worker"] for event in starts} == {"web-1@host", "web-2@host", "web-3@host"}
        assert {event["pid"] for event in starts} == children(supervisor.pid)
        banners = [line for line in supervisor.lines if line["message"].startswith("queues: ")]
        assert len(banners) == 1
        rss = supervisor.rss_mib()
        print(f"\nthe supervisor has {rss:.0f} MiB")
        assert rss < 40
        # Each has a group of its own: what is typed at a terminal reaches the supervisor alone.
        assert all(processes()[pid][1] == pid for pid in children(supervisor.pid))
        for event in starts:
            (site.folder / f"go-{event['pid']}").touch()
        site.ledger.wait_for("end", 3)
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait() == 0
        assert {(await site.status(id)).state for id in ids} == {TaskState.SUCCEEDED}

    async def test_one_that_is_killed_is_replaced_and_its_work_done_again(self, site):
        supervisor = fleet(site, 2, "-c", "1", "--prefetch", "0", lease="1s")
        (id,) = await site.enqueue("hold", str(site.folder))
        (start,) = site.ledger.wait_for("start")
        before = children(supervisor.pid)
        os.kill(start["pid"], signal.SIGKILL)
        line = supervisor.wait_for_message("was killed by SIGKILL; starting it again in")
        assert f"(pid {start['pid']})" in line["message"]
        again = site.ledger.wait_for("start", 2)[1]
        assert (again["id"], again["run"]) == (id, 2)
        ready(supervisor, 3)
        assert len(children(supervisor.pid)) == 2
        assert children(supervisor.pid) != before
        (site.folder / f"go-{again['pid']}").touch()
        site.ledger.wait_for("end")
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait() == 0

    def test_what_cannot_start_is_tried_less_and_less_often(self, site):
        site.app = "support.jobs:breaks_at_the_start"
        supervisor = site.worker("--replicas", "2", ready=False)
        supervisor.wait_for_message("(failure 3)")
        # Only one was tried.
        assert len(site.ledger.events("entering")) == 3
        lines = [line["message"] for line in supervisor.lines if "starting it again in" in line["message"]]
        assert all(" exited with code 1; " in line for line in lines)
        waits = [float(line.partition("again in ")[2].split()[0]) for line in lines]
        assert 0.2 <= waits[0] <= 0.5 <= waits[1] <= 1.0 <= waits[2] <= 2.0
        assert "no such table" in supervisor.text()
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait() == 1

    def test_a_burst_that_cannot_start_ends(self, site):
        site.app = "support.jobs:breaks_at_the_start"
        supervisor = site.worker("--replicas", "2", "--burst", ready=False)
        assert supervisor.wait() == 1
        assert len(site.ledger.events("entering")) == 1

    async def test_a_burst_ends_when_all_have_ended(self, site):
        ids = await site.enqueue("work", 0.01, count=40)
        supervisor = site.worker("--replicas", "2", "--burst", "-c", "2", ready=False)
        assert supervisor.wait() == 0
        assert Counter(event["id"] for event in site.ledger.events("end")) == Counter(ids)


class TestStopping:
    async def test_sigterm_drains_all_and_leaves_nothing(self, site):
        supervisor = fleet(site, 2, "-c", "1", "--prefetch", "0")
        ids = await site.enqueue("hold", str(site.folder), count=2)
        starts = site.ledger.wait_for("start", 2)
        workers = children(supervisor.pid)
        supervisor.signal(signal.SIGTERM)
        until(lambda: supervisor.text().count("stopping: warm (SIGTERM)") == 2)
        assert supervisor.alive
        for event in starts:
            (site.folder / f"go-{event['pid']}").touch()
        assert supervisor.wait() == 0
        assert not workers & processes().keys()
        assert {(await site.status(id)).state for id in ids} == {TaskState.SUCCEEDED}

    async def test_a_second_ctrl_c_hands_back(self, site):
        supervisor = fleet(site, 2, "-c", "1", "--prefetch", "0")
        await site.enqueue("stubborn", count=2)
        site.ledger.wait_for("start", 2)
        workers = children(supervisor.pid)
        watch = Stopwatch()
        supervisor.signal(signal.SIGINT)
        until(lambda: supervisor.text().count("stopping: soft (SIGINT)") == 2)
        supervisor.signal(signal.SIGINT)
        assert supervisor.wait() == 4
        print(f"\ntwice SIGINT for two workers with stubborn coroutines: exit 4 after {watch.seconds:.2f} s")
        assert not workers & processes().keys()
        back = await site.claim(2)
        assert {(delivery.attempt, delivery.crashes) for delivery in back} == {(1, 0)}

    def test_one_that_cannot_end_is_killed_loudly(self, site):
        supervisor = fleet(site, 2, shutdown_timeout="500ms")
        frozen = min(children(supervisor.pid))
        os.kill(frozen, signal.SIGSTOP)
        watch = Stopwatch()
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait() == 1
        assert 4 < watch.seconds < 8
        assert "has not ended in time and is killed" in supervisor.text()
        assert frozen not in processes()

    async def test_no_worker_outlives_its_supervisor(self, site):
        supervisor = fleet(site, 2, "-c", "1", "--prefetch", "1", **BUDGET)
        await site.enqueue("hold", str(site.folder), count=3)
        opened = site.ledger.wait_for("start", 2)[0]
        workers = children(supervisor.pid)
        watch = Stopwatch()
        supervisor.kill9()
        # A warm stop: what runs may end.
        (site.folder / f"go-{opened['pid']}").touch()
        site.ledger.wait_for("end")
        until(lambda: not workers & running(), timeout=8)
        print(f"\nkill -9 of the supervisor with a budget of 3 s: all gone after {watch.seconds:.2f} s")
        back = await site.claim(2)
        assert {(delivery.attempt, delivery.crashes) for delivery in back} == {(1, 0)}

    async def test_nor_does_one_that_has_a_task_without_end_and_nobody_to_tell(self, site):
        supervisor = fleet(site, 2, "-c", "1", "--prefetch", "0", **BUDGET)
        await site.enqueue("stubborn", count=2)
        site.ledger.wait_for("start", 2)
        workers = children(supervisor.pid)
        supervisor.hang_up()
        watch = Stopwatch()
        supervisor.kill9()
        until(lambda: not workers & running(), timeout=8)
        print(f"\nthe same with stubborn coroutines and a broken pipe: all gone after {watch.seconds:.2f} s")
        back = await site.claim(2)
        assert {(delivery.attempt, delivery.crashes) for delivery in back} == {(1, 0)}


class TestReplacing:
    async def test_under_load_every_job_runs_once_and_so_many_are_always_ready(self, site):
        supervisor = fleet(site, 2, "-c", "4", "--prefetch", "4")
        before = children(supervisor.pid)
        ids = await site.enqueue("work", 0.02, count=300)
        site.ledger.wait_for("end", 20)
        supervisor.signal(signal.SIGHUP)
        ready(supervisor, 4)
        ids += await site.enqueue("work", 0, count=50)
        site.ledger.wait_for("end", 350, timeout=40)
        until(lambda: len(children(supervisor.pid)) == 2)
        assert not before & children(supervisor.pid)
        running = 0
        for line in supervisor.lines:
            if " is ready (pid " in line["message"]:
                running += 1
            elif " has taken its place" in line["message"]:
                assert running == 3
                running -= 1
        assert running == 2
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait() == 0
        assert Counter(event["id"] for event in site.ledger.events("end")) == Counter(ids)
        assert len(site.ledger.events("start")) == 350

    async def test_the_new_ones_run_the_new_code_and_broken_code_replaces_nothing(self, site):
        module = site.folder / "shop.py"
        module.write_text(_VERSION.format(version=1))
        site.app = "shop:app"
        supervisor = fleet(site, 2)
        module.write_text("import nothing_of_this_name\n")
        supervisor.signal(signal.SIGHUP)
        supervisor.wait_for_message("the workers are not replaced and stay: -A shop:app: importing")
        assert len(children(supervisor.pid)) == 2
        module.write_text(_VERSION.format(version=22))
        supervisor.signal(signal.SIGHUP)
        ready(supervisor, 4)
        until(lambda: len(children(supervisor.pid)) == 2)
        (id,) = await site.enqueue("version")
        site.ledger.wait_for("version 22")
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait() == 0
        assert (await site.status(id)).state is TaskState.SUCCEEDED


_VERSION = """\
import os
from stem_core import Stem
from support.ledger import note
app = Stem("shop")
@app.task(name="version")
async def version():
    note(os.environ["STEM_TEST_LEDGER"], "version {version}")
"""


class TestAtATerminal:
    @pytest.fixture
    def terminal(self, site):
        site.environment["STEM_WORKER_LOG_FORMAT"] = "auto"
        opened = Terminal(site.folder, site.environment)
        opened.type(f"{sys.executable} -m stem_core worker -A support.jobs:app --replicas 2 --name web")
        shown = opened.read_until(lambda text: "worker 2 is ready" in text)
        opened.workers = {int(pid) for pid in re.findall(r"is ready \(pid (\d+)\)", shown)}
        yield opened
        with suppress(OSError):  # one of the tests has closed it
            opened.close()

    def test_ctrl_c_reaches_each_once(self, terminal):
        terminal.type("^C")
        shown = terminal.read_to_prompt()
        assert shown.count("stopping all workers: soft (SIGINT)") == 1
        assert [shown.count(f"stopping: soft (SIGINT)  [worker=web-{n}]") for n in (1, 2)] == [1, 1]
        assert "hard" not in shown
        terminal.type("echo $?")
        assert terminal.read_to_prompt() == "0\n"

    def test_ctrl_z_suspends_all_and_fg_goes_on(self, terminal):
        terminal.type("^Z")
        terminal.read_to_prompt()
        until(lambda: {processes()[pid][2] for pid in terminal.workers} == {"T"})
        terminal.type("fg")
        until(lambda: "T" not in {processes()[pid][2] for pid in terminal.workers})
        terminal.type("^C")
        assert "stopping all workers: soft (SIGINT)" in terminal.read_to_prompt()

    def test_all_end_with_the_terminal(self, terminal):
        terminal.close()
        until(lambda: not terminal.workers & running())


@pytest.mark.skipif(sys.platform != "linux", reason="who adopts orphans can be chosen on Linux only")
async def test_as_the_first_process_it_buries_what_tasks_left_behind(site):
    (site.folder / "orphans.py").write_text(_ORPHANS)
    with first_process(site, "-A", "orphans:app", "--replicas", "2") as supervisor:
        await site.enqueue("leave")
        orphan = site.ledger.wait_for("left")[0]["orphan"]
        until(lambda: orphan not in processes())
        dead = [pid for pid, (parent, _, state) in processes().items() if (parent, state) == (supervisor.pid, "Z")]
        assert not dead
    assert supervisor.returncode == 0


@contextmanager
def first_process(site, *arguments):
    """A worker that is to all below it what process 1 of a container is: PR_SET_CHILD_SUBREAPER (36) survives exec."""
    program = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execv(sys.executable, sys.argv[1:])"
    command = [sys.executable, "-m", "stem_core", "worker", *arguments]
    with subprocess.Popen(
        [sys.executable, "-c", program, *command], cwd=site.folder, env=site.environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


_ORPHANS = """\
import os, subprocess
from stem_core import Stem
from support.ledger import note
app = Stem("orphans")
@app.task(name="leave")
async def leave():
    # A shell that leaves a process behind, as daemons do.
    said = subprocess.run(["sh", "-c", "sleep 0.3 >/dev/null 2>&1 & echo $!"], capture_output=True, text=True)
    note(os.environ["STEM_TEST_LEDGER"], "left", orphan=int(said.stdout))
"""
