import threading
import uuid
from contextlib import asynccontextmanager

import pytest

from stem_core.client.app import Stem
from stem_core.errors import (
    BadArguments,
    ConfigurationError,
    DuplicateTask,
    InvalidName,
    InvalidOption,
    InvalidSetting,
)
from stem_core.model import child_id
from stem_core.tasks import TaskContext, current
from stem_core.testing.clock import FakeClock
from support.opened import fake_app


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("STEM_BROKER_URL", "STEM_PLUGINS", "STEM_NAMESPACE", "STEM_DEFAULT_QUEUE"):
        monkeypatch.delenv(name, raising=False)


def memory_app(**given):
    return Stem("shop", plugins=[], broker_url=f"memory://{uuid.uuid4()}", **given)


class TestConfiguration:
    def test_making_an_app_assembles_nothing(self):
        app = Stem("shop", broker_url="nonsense")
        assert app._runtime is None
        assert repr(app) == "<Stem 'shop': 0 tasks>"

    def test_settings_in_code_know_where_they_stand(self):
        app = memory_app(default_queue="here", result_ttl=60)
        settings = app.runtime.settings
        assert settings.app.default_queue == "here"
        assert settings.app.result_ttl == 60
        assert str(settings.origin("default_queue")).startswith("code ")
        assert "test_app.py:" in str(settings.origin("default_queue"))

    def test_a_file_below_the_current_folder_is_named_from_there(self, tmp_path):
        code = "from stem_core import Stem\n\n\napp = Stem('shop', plugins=[], namespace='n')\n"
        names = {}
        exec(compile(code, str(tmp_path / "tasks.py"), "exec"), names)
        assert str(names["app"].runtime.settings.origin("namespace")) == "code tasks.py:4"

    def test_a_folder_that_is_gone_does_not_matter(self, tmp_path, monkeypatch):
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        assert "test_app.py:" in Stem("shop")._code_origin

    def test_the_environment_wins(self, monkeypatch):
        monkeypatch.setenv("STEM_DEFAULT_QUEUE", "there")
        assert memory_app(default_queue="here").runtime.settings.app.default_queue == "there"

    def test_the_command_line_wins_over_the_environment(self, monkeypatch):
        monkeypatch.setenv("STEM_DEFAULT_QUEUE", "there")
        app = memory_app(default_queue="here")
        app.configure({"default_queue": "elsewhere"})
        assert app.runtime.settings.app.default_queue == "elsewhere"

    def test_an_unknown_setting_is_named_with_what_was_meant(self):
        with pytest.raises(InvalidSetting, match="defualt_queue") as caught:
            _ = memory_app(defualt_queue="x").runtime
        assert "default_queue" in str(caught.value)

    def test_it_cannot_be_configured_twice(self):
        app = memory_app()
        _ = app.runtime
        with pytest.raises(ConfigurationError) as caught:
            app.configure({})
        assert str(caught.value) == (
            "the app 'shop' is configured already\n"
            "  hint: import the app without opening it or looking at app.runtime at import time"
        )

    def test_threads_assemble_it_once(self):
        app = memory_app()
        barrier, seen = threading.Barrier(8), []

        def look():
            barrier.wait()
            seen.append(app.runtime)

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(runtime) for runtime in seen}) == 1

    def test_plugins_get_the_bus_of_the_app_and_see_the_app(self, tmp_path, monkeypatch):
        (tmp_path / "shop_extras").mkdir()
        (tmp_path / "shop_extras" / "plugin.py").write_text(
            "from stem_core.hooks import hookimpl\n"
            "seen = []\n"
            "@hookimpl\n"
            "def stem_connect_signals(signals, settings):\n"
            "    signals.task_failed.connect(print)\n"
            "@hookimpl\n"
            "def stem_configured(app):\n"
            "    seen.append((app, app.runtime))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        app = Stem("shop", plugins=["shop_extras.plugin"], broker_url="memory://x")
        app.signals.task_failed.connect(repr)
        runtime = app.runtime
        assert [listener.handler for listener in app.signals.task_failed.listeners] == [repr, print]
        from shop_extras import plugin

        assert plugin.seen == [(app, runtime)]

    def test_include_is_a_list(self):
        with pytest.raises(InvalidOption) as caught:
            Stem("shop", include="shop.tasks")
        assert str(caught.value) == (
            "include='shop.tasks' cannot be used\n  hint: give a list of modules: include=['shop.tasks']"
        )

    def test_a_producer_does_not_enter_the_lifespan(self):
        @asynccontextmanager
        async def lifespan(app):
            raise AssertionError
            yield

        app = memory_app(lifespan=lifespan)
        assert app.lifespan is lifespan
        app.enqueue_sync("t")


class TestDefiningTasks:
    def test_with_and_without_options(self):
        app = Stem("shop")

        @app.task
        async def first() -> None: ...

        @app.task(name="second", aliases=["zweite"], queue="mail")
        def second(ctx: TaskContext, n: int) -> None: ...

        assert app.tasks.names() == sorted([f"{__name__}.first", "second", "zweite"])
        assert second.queue == "mail"
        assert second.takes_context
        assert app.tasks["zweite"] is second

    def test_two_of_one_name(self):
        app = Stem("shop")
        app.task(name="twin")(lambda: None)
        with pytest.raises(DuplicateTask, match="two tasks are named 'twin'"):
            app.task(name="twin")(lambda: None)

    def test_options_are_checked_where_they_stand(self):
        with pytest.raises(InvalidOption, match="priority=10"):
            Stem("shop").task(priority=10)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    made = fake_app(clock)

    @made.task(name="tasks.add", queue="sums")
    async def add(a: int, b: int = 0) -> int:
        return a + b

    return made


async def stored(app, *handles):
    found = await app.session.broker.find([handle.id for handle in handles])
    return [found[handle.id].message for handle in handles]


class TestEnqueueing:
    async def test_a_task(self, app, clock):
        async with app.open():
            handle = await app.enqueue(app.tasks["tasks.add"], 1, b=2)
            (message,) = await stored(app, handle)
        assert (message.queue, message.payload) == ("sums", b'[[1],{"b":2}]')
        assert handle.task == "tasks.add"
        assert repr(handle) == f"<TaskHandle tasks.add [{handle.id}]>"

    async def test_one_with_options(self, app):
        async with app.open():
            handle = await app.enqueue(app.tasks["tasks.add"].options(id="sum-1", queue="other"), 1)
            (message,) = await stored(app, handle)
        assert (message.id, message.queue) == ("sum-1", "other")

    async def test_by_name_a_registered_one_is_checked(self, app):
        async with app.open():
            handle = await app.enqueue("tasks.add", 1, b=2)
            (message,) = await stored(app, handle)
            with pytest.raises(BadArguments) as caught:
                await app.enqueue("tasks.add", "one")
        assert message.queue == "sums"
        assert (caught.value.task, caught.value.parameter) == ("tasks.add", "a")

    async def test_by_name_the_code_need_not_be_here(self, app):
        async with app.open():
            handle = await app.enqueue("tasks.addd", {"x": [1, None]}, y="z")
            (message,) = await stored(app, handle)
        assert (message.queue, message.payload) == ("default", b'[[{"x":[1,null]}],{"y":"z"}]')

    @pytest.mark.parametrize("argument", [object(), float("nan"), {"deep": [float("inf")]}])
    async def test_by_name_only_json_goes(self, app, argument):
        async with app.open():
            with pytest.raises(BadArguments):
                await app.enqueue("elsewhere.task", argument)

    async def test_a_name_that_no_task_may_have(self, app):
        async with app.open():
            with pytest.raises(InvalidName):
                await app.enqueue("no such name")

    async def test_what_is_no_task(self, app):
        async with app.open():
            with pytest.raises(InvalidOption, match="a task of this app, one with options, or the name of a task"):
                await app.enqueue(print)

    async def test_a_task_of_another_app(self, app, clock):
        other = fake_app(clock)
        async with other.open():
            with pytest.raises(InvalidOption, match="of the app 'shop'; this is another app's"):
                await other.enqueue(app.tasks["tasks.add"], 1)

    async def test_a_call_by_name_with_options(self, app, clock):
        call = app.call("elsewhere.render", ["a.png"], {"dpi": 300}, delay=30, priority=7)
        async with app.open():
            (handle,) = await app.enqueue_many([call])
            found = (await app.session.broker.find([handle.id]))[handle.id]
        assert found.message.payload == b'[["a.png"],{"dpi":300}]'
        assert (found.message.priority, found.at) == (7, clock.now() + 30)

    async def test_the_same_id_is_the_same_job(self, app):
        async with app.open():
            for _ in range(2):
                await app.tasks["tasks.add"].options(id="sum-1").enqueue(1)
            assert (await app.session.broker.depth(["sums"]))["sums"].ready == 1

    async def test_many_come_back_in_order(self, app):
        add = app.tasks["tasks.add"]
        async with app.open():
            handles = await app.enqueue_many(add.call(n) for n in range(2500))
            messages = await stored(app, *handles)
        assert [message.payload for message in messages] == [b"[[%d],{}]" % n for n in range(2500)]

    async def test_none_is_sent_when_one_cannot_be(self, app):
        add = app.tasks["tasks.add"]

        def calls():
            yield from (add.call(n) for n in range(1500))
            yield add.call("bad")

        async with app.open():
            with pytest.raises(BadArguments):
                await app.enqueue_many(calls())
            with pytest.raises(InvalidOption):
                await app.enqueue_many([add.call(1), add.options(delay=9, expires=1).call(2)])
            assert (await app.session.broker.depth(["sums"]))["sums"].ready == 0

    async def test_no_calls_are_no_call(self, app):
        async with app.open():
            assert await app.enqueue_many([]) == []

    async def test_inside_a_task_they_are_its_children(self, app, clock):
        parent = TaskContext.local(clock=clock)
        token = current.set(parent)
        try:
            async with app.open():
                handles = [await app.enqueue("a"), *(await app.enqueue_many([app.call("b")]))]
        finally:
            current.reset(token)
        assert [(h._header.parent_id, h._header.root_id) for h in handles] == [(parent.id, parent.id)] * 2

    async def test_the_outbox_publishes_nothing_and_numbers_its_ids(self, app, clock):
        parent = TaskContext.local(clock=clock)
        add = app.tasks["tasks.add"]
        handles = [parent.enqueue(add, 1), parent.enqueue(add.options(id="own"), 2), parent.enqueue(add, 3)]
        assert [handle.id for handle in handles] == [child_id(parent.id, 0), "own", child_id(parent.id, 2)]
        assert [made.header.id for made in parent.outbox] == [handle.id for handle in handles]
        assert {made.header.parent_id for made in parent.outbox} == {parent.id}
        async with app.open() as session:
            assert await session.broker.queues() == []

    async def test_middleware_may_change_the_id_and_the_handle_knows(self, clock):
        from stem_core.contracts import Middleware

        class Prefix(Middleware):
            def enqueue(self, envelope):
                return envelope.replace(id=f"shop-{envelope.header.task}")

        app = fake_app(clock, middleware=[Prefix()])
        async with app.open():
            handle = await app.enqueue("t")
            assert handle.id == "shop-t"
            assert (await handle.status()).state == "queued"

    def test_a_handle_needs_an_id_that_a_job_can_have(self, app):
        with pytest.raises(InvalidName, match="is no task id"):
            app.handle("no such id")
