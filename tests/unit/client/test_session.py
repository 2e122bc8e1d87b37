import asyncio
import logging
import re

import attrs
import pytest

from stem_core.client.session import CHUNK, open_session
from stem_core.clock import SYSTEM_CLOCK
from stem_core.contracts import Middleware
from stem_core.errors import (
    AppNotOpen,
    ConfigurationError,
    PayloadTooLarge,
    PublishError,
    StoreRefused,
    StoreUnavailable,
)
from stem_core.model import Envelope, Header
from stem_core.settings.schema import AppSettings, WorkerSettings
from stem_core.testing.clock import FakeClock
from support.opened import fake_app

OPENED = ["usable", "+broker", "+backend", "+state"]
CLOSED = ["-state", "-backend", "-broker"]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    return fake_app(clock)


def envelope(n=0, *, payload=b"[[],{}]", **header):
    return Envelope(header=Header(id=f"job-{n}", task="t", queue="default", enqueued_at=1.0, **header), payload=payload)


class TestOpening:
    async def test_opens_in_order_and_closes_in_reverse(self, app):
        async with app.open() as session:
            assert app.session is session
            assert app._runtime.events == OPENED
        assert app._runtime.events == OPENED + CLOSED

    async def test_is_shared_on_one_loop_and_closed_by_the_last(self, app):
        async with app.open() as outer:
            async with app.open() as inner:
                assert inner is outer
            assert app.session is outer
        assert app._runtime.events == OPENED + CLOSED
        assert not app.is_open

    async def test_the_first_user_may_leave_before_the_last(self, app):
        entered, leave = asyncio.Event(), asyncio.Event()

        async def stays():
            async with app.open() as session:
                entered.set()
                await leave.wait()
                assert app.session is session

        async with app.open():
            staying = asyncio.create_task(stays())
            await entered.wait()
        assert app._runtime.events == OPENED
        leave.set()
        await staying
        assert app._runtime.events == OPENED + CLOSED

    async def test_may_be_opened_again(self, app):
        async with app.open() as first:
            pass
        async with app.open() as second:
            assert second is not first
        assert app._runtime.events == (OPENED + CLOSED) * 2

    async def test_two_who_open_at_once_get_one_session(self, app):
        async def use():
            async with app.open() as session:
                await asyncio.sleep(0)
                return session

        first, second = await asyncio.gather(use(), use())
        assert first is second
        assert app._runtime.events == OPENED + CLOSED

    async def test_another_loop_has_another_session(self, app):
        def other_loop():
            async def use():
                with pytest.raises(AppNotOpen):
                    _ = app.session
                async with app.open() as session:
                    return session

            return asyncio.run(use())

        async with app.open() as here:
            there = await asyncio.to_thread(other_loop)
            assert there is not here
            assert app.session is here

    async def test_a_session_of_its_own_is_not_registered(self, app):
        async with open_session(app) as own:
            assert own.app is app
            assert not app.is_open
        assert app._runtime.events == OPENED + CLOSED

    async def test_without_a_backend(self, app):
        app._runtime._urls.backend = None
        async with app.open() as session:
            assert session.backend is None
        assert app._runtime.events == ["usable", "+broker", "+state", "-state", "-broker"]

    async def test_a_failure_reaches_everybody_who_opens_and_closes_what_was_open(self, app):
        app._runtime.fail["state"] = StoreRefused("no state here")
        results = await asyncio.gather(*(app.open().__aenter__() for _ in range(2)), return_exceptions=True)
        assert [str(result) for result in results] == ["no state here"] * 2
        assert app._runtime.events == ["usable", "+broker", "+backend", "-backend", "-broker"]
        app._runtime.fail.clear()
        async with app.open():
            assert app.is_open

    async def test_who_is_cancelled_while_opening_leaves_nothing_open(self, app):
        reached = asyncio.Event()

        async def hang():
            reached.set()
            await asyncio.Event().wait()

        app._runtime.gate["state"] = hang
        opening = asyncio.create_task(app.open().__aenter__())
        await reached.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert app._runtime.events == ["usable", "+broker", "+backend", "-backend", "-broker"]
        assert not app.is_open

    async def test_who_is_cancelled_while_leaving_does_not_cut_the_closing_short(self, app):
        closing, go_on = asyncio.Event(), asyncio.Event()

        async def slowly():
            closing.set()
            await go_on.wait()

        async def user():
            async with app.open():
                pass

        app._runtime.gate["-state"] = slowly
        leaving = asyncio.create_task(user())
        await closing.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        go_on.set()
        (owner,) = asyncio.all_tasks() - {asyncio.current_task()}
        await owner
        assert app._runtime.events == OPENED + CLOSED

    def test_the_end_of_a_loop_leaves_the_stores_to_who_still_uses_them(self, app):
        seen = []

        async def user(entered):
            async with app.open():
                entered.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0.01)
                    seen.append(app.is_open)

        async def main():
            tasks.append(asyncio.create_task(user(entered := asyncio.Event())))
            await entered.wait()

        tasks = []
        # Cancels the user and the task that keeps the stores open in one go.
        asyncio.run(main())
        assert seen == [True]
        assert app._runtime.events == OPENED + CLOSED

    def test_the_end_of_a_loop_does_not_wait_for_who_is_gone(self, app):
        async def leaks():
            holder = app.open()
            await holder.__aenter__()
            holders.append(holder)

        async def main():
            await asyncio.create_task(leaks())

        holders = []
        begun = SYSTEM_CLOCK.monotonic()
        asyncio.run(main())
        assert SYSTEM_CLOCK.monotonic() - begun < 1.0
        assert app._runtime.events == OPENED + CLOSED

    async def test_a_store_that_does_not_open_in_time(self, clock):
        app = fake_app(clock, worker=WorkerSettings(call_timeout=0.01))
        app._runtime.gate["backend"] = asyncio.Event().wait
        with pytest.raises(StoreUnavailable) as caught:
            await app.open().__aenter__()
        assert re.sub(r"fake-\d+", "name", str(caught.value)) == (
            "the result backend memory://name could not be opened within 0.01 s\n"
            "  hint: see that the store is up and can be reached from here"
        )
        assert app._runtime.events == ["usable", "+broker", "-broker"]

    async def test_the_session_does_not_live_in_the_context_of_who_opened_it(self, app):
        from stem_core.tasks import TaskContext, current

        seen = []

        async def look():
            seen.append(current.get())

        app._runtime.gate["broker"] = look
        token = current.set(TaskContext.local())
        try:
            async with app.open():
                pass
        finally:
            current.reset(token)
        assert seen == [None]


