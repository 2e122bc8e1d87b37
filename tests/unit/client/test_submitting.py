"""Messages made by a pattern are those that composing and sealing each would make."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_core.client.app import Stem
from stem_core.client.session import CHUNK
from stem_core.errors import InvalidOption, PayloadTooLarge
from stem_core.model import Message
from stem_core.settings.schema import AppSettings
from stem_core.tasks import TaskCall, TaskContext, TaskOptions, current
from stem_core.testing.clock import FakeClock
from stem_core.wire import seal, unseal
from support.opened import fake_app

TIMES = st.just(1.0) | st.floats(0, 1e10)
NAMES = st.text("abcz.-_0", min_size=1, max_size=5)
#: What a pattern might take for the time or an id is among them.
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["enqueued_at", ',"enqueued_at":1.0', '"enqueued_at":', "id", '"id":"']
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "queue": NAMES,
        "priority": st.integers(0, 9),
        "delay": st.floats(0, 100),
        "expires": st.floats(101, 1000),
        "headers": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "id": NAMES,
        "max_retries": st.integers(0, 5),
        "store_result": st.booleans(),
        "result_ttl": st.floats(1, 1000),
    },
)
TASK_OPTIONS = st.fixed_dictionaries({}, optional={"queue": NAMES, "expires": st.floats(101, 1000)})
PARENT = TaskContext.local(task="parent")


class Recorder:
    """A broker that keeps what it was sent."""

    max_message_size: int | None = None

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def publish(self, messages: Any) -> None:
        self.sent += messages


def composed(app: Stem, call: TaskCall[Any], message: Message, now: float, parent: TaskContext | None) -> Message:
    """The message of the call, by way of its envelope."""
    return seal(app._submitter.build(call, now, parent, message.id), now=now)


@given(
    tasks=st.lists(TASK_OPTIONS, min_size=2, max_size=2),
    options=st.lists(OPTIONS, min_size=2, max_size=2),
    # Which task, with which options, how much later.
    plan=st.lists(st.tuples(st.integers(0, 1), st.integers(-1, 1), st.sampled_from([0.0, 0.25, 7.0])), max_size=8),
    start=TIMES,
    parent=st.sampled_from([None, PARENT]),
    data=st.data(),
)
def test_each_message_is_that_of_its_envelope(tasks, options, plan, start, parent, data) -> None:
    clock = FakeClock(start)
    app = fake_app(clock)
    made: list[Any] = [
        app.task(name=f"t{number}", **given)(lambda *_, **__: None) for number, given in enumerate(tasks)
    ]
    bound = [[task.options(**given) for given in options] + [task] for task in made]

    async def main() -> None:
        async with app.open() as session:
            broker: Any = Recorder()
            session.broker = broker
            token = current.set(parent)
            try:
                calls = []
                for number, (task, option, later) in enumerate(plan):
                    clock.advance(later)
                    call = bound[task][option].call(number, text="x" * number)
                    calls.append(call)
                    handle = await app.submit(call)
                    message = broker.sent[-1]
                    assert message == composed(app, call, message, clock.now(), parent)
                    header = unseal(message).header
                    assert (handle.id, handle.task, handle._enqueued_at) == (header.id, header.task, clock.now())
                    seen = handle._unseen()
                    assert (seen.queue, seen.enqueued_at) == (header.queue, header.enqueued_at)
                broker.sent.clear()
                handles = await app.enqueue_many(calls)
                assert [handle.id for handle in handles] == [message.id for message in broker.sent]
                for call, message in zip(calls, broker.sent, strict=True):
                    assert message == composed(app, call, message, clock.now(), parent)
            finally:
                current.reset(token)

    asyncio.run(main())


@pytest.fixture
def app() -> Stem:
    return fake_app(FakeClock(), app=AppSettings(max_message_size=1000))


async def test_a_call_that_is_too_large_is_refused_like_the_first(app) -> None:
    task = app.task(name="t")(lambda _text: None)
    async with app.open() as session:
        session.broker = broker = Recorder()
        await task.enqueue("small")
        with pytest.raises(PayloadTooLarge, match="the message for t has 1,385 bytes"):
            await task.enqueue("x" * 1000)
        with pytest.raises(PayloadTooLarge):
            await app.enqueue_many([task.call("small"), task.call("x" * 1000)])
        assert len(broker.sent) == 1
        broker.max_message_size = 100
        with pytest.raises(PayloadTooLarge, match="broker"):
            await task.enqueue("small")


async def test_a_call_of_another_app_is_refused_like_the_first(app) -> None:
    task = app.task(name="t")(lambda: None)
    async with app.open():
        call = task.call()
        await app.submit(call)
        call.host = fake_app(FakeClock())
        with pytest.raises(InvalidOption, match="another app's"):
            await app.submit(call)


async def test_who_connects_a_handler_sees_the_next_envelope(app) -> None:
    task = app.task(name="t")(lambda _n: None)
    seen = []
    async with app.open():
        await task.enqueue(0)
        app.signals.before_task_publish.connect(lambda event: seen.append(event.envelope.payload))
        app.signals.after_task_publish.connect(lambda event: seen.append(event.envelope.payload))
        await task.enqueue(1)
        await app.enqueue_many([task.call(2)])
    assert seen == [b"[[1],{}]"] * 2 + [b"[[2],{}]"] * 2


async def test_many_let_others_run_between_the_thousands(app) -> None:
    task = app.task(name="t")(lambda: None)
    turns = []

    async def other() -> None:
        while True:
            turns.append(len(broker.sent))
            await asyncio.sleep(0)

    async with app.open() as session:
        session.broker = broker = Recorder()
        running = asyncio.create_task(other())
        await app.enqueue_many([task.call()] * (3 * CHUNK))
        running.cancel()
    assert turns.count(0) >= 3


async def test_who_leaves_while_two_thousands_are_under_way_takes_both_along(app) -> None:
    task = app.task(name="t")(lambda: None)
    ended = []

    class Slow(Recorder):
        async def publish(self, messages: Any) -> None:
            await super().publish(messages)
            if len(self.sent) == 2 * CHUNK:
                enqueueing.cancel()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(len(messages))

    async with app.open() as session:
        session.broker = Slow()
        enqueueing = asyncio.create_task(app.enqueue_many([task.call()] * (3 * CHUNK)))
        with pytest.raises(asyncio.CancelledError):
            await enqueueing
        assert ended == [CHUNK, CHUNK]


async def test_a_call_by_a_former_name_is_sent_under_it(app) -> None:
    task = app.task(name="t", aliases=["former"])(lambda: None)
    async with app.open() as session:
        session.broker = broker = Recorder()
        for _ in range(2):
            by_alias, by_name = await app.enqueue("former"), await task.enqueue()
            assert (by_alias.task, by_name.task) == ("former", "t")
        await app.enqueue_many([app.call("former"), task.call()])
    assert [unseal(message).header.task for message in broker.sent] == ["former", "t"] * 3


async def test_a_task_may_get_other_defaults_between_two_calls(app) -> None:
    task = app.task(name="t")(lambda: None)
    async with app.open() as session:
        session.broker = broker = Recorder()
        await task.enqueue()
        task.defaults = TaskOptions(queue="mail", priority=9)
        await task.enqueue()
    assert [(message.queue, message.priority) for message in broker.sent] == [("default", 5), ("mail", 9)]


async def test_many_calls_and_handles_do_not_set_off_the_collector(app) -> None:
    async with app.open():
        handles = await app.enqueue_many(calls := [app.task(name="a")(lambda: None).call()])
    assert not any(map(gc.is_tracked, (*calls, *handles)))


async def test_ids_of_many_sort_as_their_calls(app) -> None:
    first, second = app.task(name="a")(lambda: None), app.task(name="b")(lambda: None)
    kinds = [first, first, second, first.options(priority=9), second, first, second.options(delay=1), first]
    async with app.open():
        made = [handle.id for handle in await app.enqueue_many(kind.call() for kind in kinds)]
    assert made == sorted(made)


@pytest.mark.parametrize("watched", [False, True])
async def test_ids_of_many_sort_as_their_calls_beside_others(app, watched) -> None:
    first, second = app.task(name="a")(lambda: None), app.task(name="b")(lambda: None)
    if watched:
        app.signals.before_task_publish.connect(lambda _event: None)

    async def others() -> None:
        while True:
            await asyncio.sleep(0)
            app.clock.advance(1)
            await first.enqueue()

    async with app.open() as session:
        session.broker = Recorder()
        running = asyncio.create_task(others())
        # Each of five has its id when it is taken, or when it is made.
        for kinds in ([first] * 5 * CHUNK, [second, *[first] * (2 * CHUNK - 2), second.options(delay=1)] * 2):
            made = [handle.id for handle in await app.enqueue_many(kind.call() for kind in kinds)]
            assert made == sorted(made)
        running.cancel()


async def test_a_delay_counts_from_the_call_of_enqueue_many(app) -> None:
    task = app.task(name="t")(lambda: None)

    def slowly() -> Iterator[TaskCall[Any]]:
        for _ in range(2):
            yield task.options(delay=30).call()
            app.clock.advance(10)

    async with app.open() as session:
        session.broker = broker = Recorder()
        await app.enqueue_many(slowly())
    assert [message.delay for message in broker.sent] == [10.0, 10.0]


async def test_who_connects_a_handler_while_calls_are_taken_sees_them_all(app) -> None:
    task = app.task(name="t")(lambda _n: None)
    seen = []

    def connecting() -> Iterator[TaskCall[Any]]:
        yield task.call(0)
        app.signals.before_task_publish.connect(lambda event: seen.append(event.envelope.payload))
        yield task.call(1)

    async with app.open():
        await app.enqueue_many(connecting())
    assert seen == [b"[[0],{}]", b"[[1],{}]"]


@pytest.mark.parametrize("count", [1, 3 * CHUNK])
async def test_who_connects_a_handler_during_publishing_is_told_what_was_stored(app, count) -> None:
    task = app.task(name="t")(lambda: None)
    seen = []

    class Connecting(Recorder):
        async def publish(self, messages: Any) -> None:
            await super().publish(messages)
            if len(self.sent) == count:
                app.signals.after_task_publish.connect(lambda event: seen.append(event.envelope))

    async with app.open() as session:
        session.broker = broker = Connecting()
        if count == 1:
            await task.enqueue()
        else:
            await app.enqueue_many([task.call()] * count)
    assert seen[-1] == unseal(broker.sent[-1])


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.filterwarnings("error::RuntimeWarning")
async def test_what_is_no_call_is_told(app, watched) -> None:
    @app.task(name="t")
    async def task() -> None:
        pass

    if watched:
        app.signals.before_task_publish.connect(lambda _event: None)
    async with app.open() as session:
        session.broker = broker = Recorder()
        for wrong in (task, lambda: None, lambda: task, lambda: "t"):
            with pytest.raises(InvalidOption, match=r"(?s)cannot be used.*task\.call\(\.\.\.\)"):
                await app.enqueue_many([task.call(), wrong()])
    assert broker.sent == []
