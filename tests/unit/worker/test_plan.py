import os
import socket
import subprocess
import sys

import attrs
import pytest

from stem_core import Stem
from stem_core.builtin.memory_state import MemoryState
from stem_core.builtin.memory_store import MemoryStore
from stem_core.errors import ConfigurationError, InvalidName, InvalidOption, WorkerAlreadyRunning
from stem_core.model import HEARTBEATS, Heartbeat
from stem_core.testing.clock import FakeClock
from stem_core.wire import decode_heartbeat, encode_heartbeat
from stem_core.worker import plan as planning
from stem_core.worker.banner import banner, warnings
from stem_core.worker.identity import claim_identity, host_name, worker_id


@pytest.fixture
def app():
    return Stem("p", broker_url="memory://plan", plugins=[])


def plan_of(app, **options):
    settings = app.runtime.settings.overlay(code={f"worker.{name}": given for name, given in options.items()})
    return planning.make_plan(settings, app.tasks, app.runtime.strategies), settings


async def coroutine():
    pass


def plain():
    pass


class TestConcurrency:
    def test_all_on_the_loop(self, app):
        app.task(name="a")(coroutine)
        plan, _ = plan_of(app)
        assert (plan.concurrency, plan.concurrency_reason, plan.prefetch) == (100, "all tasks on the event loop", 100)
        assert set(plan.providers) == {"event_loop"}

    def test_some_in_threads(self, app, monkeypatch):
        monkeypatch.setattr(planning, "usable_cpus", lambda: 3)
        app.task(name="a")(coroutine)
        app.task(name="b")(plain)
        plan, _ = plan_of(app)
        assert (plan.concurrency, plan.prefetch) == (7, 7)
        assert set(plan.providers) == {"event_loop", "threads"}

    def test_never_more_than_32_threads(self, app, monkeypatch):
        monkeypatch.setattr(planning, "usable_cpus", lambda: 64)
        app.task(name="b")(plain)
        assert plan_of(app)[0].concurrency == 32

    def test_some_in_processes(self, app, monkeypatch):
        monkeypatch.setattr(planning, "usable_cpus", lambda: 3)
        app.task(name="a")(coroutine)
        app.task(name="b")(plain)
        app.task(name="c", time_limit=5)(plain)
        plan, settings = plan_of(app)
        assert (plan.concurrency, plan.concurrency_reason, plan.processes) == (3, "some tasks in processes", 3)
        assert plan.isolated == {"c"}
        assert "strategy: event_loop, processes (3 children), threads; lease: 30 s" in banner(app, settings, plan)

    def test_processes_for_tasks_that_are_not_read_start_on_demand(self, app):
        app.task(name="a")(coroutine)
        app.task(name="c", time_limit=5, queue="video")(plain)
        plan, settings = plan_of(app, concurrency=1)
        assert plan.on_demand == {"processes"}
        assert "strategy: event_loop, processes (1 child, on demand); lease: 30 s" in banner(app, settings, plan)
        assert plan_of(app, concurrency=1, queues="default,video")[0].on_demand == frozenset()

    @pytest.mark.parametrize(
        ("options", "children"),
        [({"concurrency": 2}, 2), ({"concurrency": 8}, 3), ({"concurrency": 8, "processes": 6}, 6)],
        ids=["never more than slots", "at most the processors", "as set"],
    )
    def test_how_many_children(self, app, monkeypatch, options, children):
        monkeypatch.setattr(planning, "usable_cpus", lambda: 3)
        app.task(name="c", time_limit=5)(plain)
        plan, _ = plan_of(app, **options)
        assert plan.children(plan.concurrency) == children

    def test_tasks_of_queues_that_nobody_reads_here_do_not_count(self, app):
        app.task(name="a")(coroutine)
        app.task(name="b", queue="other")(plain)
        assert plan_of(app)[0].concurrency == 100
        assert plan_of(app, queues=["default", "other"])[0].concurrency < 100

    def test_as_set(self, app):
        plan, _ = plan_of(app, concurrency=5, prefetch_multiplier=2.5)
        assert (plan.concurrency, plan.concurrency_reason, plan.prefetch) == (5, "as set", 12)

    @pytest.mark.parametrize("prefetch", [0, 3])
    def test_a_prefetch_that_is_set_is_taken_as_it_is(self, app, prefetch):
        assert plan_of(app, concurrency=5, prefetch=prefetch)[0].prefetch == prefetch

    def test_the_processors_are_those_that_this_process_may_use(self):
        assert 1 <= planning.usable_cpus() <= os.cpu_count()