class TestNotOpen:
    TEXT = (
        "the app 'shop' is not open on this event loop\n"
        "  hint: put the code inside 'async with app.open():' (in a web framework: in its lifespan), or use "
        ".enqueue_sync(...) where there is no event loop"
    )

    async def test_on_a_loop(self, app):
        with pytest.raises(AppNotOpen) as caught:
            await app.enqueue("t")
        assert str(caught.value) == self.TEXT

    def test_without_a_loop(self, app):
        with pytest.raises(AppNotOpen) as caught:
            _ = app.session
        assert str(caught.value) == self.TEXT


class TestDefaultUrl:
    async def test_a_producer_is_told_once(self, app, caplog):
        app._runtime._urls.default_used = True
        for _ in range(2):
            async with app.open():
                pass
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("stem_core.client", logging.WARNING)
        assert re.sub(r"fake-\d+", "name", record.getMessage()) == (
            "no broker is configured: tasks of 'shop' go to the default memory://name; "
            "set STEM_BROKER_URL, or broker_url in stem.toml"
        )

    async def test_who_shows_the_address_himself_is_not(self, app, caplog):
        app._runtime._urls.default_used = True
        async with app.open(producer=False), open_session(app):
            pass
        assert not caplog.records

    async def test_nor_is_who_configured_one(self, app, caplog):
        async with app.open():
            pass
        assert not caplog.records

    @pytest.mark.parametrize("producer", [True, False])
    async def test_require_config_makes_it_an_error(self, clock, producer):
        app = fake_app(clock, app=AppSettings(require_config=True))
        app._runtime._urls.default_used = True
        with pytest.raises(ConfigurationError) as caught:
            await app.open(producer=producer).__aenter__()
        assert re.sub(r"fake-\d+", "name", str(caught.value)) == (
            "no broker is configured, and require_config forbids the default memory://name\n"
            "  hint: set STEM_BROKER_URL, or broker_url in stem.toml, or unset STEM_REQUIRE_CONFIG"
        )
        assert app._runtime.events == ["usable"]


