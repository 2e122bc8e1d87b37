import asyncio
import threading

import pytest

from stem_core import ConfigurationError, RetryPolicy, Stem, TaskContext, TaskFailed
from stem_core.testing import FakeClock, Harness


def shop(**given):
    app = Stem("shop", plugins=["builtin"], **given)
    ran = []

    @app.task(name="greet")
    async def greet(name: str, *, loud: bool = False) -> str:
        ran.append((name, app.clock.now()))
        return name.upper() if loud else name

    @app.task(name="plain", queue="cpu")
    def plain(n: int) -> int:
        return 2 * n

    @app.task(name="flaky", retry=RetryPolicy.fixed(600), max_retries=2)
    async def flaky(ctx: TaskContext, until: int) -> int:
        ran.append((ctx.attempt, app.clock.now()))
        if ctx.attempt < until:
            raise ConnectionError("away")
        ctx.enqueue(greet, "child")
        return ctx.attempt

    @app.task(name="for_ever")
    async def for_ever() -> None:
        await asyncio.Event().wait()

    @app.task(name="again")
    async def again() -> None:
        await again.options(delay=60).enqueue()

    app.ran = ran
    return app


class TestHarness:
    async def test_what_is_ready_runs_in_every_queue(self):
        app = shop()
        async with Harness(app) as harness:
            first, second = await app.enqueue("greet", "Ada"), await app.enqueue("plain", 21)
            assert app.ran == []
            await harness.run_until_idle()
            assert (await first.result(timeout=1), await second.result(timeout=1)) == ("Ada", 42)

    async def test_what_is_delayed_waits_for_the_clock(self):
        app = shop()
        async with Harness(app) as harness:
            start = harness.clock.now()
            for delay in (7200, 60):
                await app.enqueue_many([app.call("greet", [f"in {delay}"], delay=delay)])
            await harness.run_until_idle()
            assert app.ran == []
            await harness.advance(3600)
            assert app.ran == [("in 60", start + 60)]
            assert harness.clock.now() == start + 3600
            await harness.advance(3600)
            assert app.ran[1:] == [("in 7200", start + 7200)]

    async def test_retries_happen_at_once_and_at_their_time(self):
        app = shop()
        async with Harness(app) as harness:
            start = harness.clock.now()
            handle = await app.enqueue("flaky", 3)
            await harness.run_until_empty()
            assert await handle.result(timeout=1) == 3
            assert app.ran == [(1, start), (2, start + 600), (3, start + 1200), ("child", start + 1200)]

    async def test_what_fails_for_good_raises_with_its_result(self):
        app = shop()
        async with Harness(app) as harness:
            handle = await app.enqueue("flaky", 9)
            await harness.run_until_empty()
            with pytest.raises(TaskFailed, match="away"):
                await handle.result(timeout=1)
            assert [event.delay for event in harness.signals.of("task-retried")] == [600, 600]
            assert len(harness.signals.of("task_dead_lettered")) == 1

    async def test_what_never_ends_is_named(self):
        app = shop()
        async with Harness(app) as harness:
            await app.enqueue("for_ever")
            with pytest.raises(AssertionError, match=r"^not idle after 0.2 s of real time; still running: for_ever$"):
                await harness.run_until_idle(timeout=0.2)

    async def test_a_task_that_enqueues_itself_has_no_end(self, monkeypatch):
        monkeypatch.setattr("stem_core.testing.harness._ROUNDS", 5)
        app = shop()
        async with Harness(app) as harness:
            await app.enqueue("again")
            with pytest.raises(AssertionError, match="a task that enqueues itself has no end"):
                await harness.run_until_empty()

    def test_without_an_event_loop(self):
        app = shop()
        with Harness(app) as harness:
            handle = app.enqueue_sync("greet", "Ada")
            app.enqueue_many_sync([app.call("greet", ["later"], delay=60)])
            harness.run_until_idle_sync()
            assert [name for name, _ in app.ran] == ["Ada"]
            harness.advance_sync(60)
            app.enqueue_many_sync([app.call("greet", ["much later"], delay=86_400)])
            harness.run_until_empty_sync()
            assert [name for name, _ in app.ran] == ["Ada", "later", "much later"]
            assert handle.id

    def test_synchronous_code_meets_the_stores_of_its_own_test(self):
        app = shop(broker_url="memory://before")
        app.enqueue_sync("greet", "before")
        for name in ("first", "second"):
            with Harness(app) as harness:
                app.enqueue_sync("greet", name)
                harness.run_until_idle_sync()
        assert [name for name, _ in app.ran] == ["first", "second"]
        assert not [thread for thread in threading.enumerate() if thread.name == "stem-sync"]

    async def test_an_app_that_is_open_is_refused(self):
        app = shop(broker_url="memory://before")
        async with app.open():
            with pytest.raises(ConfigurationError, match="the app 'shop' is open already"):
                Harness(app).__enter__()

    async def test_each_harness_has_stores_of_its_own(self):
        app = shop()
        async with Harness(app):
            await app.enqueue("greet", "Ada")
        async with Harness(app) as harness:
            await harness.run_until_idle()
        assert app.ran == []

    async def test_the_app_is_afterwards_as_it_was(self, monkeypatch):
        monkeypatch.setenv("STEM_BROKER_URL", "memory://of-the-environment")
        monkeypatch.setenv("STEM_SIGNALS_ENABLED", "no")
        app = shop(broker_url="memory://of-the-code")
        clock = app.clock
        heard = []
        app.signals.task_succeeded.connect(heard.append)
        runtime = app.runtime
        async with Harness(app, settings={"namespace": "other"}) as harness:
            assert app.clock is harness.clock
            assert app.runtime.urls().broker.location.startswith("harness-")
            assert app.runtime.settings.app.namespace == "other"
            await app.enqueue("greet", "Ada")
            await harness.run_until_idle()
        assert app.runtime is runtime
        assert app.clock is clock
        assert len(heard) == 1
        assert [len(signal.listeners) for signal in app.signals if signal.listeners] == [1]

    async def test_an_app_that_was_never_configured_may_be_so_afterwards(self):
        app = shop()
        async with Harness(app):
            pass
        app.configure({"broker_url": "memory://later"})
        assert app.runtime.urls().broker.location == "later"

    async def test_the_handlers_of_plugins_are_not_connected_twice(self, tmp_path, monkeypatch):
        (tmp_path / "of_tests").mkdir()
        (tmp_path / "of_tests/counting.py").write_text(
            "from stem_core.hooks import hookimpl\nheard = []\n@hookimpl\n"
            "def stem_connect_signals(signals):\n    signals.task_succeeded.connect(heard.append)\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        app = Stem("shop", plugins=["of_tests.counting"])
        greet = app.task(name="greet")(lambda: None)
        for _ in range(2):
            async with Harness(app) as harness:
                await greet.enqueue()
                await harness.run_until_idle()
        from of_tests import counting

        assert len(counting.heard) == 2
        assert not app.signals.task_succeeded


class TestEnqueued:
    @pytest.fixture
    async def harness(self):
        async with Harness(shop()) as harness:
            await harness.app.enqueue("greet", "Ada", loud=True)
            await harness.app.enqueue("greet", name="Bob")
            await harness.app.enqueue("elsewhere.task", 1, x=[2])
            yield harness

    async def test_by_task_and_by_name(self, harness):
        task = harness.app.tasks["greet"]
        assert len(harness.enqueued(task)) == len(harness.enqueued("greet")) == 2
        assert len(harness.enqueued(task.options(delay=3), "Ada", loud=True)) == 1

    async def test_arguments_are_compared_by_parameter_with_defaults(self, harness):
        (envelope,) = harness.enqueued("greet", "Bob", loud=False, times=1)
        assert envelope.header.queue == "default"
        assert harness.enqueued("greet", name="Ada", loud=True)
        assert harness.enqueued("elsewhere.task", 1, x=[2], times=1)

    async def test_what_was_not(self, harness):
        assert harness.enqueued("plain", times=0) == []
        assert harness.enqueued("greet", "Eve", times=0) == []

    async def test_the_message_says_what_was(self, harness):
        with pytest.raises(AssertionError) as caught:
            harness.enqueued("greet", "Eve")
        assert str(caught.value) == (
            "greet('Eve') was to be enqueued at least once, and was 0 times; enqueued were:\n"
            "  greet('Ada', loud=True) to default\n"
            "  greet(name='Bob') to default\n"
            "  elsewhere.task(1, x=[2]) to default"
        )
        with pytest.raises(AssertionError, match=r"^greet was to be enqueued 3 times, and was 2 times; enqueued were:"):
            harness.enqueued("greet", times=3)

    async def test_when_nothing_was(self):
        async with Harness(shop()) as harness:
            with pytest.raises(AssertionError, match=r"nothing was enqueued$"):
                harness.enqueued("greet")


def test_a_clock_does_not_go_back():
    clock = FakeClock(start=100.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 1_002.5)
    with pytest.raises(ValueError, match="time does not go back"):
        clock.advance(-1)
    clock.step(-50)
    assert (clock.now(), clock.monotonic()) == (52.5, 1_002.5)