class TestStrategies:
    def test_the_workers_choice_holds_where_it_can(self, app):
        app.task(name="a")(coroutine)
        app.task(name="b")(plain)
        plan, _ = plan_of(app, strategy="threads")
        assert plan.strategy_of == {"a": "event_loop", "b": "threads"}

    def test_the_tasks_own_choice_goes_first(self, app):
        app.task(name="b", strategy="threads")(plain)
        assert plan_of(app, strategy="event_loop")[0].strategy_of == {"b": "threads"}

    def test_a_plain_function_with_a_time_limit_stays_where_it_can_be_stopped(self, app):
        app.task(name="a", time_limit=5)(coroutine)
        app.task(name="b", time_limit=5)(plain)
        assert plan_of(app, strategy="threads")[0].strategy_of == {"a": "event_loop", "b": "processes"}
        assert plan_of(app, strategy="processes")[0].strategy_of == {"a": "processes", "b": "processes"}

    def test_a_task_of_the_program_itself_is_refused_for_processes(self, app):
        def mine():
            pass

        mine.__module__ = "__main__"
        app.task(name="mine")(mine)
        plan_of(app)
        with pytest.raises(ConfigurationError, match=r"task mine is defined in the program itself") as refused:
            plan_of(app, strategy="processes")
        assert "move it into a module of its own" in refused.value.hint

    def test_an_unknown_one_is_an_error(self, app):
        app.task(name="b", strategy="elsewhere")(plain)
        with pytest.raises(ConfigurationError, match="elsewhere"):
            plan_of(app)


class TestQueues:
    def test_the_default_queue_when_nothing_is_said(self):
        app = Stem("p", broker_url="memory://plan", plugins=[], default_queue="jobs")
        assert plan_of(app)[0].subscription.queues == ("jobs",)

    def test_unread_queues_are_warned_of_with_the_remedy(self, app):
        app.task(name="tasks.send_welcome", queue="mail")(coroutine)
        app.task(name="tasks.here")(plain)
        plan, _ = plan_of(app)
        assert plan.unread == {"mail": ["tasks.send_welcome"]}
        assert warnings(app, plan) == ["registered but not subscribed: mail (tasks.send_welcome); add -Q default,mail"]

    def test_an_app_without_tasks_is_warned_of(self, app):
        plan, _ = plan_of(app)
        assert "no task is registered" in warnings(app, plan)[0]

    def test_weights_and_a_queue_named_twice(self, app):
        assert plan_of(app, queues=["high:5", "low"])[0].subscription.weights == (5, 1)
        with pytest.raises(ConfigurationError, match="each once"):
            plan_of(app, queues=["a", "a:2"])

    def test_what_is_excluded_is_not_read_and_not_warned_of(self, app):
        app.task(name="a", queue="bulk")(coroutine)
        plan, _ = plan_of(app, queues=["high:5", "low", "bulk"], exclude="bulk")
        assert (plan.subscription.queues, plan.subscription.weights) == (("high", "low"), (5, 1))
        assert warnings(app, plan) == []


class TestLanes:
    def test_none_is_nothing_to_count(self, app):
        assert not plan_of(app)[0].lanes

    @pytest.mark.parametrize(
        "given", ["mail=2,bulk=1", ["mail=2", "bulk=1"], [("mail", 2), ("bulk", 1)], {"mail": 2, "bulk": "1"}]
    )
    def test_are_said_in_several_ways(self, app, given):
        plan, _ = plan_of(app, queues=["mail", "bulk"], concurrency=5, reserve=given, limit={"bulk": 3})
        assert (plan.lanes.reserve, plan.lanes.limit) == ({"mail": 2, "bulk": 1}, {"bulk": 3})

    def test_reserves_may_take_all_when_every_queue_has_one(self, app):
        plan, _ = plan_of(app, queues=["mail", "bulk"], concurrency=3, reserve="mail=2,bulk=1")
        assert sum(plan.lanes.reserve.values()) == plan.concurrency

    def test_a_limit_above_the_concurrency_is_none(self, app):
        assert plan_of(app, concurrency=2, limit="default=9")[0].lanes.limit == {"default": 9}

    def test_the_banner_shows_them(self, app):
        plan, settings = plan_of(app, queues=["mail", "bulk", "x"], reserve="mail=2", limit="mail=4,bulk=3")
        assert "lanes: mail (2 reserved, at most 4); bulk (at most 3)" in banner(app, settings, plan)