class Recorder:
    """A broker that remembers what it was sent, call by call."""

    max_message_size = None

    def __init__(self):
        self.calls = []

    async def publish(self, messages):
        self.calls.append([message.id for message in messages])


@pytest.fixture
async def session(app):
    async with app.open() as opened:
        opened.broker = Recorder()
        yield opened


class TestPublishing:
    async def test_stores_the_message(self, app, clock):
        async with app.open() as session:
            sent = [envelope(due_at=clock.now() + 30)]
            assert await session.publish(sent) == sent
            (stored,) = (await session.broker.find(["job-0"])).values()
        assert stored.state == "delayed"
        assert stored.at == clock.now() + 30

    async def test_sends_a_thousand_at_a_time(self, session):
        await session.publish([envelope(n) for n in range(2 * CHUNK + 1)])
        assert [len(call) for call in session.broker.calls] == [1000, 1000, 1]
        assert [id for call in session.broker.calls for id in call] == [f"job-{n}" for n in range(2001)]

    async def test_lets_others_run_between_the_thousands(self, session):
        turns = []

        async def other():
            while True:
                turns.append(len(session.broker.calls))
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        await session.publish([envelope(n) for n in range(3 * CHUNK)])
        running.cancel()
        assert turns.count(0) >= 2

    async def test_nothing_is_sent_when_the_last_is_too_large(self, session):
        session.max_message_size = 1000
        with pytest.raises(PayloadTooLarge) as caught:
            await session.publish([*(envelope(n) for n in range(CHUNK)), envelope(CHUNK, payload=b"x" * 1000)])
        assert session.broker.calls == []
        assert caught.value.limit == 1000
        assert caught.value.size > 1000

    async def test_header_and_payload_count_together(self, session):
        whole = envelope(payload=b"x" * 500)
        from stem_core.wire import encode_header

        size = len(encode_header(whole.header)) + 500
        session.max_message_size = size
        await session.publish([whole])
        session.max_message_size = size - 1
        with pytest.raises(PayloadTooLarge) as caught:
            await session.publish([whole])
        assert (caught.value.size, caught.value.limit) == (size, size - 1)

    async def test_the_broker_may_take_less_than_the_setting_allows(self, session):
        session.broker.max_message_size = 600
        await session.publish([envelope(payload=b"x")])
        with pytest.raises(PayloadTooLarge) as caught:
            await session.publish([envelope(payload=b"x" * 600)])
        assert str(caught.value) == (
            f"the message for t has {caught.value.size:,} bytes; the limit of the broker is 600\n"
            "  hint: store the data elsewhere and pass a reference"
        )

    async def test_a_broker_that_does_not_answer(self, session):
        async def never(messages):
            await asyncio.Event().wait()

        session.broker.publish = never
        session.call_timeout = 0.01
        with pytest.raises(StoreUnavailable) as caught:
            await session.publish([envelope()])
        assert str(caught.value) == (
            "no answer within 0.01 s (broker: publish)\n"
            "  hint: see that the store is up and can be reached, or raise worker.call_timeout "
            "(STEM_WORKER_CALL_TIMEOUT)"
        )

    async def test_a_call_may_wait_several_times(self, session):
        async def steps():
            told = [await asyncio.sleep(0, "one")]
            with pytest.raises(ValueError, match="no"):
                await asyncio.gather(refuse())
            told.append(await asyncio.sleep(0.001, "two"))
            return told

        async def refuse():
            await asyncio.sleep(0)
            raise ValueError("no")

        assert await session.deadline("test", steps()) == ["one", "two"]
        with pytest.raises(ValueError, match="no"):
            await session.deadline("test", refuse())
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "a future")
        assert await session.deadline("test", future) == "a future"

    async def test_a_cancellation_reaches_the_call_that_waits(self, session):
        told = []

        async def call():
            try:
                await asyncio.sleep(0)
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                told.append(error.args)
                await asyncio.sleep(0)
                raise

        waiting = asyncio.create_task(session.deadline("test", call()))
        await asyncio.sleep(0.01)
        waiting.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert told == [("enough",)]

    async def test_signals_before_and_after_in_order(self, app, session):
        told = []

        async def publish(messages):
            told.append(("publish", len(messages)))

        session.broker.publish = publish
        app.signals.before_task_publish.connect(lambda event: told.append((event.event_name, event.id)))
        app.signals.after_task_publish.connect(lambda event: told.append((event.event_name, event.id)))
        await session.publish([envelope(0), envelope(1)])
        assert told == [
            ("before-task-publish", "job-0"),
            ("before-task-publish", "job-1"),
            ("publish", 2),
            ("after-task-publish", "job-0"),
            ("after-task-publish", "job-1"),
        ]

    async def test_no_after_signal_for_what_was_not_stored(self, app, session):
        told = []

        async def refuse(messages):
            raise StoreUnavailable("away")

        session.broker.publish = refuse
        app.signals.after_task_publish.connect(told.append)
        with pytest.raises(StoreUnavailable):
            await session.publish([envelope()])
        assert told == []


