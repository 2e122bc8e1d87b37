"""What one worker process shows of itself: logs, records, settings, speed of its start, and what it costs."""

import asyncio
import json
import signal
import subprocess
import sys

import pytest

from stem_core.model import HEARTBEATS
from stem_core.wire import decode_heartbeat
from stem_core.worker import Worker
from support.worker_proc import Stopwatch


class TestLogs:
    async def test_every_line_inside_a_task_says_which_task_it_is(self, site):
        worker = site.worker("--name", "w1", queues="default,other")
        (coroutine,) = await site.enqueue("talk")
        (thread,) = await site.enqueue("talk_in_a_thread", queue="other")
        line = worker.wait_for_message("hello from inside")
        assert line | {"time": ""} == {
            "time": "",
            "level": "info",
            "logger": "support.jobs",
            "message": "hello from inside",
            "worker": "w1",
            "task_id": coroutine,
            "task": "talk",
            "attempt": 1,
            "queue": "default",
            "answer": 42,
        }
        line = worker.wait_for_message("hello from a thread")
        assert (line["task_id"], line["task"], line["queue"]) == (thread, "talk_in_a_thread", "other")
        # A thread that the task starts by itself has a context of its own.
        assert "task_id" not in worker.wait_for_message("hello from nowhere")

    async def test_the_end_of_a_task_is_a_line_of_that_task(self, site):
        worker = site.worker()
        (id,) = await site.enqueue("fail")
        retried = worker.wait_for_message("failed in attempt 1, next in 0.0 s: ValueError: as it was told")
        assert (retried["level"], retried["task_id"], retried["attempt"]) == ("warning", id, 1)
        failed = worker.wait_for_message("failed for good in attempt 2 (failed): ValueError: as it was told")
        assert (failed["level"], failed["task_id"], failed["attempt"]) == ("error", id, 2)
        assert "in fail" in failed["message"]

    def test_the_level_is_that_of_the_option(self, site):
        worker = site.worker("-l", "warning", ready=False)
        worker.signal(signal.SIGTERM)
        worker.wait()
        assert not any(line.get("level") == "info" for line in worker.lines)

    def test_text_is_readable(self, site):
        worker = site.worker("--log-format", "text", "-p", "sqlite", ready=False)
        worker.wait_for(lambda line: line.get("text", "").startswith("stop: SIGTERM drains"))
        banner = worker.text()
        assert f"broker: {site.url}" in banner
        assert "plugins: sqlite" in banner
        assert "registered but not subscribed" not in banner


class TestHeartbeats:
    async def test_a_live_worker_has_a_record_and_one_that_ended_has_none(self, site):
        worker = site.worker("--name", "w1", "-c", "7", heartbeat_interval="200ms")
        await site.enqueue("hold", str(site.folder))
        site.ledger.wait_for("start")
        async with site.producer().open() as session:
            async with asyncio.timeout(10):
                while True:
                    (record,) = await session.state.list(HEARTBEATS)
                    heartbeat = decode_heartbeat(record.value)
                    if heartbeat.running:
                        break
                    await asyncio.sleep(0.02)
            assert (heartbeat.worker, heartbeat.pid, heartbeat.phase, heartbeat.health) == (
                "w1",
                worker.pid,
                "running",
                "busy",
            )
            assert (heartbeat.queues, heartbeat.concurrency, heartbeat.interval) == (("default",), 7, 0.2)
            site.open_door(worker)
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
            assert await session.state.list(HEARTBEATS) == []

    async def test_beats_go_on_while_the_loop_is_blocked(self, site):
        site.worker("--name", "w1", heartbeat_interval="100ms", stall_limit="300ms")
        await site.enqueue("block", 2.0)
        site.ledger.wait_for("start")
        async with site.producer().open() as session, asyncio.timeout(10):
            while True:
                (record,) = await session.state.list(HEARTBEATS)
                if decode_heartbeat(record.value).health == "wedged":
                    break
                await asyncio.sleep(0.02)
        assert not site.ledger.events("end")


class TestPrecedence:
    PROGRAM = "from stem_core import Stem\nfrom stem_core.worker import Worker\napp = Stem('p')\n"

    @pytest.mark.parametrize(
        ("environment", "command_line", "expected"),
        [({}, {}, 5), ({"STEM_WORKER_CONCURRENCY": "9"}, {}, 9), ({"STEM_WORKER_CONCURRENCY": "9"}, {"c": "3"}, 3)],
        ids=["code", "environment over code", "command line over environment"],
    )
    def test_of_a_worker_made_in_code(self, site, monkeypatch, environment, command_line, expected):
        for name, given in environment.items():
            monkeypatch.setenv(name, given)
        settings = {"worker.concurrency": command_line["c"]} if command_line else {}
        worker = Worker(site.producer(), concurrency=5, command_line=settings)
        assert worker.heartbeat().concurrency == expected

    def test_of_a_worker_from_the_command_line(self, site):
        (site.folder / "stem.toml").write_text("[worker]\nconcurrency = 2\nprefetch = 6\nlease = '40s'\n")
        worker = site.worker("-c", "3", concurrency=9, prefetch=1)
        assert "concurrency: 3 (as set); prefetch: 1" in worker.text()
        assert "lease: 40 s" in worker.text()

    def test_settings_name_each_origin(self, site):
        (site.folder / "stem.toml").write_text("[worker]\nconcurrency = 2\nprefetch = 6\n")
        (site.folder / "made.py").write_text("from stem_core import Stem\n\napp = Stem('made', default_queue='jobs')\n")
        done = subprocess.run(
            [sys.executable, "-m", "stem_core", "settings", "-A", "made:app", "--namespace", "shop", "--json"],
            cwd=site.folder,
            env=site.environment | {"STEM_WORKER_CONCURRENCY": "9"},
            capture_output=True,
            text=True,
            check=True,
        )
        rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
        assert rows["worker.concurrency"] == ("9", "environment STEM_WORKER_CONCURRENCY")
        assert rows["worker.prefetch"] == ("6", "file stem.toml [worker]")
        assert rows["default_queue"] == ("jobs", "code made.py:3")
        assert rows["namespace"][0] == "shop"
        assert rows["namespace"][1].startswith("command line")
        assert rows["worker.lease"][1] == "default"


class TestCost:
    async def test_the_start(self, site):
        spans = []
        for number in range(1, 4):
            (id,) = await site.enqueue("work", 0)
            worker = site.worker(ready=False)
            event = site.ledger.wait_for("start", number)[-1]
            assert (event["id"], event["pid"]) == (id, worker.pid)
            spans.append(event["at"] - worker.started_at)
            worker.ready().signal(signal.SIGTERM)
            assert worker.wait() == 0
        print(
            f"\nfirst job after the start of the process: {', '.join(f'{span:.3f} s' for span in spans)} (budget 0.35)"
        )
        assert min(spans) < 5

    async def test_of_an_idle_worker(self, site):
        worker = site.worker()
        await site.enqueue("work", 0)
        site.ledger.wait_for("end")
        await asyncio.sleep(0.3)
        before, watch = worker.cpu_seconds(), Stopwatch()
        await asyncio.sleep(3)
        used = (worker.cpu_seconds() - before) / watch.seconds * 60
        rss = worker.rss_mib()
        print(f"\nidle worker: {used:.2f} s of CPU a minute (budget 0.6), {rss:.1f} MiB resident (budget 45)")
        assert rss < 60
        assert used < 6