class TestAutoscale:
    def test_begins_with_the_least_and_the_prefetch_follows(self, app):
        plan, settings = plan_of(app, autoscale="2,50", prefetch_multiplier=1.5)
        assert (plan.concurrency, plan.prefetch, plan.autoscale) == (2, 3, (2, 50))
        assert "concurrency: 2 (from 2 to 50); prefetch: 3 to 75" in banner(app, settings, plan)

    def test_children_up_to_the_processors(self, app, monkeypatch):
        monkeypatch.setattr(planning, "usable_cpus", lambda: 3)
        app.task(name="c", time_limit=5)(plain)
        plan, settings = plan_of(app, autoscale=(2, 8))
        assert "strategy: processes (2 to 3 children); lease: 30 s" in banner(app, settings, plan)

    def test_a_fixed_prefetch_above_twice_the_most_is_warned_of(self, app):
        app.task(name="a")(coroutine)
        assert warnings(app, plan_of(app, autoscale="2,10", prefetch=20)[0]) == []
        (warning,) = warnings(app, plan_of(app, autoscale="2,10", prefetch=21)[0])
        assert warning == (
            "prefetch 21 is more than twice the most slots, 10: this worker holds back what others could run; "
            "leave the prefetch out, and it follows the concurrency"
        )

    def test_a_number_from_the_environment_beside_a_range_is_refused_too(self, app, monkeypatch):
        monkeypatch.setenv("STEM_WORKER_CONCURRENCY", "5")
        app = Stem("p", broker_url="memory://plan", plugins=[])
        with pytest.raises(ConfigurationError, match=r"environment STEM_WORKER_CONCURRENCY: .* is 2,8 \(code"):
            plan_of(app, autoscale="2,8")


class TestBanner:
    def test_tells_what_the_worker_is_about_to_do_and_no_secret(self):
        app = Stem("shop", broker_url="memory://user:secret@plan", plugins=[])
        app.task(name="a")(coroutine)
        plan, settings = plan_of(app, name="w1", queues=["high:5", "low"])
        text = "\n".join(banner(app, settings, plan))
        assert "secret" not in text
        for part in (
            "worker w1, app shop, 1 task",
            "queues: high:5,low",
            "strategy: event_loop; lease: 30 s",
            "concurrency: 100 (all tasks on the event loop); prefetch: 100",
            "interrupts after 20 s, hands back after 23 s",
        ):
            assert part in text

    def test_a_small_budget_is_shared_out_as_it_will_be(self, app):
        plan, settings = plan_of(app, shutdown_timeout=1.0)
        assert "interrupts after 0.5 s, hands back after 0.8 s" in banner(app, settings, plan)[-1]


class TestNames:
    def test_the_default_is_host_pid_and_a_random_part(self):
        first, second = worker_id(None), worker_id(None)
        assert first.startswith(f"{host_name()}-{os.getpid()}-")
        assert first != second

    def test_percent_h_is_the_host(self):
        assert worker_id("web1@%h") == f"web1@{host_name()}"

    def test_a_name_that_no_id_may_have_is_refused(self):
        with pytest.raises(InvalidName):
            worker_id("web 1")

    @pytest.mark.parametrize(
        ("host", "shown"), [("web1.example.org", "web1"), ("büro", "b-ro"), ("", "localhost"), ("a b", "a-b")]
    )
    def test_the_host_in_characters_of_an_id(self, monkeypatch, host, shown):
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        assert host_name() == shown


def heartbeat(clock, **given):
    made = Heartbeat(
        worker="w1",
        host=host_name(),
        pid=os.getpid(),
        incarnation="i",
        phase="running",
        health="idle",
        queues=("default",),
        concurrency=1,
        running=0,
        prefetched=0,
        started_at=clock.now(),
        at=clock.now(),
        interval=5.0,
    )
    return attrs.evolve(made, **given)


class TestRouting:
    @pytest.fixture
    def app(self):
        routes = [{"task": "mail.*", "queue": "mail"}, {"task": "cache.*", "channel": "news"}]
        app = Stem(
            "p", broker_url="memory://plan", plugins=[], routing_config={"channels": {"news": {}}, "routes": routes}
        )
        app.task(name="mail.a", queue="own")(coroutine)
        app.task(name="cache.b")(coroutine)
        app.task(name="c")(plain)
        return app

    def test_tasks_are_read_where_routes_send_them(self, app):
        plan, _ = plan_of(app, queues="own,default")
        assert (plan.unread, plan.unheard) == ({"mail": ["mail.a"]}, {"news": ["cache.b"]})
        assert warnings(app, plan) == [
            "registered but not subscribed: mail (mail.a); add -Q own,default,mail",
            "registered but not listening: news (cache.b); add --broadcast news",
        ]

    def test_one_that_is_listened_to_counts_for_the_slots(self, app):
        plan, settings = plan_of(app, queues="mail", broadcasts="news,news")
        assert (plan.broadcasts, plan.unread, plan.unheard) == (("news",), {"default": ["c"]}, {})
        assert plan.concurrency_reason == "all tasks on the event loop"
        assert "queues: mail; broadcasts: news" in banner(app, settings, plan)

    def test_the_default_queue_of_the_routing_is_that_of_the_worker(self):
        app = Stem("p", broker_url="memory://plan", plugins=[], routing_config={"default_queue": "jobs"})
        assert plan_of(app)[0].subscription.queues == ("jobs",)