class Tag(Middleware):
    def __init__(self, name):
        self.name = name

    def enqueue(self, envelope):
        return envelope.replace(headers={**envelope.header.headers, self.name: str(len(envelope.header.headers))})


class TestMiddleware:
    async def test_the_apps_own_is_outside_of_the_plugins(self, clock):
        app = fake_app(clock, middleware=[Tag("first"), Tag("second")])
        app._runtime.middleware = (Tag("plugin"),)
        async with app.open() as session:
            (sent,) = await session.publish([envelope()])
        assert sent.header.headers == {"first": "0", "second": "1", "plugin": "2"}

    async def test_what_it_changes_is_what_is_sent(self, clock):
        class Reroute(Middleware):
            def enqueue(self, envelope):
                return envelope.replace(queue="other", priority=9)

        app = fake_app(clock, middleware=[Reroute()])
        async with app.open() as session:
            await session.publish([envelope()])
            message = (await session.broker.find(["job-0"]))["job-0"].message
        assert (message.queue, message.priority) == ("other", 9)

    async def test_its_own_error_says_whose_it_is(self, clock):
        class Quota(Middleware):
            def enqueue(self, envelope):
                raise ValueError("quota used up")

        app = fake_app(clock, middleware=[Quota()])
        async with app.open() as session:
            with pytest.raises(PublishError) as caught:
                await session.publish([envelope()])
        assert re.sub(r"middleware \S+", "middleware ...", str(caught.value)) == (
            "the middleware ... refused t: ValueError: quota used up"
        )
        assert "Quota" in str(caught.value)
        assert isinstance(caught.value.__cause__, ValueError)

    async def test_what_is_no_envelope_any_more_is_refused(self, clock):
        class Forgets(Middleware):
            def enqueue(self, envelope):
                pass

        app = fake_app(clock, middleware=[Forgets()])
        async with app.open() as session:
            with pytest.raises(PublishError) as refused:
                await session.publish([envelope()])
        assert "Forgets made a NoneType of the envelope of t" in refused.value.message
        assert "return the envelope" in refused.value.hint

    async def test_errors_of_stem_pass_as_they_are(self, clock):
        class Strict(Middleware):
            def enqueue(self, envelope):
                raise PublishError("not today")

        app = fake_app(clock, middleware=[Strict()])
        async with app.open() as session:
            with pytest.raises(PublishError, match=r"^not today$"):
                await session.publish([envelope()])

    async def test_what_no_worker_could_read_is_refused_here(self, clock):
        class Broken(Middleware):
            def enqueue(self, envelope):
                return attrs.evolve(envelope, header=attrs.evolve(envelope.header, priority=99))

        app = fake_app(clock, middleware=[Broken()])
        async with app.open() as session:
            session.broker = Recorder()
            with pytest.raises(PublishError, match="priority 99"):
                await session.publish([envelope()])
            assert session.broker.calls == []