class TestClaimingTheId:
    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def state(self, clock):
        return MemoryState(MemoryStore(), clock)

    async def holder(self, state):
        record = await state.get(HEARTBEATS, "w1")
        return decode_heartbeat(record.value).incarnation

    async def test_a_free_one(self, state, clock):
        await claim_identity(state, heartbeat(clock, incarnation="a"), clock)
        assert await self.holder(state) == "a"

    @pytest.mark.parametrize(
        "other", [{"pid": os.getpid()}, {"host": "elsewhere", "pid": 999_999_999}, {"pid": os.getppid()}]
    )
    async def test_that_of_a_live_worker_is_refused(self, state, clock, other):
        await claim_identity(state, heartbeat(clock, incarnation="a", at=clock.now() - 4, **other), clock)
        with pytest.raises(WorkerAlreadyRunning, match="last heartbeat 4 s ago") as refused:
            await claim_identity(state, heartbeat(clock, incarnation="b"), clock)
        assert "another --name" in refused.value.hint
        assert "after 15 s" in refused.value.hint
        assert await self.holder(state) == "a"

    async def test_that_of_a_worker_whose_process_has_ended_is_taken_over_at_once(self, state, clock):
        await claim_identity(state, heartbeat(clock, incarnation="a", pid=999_999_999), clock)
        await claim_identity(state, heartbeat(clock, incarnation="b"), clock)
        assert await self.holder(state) == "b"

    @pytest.fixture
    def zombie(self):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as killed:
            killed.kill()
            os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
            yield killed.pid

    @pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
    async def test_so_is_that_of_one_whose_end_nobody_has_asked_for(self, state, clock, zombie):
        await claim_identity(state, heartbeat(clock, incarnation="a", pid=zombie), clock)
        await claim_identity(state, heartbeat(clock, incarnation="b"), clock)
        assert await self.holder(state) == "b"

    @pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
    async def test_so_is_that_of_one_whose_number_another_process_has_by_now(self, state, clock):
        # As in a container that has started anew: the worker has the number that it had before.
        before = clock.now() - 1_000_000
        await claim_identity(state, heartbeat(clock, incarnation="a", pid=os.getpid(), started_at=before), clock)
        await claim_identity(state, heartbeat(clock, incarnation="b"), clock)
        assert await self.holder(state) == "b"

    async def test_that_of_a_silent_worker_elsewhere_is_free_after_three_intervals(self, state, clock):
        await claim_identity(state, heartbeat(clock, incarnation="a", host="elsewhere"), clock)
        clock.advance(15.5)
        await claim_identity(state, heartbeat(clock, incarnation="b"), clock)
        assert await self.holder(state) == "b"

    async def test_a_record_that_cannot_be_read_is_replaced(self, state, clock):
        await state.put(HEARTBEATS, "w1", b"{")
        await claim_identity(state, heartbeat(clock, incarnation="b"), clock)
        assert await self.holder(state) == "b"

    async def test_of_two_that_take_over_at_once_one_gets_it(self, state, clock):
        await claim_identity(state, heartbeat(clock, incarnation="dead", pid=999_999_999), clock)
        get = state.get

        async def a_rival_comes_first(collection, key):
            found = await get(collection, key)
            await state.put(HEARTBEATS, "w1", encode_heartbeat(heartbeat(clock, incarnation="rival")))
            return found

        state.get = a_rival_comes_first
        with pytest.raises(WorkerAlreadyRunning, match="has just started"):
            await claim_identity(state, heartbeat(clock, incarnation="late"), clock)
        del state.get
        assert await self.holder(state) == "rival"


def test_an_option_of_the_worker_that_cannot_be_used(app):
    with pytest.raises((InvalidOption, ConfigurationError), match="concurrency"):
        plan_of(app, concurrency=0)
