import logging

import pytest

from stem_core.control import DeadLetters, Inspector, Selection
from stem_core.control import dead_letters as module
from stem_core.control.inspector import PAGE
from stem_core.errors import NotFound
from stem_core.model import (
    HEARTBEATS,
    DeadLetter,
    Heartbeat,
    Message,
    Retry,
    Settlement,
    StoredMessage,
    Subscription,
    TaskState,
    TaskStatus,
)
from stem_core.model.status import ErrorInfo
from stem_core.testing.clock import FakeClock
from stem_core.wire import encode_heartbeat
from support.deliveries import sealed
from support.opened import fake_app


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def session(clock):
    async with fake_app(clock).open() as session:
        yield session


def heartbeat(worker, *queues, **given):
    facts = {
        "worker": worker, "host": "h", "pid": 1, "incarnation": "i", "phase": "running", "health": "idle",
        "queues": queues, "concurrency": 1, "running": 0, "prefetched": 0, "started_at": 0.0, "at": 0.0,
        "interval": 5.0, **given,
    }  # fmt: skip
    return Heartbeat(**facts)


async def beat(session, *args, **given):
    record = heartbeat(*args, **given)
    await session.state.put(HEARTBEATS, record.worker, encode_heartbeat(record), ttl=15.0)


def message(id, queue="default", **given):
    return Message(id=id, queue=queue, priority=5, header=b"no header", payload=b"[[],{}]", **given)


async def bury(session, *messages, queue="default", reason="failed"):
    await session.broker.publish(messages)
    got = []
    while len(got) < len(messages):
        got += await session.broker.receive(Subscription.of(queue), 1_000, 30.0)
    await session.broker.settle([Settlement(receipt=d.receipt, action=DeadLetter(reason=reason)) for d in got])


async def found(session, **selection):
    return [letter.id async for letter in DeadLetters(session).find(Selection(**selection))]


async def test_queues_of_tasks_of_readers_and_of_messages(session, clock):
    await session.broker.publish([message("a", "held"), message("b", "held", delay=60.0)])
    await beat(session, "w2", "read", "held")
    await beat(session, "w1", "held")
    clock.advance(3.0)
    views = await Inspector(session, {"asked": ["t2", "t1"]}).queues()
    assert [view.queue for view in views] == ["asked", "held", "read"]
    asked, held, read = views
    assert (asked.tasks, asked.workers, asked.ready, asked.oldest_age) == (("t1", "t2"), (), 0, None)
    assert (held.ready, held.scheduled, held.oldest_age, held.workers) == (1, 1, 3.0, ("w1", "w2"))
    assert read.workers == ("w2",)


async def test_many_queues_are_counted_in_several_calls(session, monkeypatch):
    asked = []
    depth = session.broker.depth

    async def spy(names):
        asked.append(len(names))
        return await depth(names)

    monkeypatch.setattr(session.broker, "depth", spy)
    tasks = {f"q{n:03}": ["t"] for n in range(2 * PAGE + 1)}
    assert len(await Inspector(session, tasks).queues()) == 2 * PAGE + 1
    assert asked == [PAGE, PAGE, 1]


@pytest.mark.parametrize(
    ("given", "reads"),
    [
        ({"phase": "running"}, True),
        ({"phase": "starting"}, True),
        ({"health": "degraded"}, True),
        ({"health": "wedged"}, False),
        ({"phase": "quiet"}, False),
        ({"phase": "warm"}, False),
        ({"phase": "stopped"}, False),
        ({"paused": ("other",)}, True),
        ({"paused": ("mail",)}, False),
    ],
)
async def test_only_a_worker_that_takes_work_is_a_reader(session, given, reads):
    await beat(session, "w", "mail", **given)
    assert bool(await Inspector(session).queues()) is reads


async def test_a_worker_whose_record_has_expired_is_no_reader(session, clock):
    await beat(session, "w", "mail")
    clock.advance(16.0)
    assert await Inspector(session).queues() == []


async def test_a_heartbeat_that_cannot_be_read_hides_nobody(session, caplog):
    await session.state.put(HEARTBEATS, "odd", b"{}")
    await beat(session, "w", "mail")
    with caplog.at_level(logging.WARNING, "stem_core.control"):
        assert [worker.worker for worker in await Inspector(session).workers()] == ["w"]
    assert "the heartbeat of odd is passed over" in caplog.text


async def test_one_queue_or_none(session):
    await session.broker.publish([message("a", "mail")])
    inspector = Inspector(session, {"default": ["t"]})
    assert (await inspector.queue("mail")).ready == 1
    assert (await inspector.queue("default")).tasks == ("t",)
    with pytest.raises(NotFound, match="no queue 'mial' is known") as caught:
        await inspector.queue("mial")
    assert caught.value.hint.startswith("did you mean mail?")


async def test_messages_in_each_state(session, clock):
    await session.broker.publish([sealed("a", expires_at=clock.now() + 9), sealed("b"), message("c", delay=60.0)])
    await session.broker.receive(Subscription.of("default"), 1, 30.0)
    inspector = Inspector(session)
    (leased,) = await inspector.messages("default", "leased")
    assert (leased.id, leased.state, leased.attempt, leased.run, leased.at) == ("a", "leased", 1, 1, clock.now() + 30)
    assert (leased.header.task, leased.header.expires_at, leased.problem) == ("t", clock.now() + 9, "")
    (ready,) = await inspector.messages("default")
    assert (ready.id, ready.size) == ("b", len(sealed("b").header) + len(sealed("b").payload))
    (delayed,) = await inspector.messages("default", "delayed")
    assert (delayed.header, delayed.at) == (None, clock.now() + 60)
    assert delayed.problem.startswith("the header is unreadable")


async def test_messages_are_read_page_by_page(session, monkeypatch):
    await session.broker.publish([message(f"m{n:03}") for n in range(250)])
    asked = []
    peek = session.broker.peek

    async def spy(queue, state, *, limit, after):
        asked.append((limit, after))
        return await peek(queue, state, limit=limit, after=after)

    monkeypatch.setattr(session.broker, "peek", spy)
    views = await Inspector(session).messages("default", limit=220)
    assert [view.id for view in views] == [f"m{n:03}" for n in range(220)]
    assert asked == [(100, None), (100, "m099"), (20, "m199")]


async def test_the_time_is_the_brokers(session, clock, monkeypatch):
    assert await Inspector(session).now() == clock.now()

    async def other():
        return 42.0

    monkeypatch.setattr(session.broker, "now", other)
    assert await Inspector(session).now() == 42.0
    monkeypatch.setattr(session, "broker", object())
    assert await Inspector(session).now() == clock.now()


async def test_dead_letters_by_queue_age_and_task(session, clock):
    await bury(session, sealed("old", task="mail.send"))
    clock.advance(100.0)
    await bury(session, sealed("new", task="mail.send"), sealed("other", task="shop.pay"), message("odd"))
    await bury(session, message("elsewhere", "slow"), queue="slow")
    assert await found(session) == ["old", "new", "other", "odd", "elsewhere"]
    assert await found(session, within=50.0) == ["new", "other", "odd", "elsewhere"]
    assert await found(session, task="mail.*") == ["old", "new"]
    assert await found(session, task="mail.*", within=100.0) == ["old", "new"]
    assert await found(session, task="mail.*", within=99.5) == ["new"]
    assert await found(session, queues=("slow",)) == ["elsewhere"]
    assert await found(session, ids=("new", "never", "new", "elsewhere")) == ["new", "elsewhere"]
    with pytest.raises(NotFound):
        await found(session, queues=("never",))


async def test_dead_letters_that_died_at_once_are_all_found(session):
    await bury(session, *(message(f"m{n:03}") for n in range(250)))
    assert sorted(await found(session)) == [f"m{n:03}" for n in range(250)]


async def test_a_letter_taken_away_between_two_pages_hides_no_other(session):
    await bury(session, *(message(f"m{n:03}") for n in range(250)))
    seen = []
    async for letter in DeadLetters(session).find(Selection()):
        seen.append(letter.id)
        if len(seen) == 100:
            # Somebody else puts back the one that marks the place.
            await session.broker.replay([letter.id])
    assert sorted(seen) == [f"m{n:03}" for n in range(250)]


async def test_what_a_selection_holds(session, clock):
    await bury(session, sealed("a", task="t1", expires_at=clock.now() + 5), sealed("b", task="t1"), message("c"))
    await bury(session, message("d", "slow"), queue="slow", reason="max-crashes")
    clock.advance(6.0)
    letters = DeadLetters(session)
    everything = await letters.select(Selection())
    assert everything.ids == {"default": ["a", "b", "c"], "slow": ["d"]}
    assert everything.groups == {
        ("default", "t1", "failed"): 2, ("default", "", "failed"): 1, ("slow", "", "max-crashes"): 1,
    }  # fmt: skip
    assert (everything.total, everything.expired, everything.missing) == (4, 1, [])
    some = await letters.select(Selection(ids=("a", "nobody", "nobody")))
    assert (some.ids, some.missing) == ({"default": ["a"]}, ["nobody"])


async def test_replay_in_steps(session, monkeypatch):
    monkeypatch.setattr(module, "STEP", 2)
    await bury(session, *(message(f"m{n}") for n in range(5)))
    letters = DeadLetters(session)
    selected = await letters.select(Selection())
    # One is put back by somebody else meanwhile.
    await session.broker.replay(["m3"])
    assert [step async for step in letters.replay(selected)] == [(2, 2), (2, 1), (1, 1)]
    depth = (await session.broker.depth(["default"]))["default"]
    assert (depth.ready, depth.dead) == (5, 0)
    assert [step async for step in letters.replay(selected)] == [(2, 0), (2, 0), (1, 0)]


async def test_the_outcome_of_the_old_run_is_no_answer_after_a_replay(session):
    await bury(session, sealed("old", task="t"), sealed("done", task="t"))
    failed, done = (
        TaskStatus(id=id, task="t", queue="default", state=state, run=1)
        for id, state in (("old", TaskState.FAILED), ("done", TaskState.SUCCEEDED))
    )
    await session.backend.record([failed, done])
    letters = DeadLetters(session)
    selected = await letters.select(Selection())
    # One is put back by somebody else, and has a new outcome by now.
    await session.broker.replay(["done"])
    assert [step async for step in letters.replay(selected)] == [(2, 1)]
    assert await session.backend.get(["old", "done"]) == {"done": done}
    assert (await session.app.handle("old").status()).state is TaskState.QUEUED


async def test_who_stops_between_two_steps_leaves_the_rest_and_may_begin_anew(session, monkeypatch):
    monkeypatch.setattr(module, "STEP", 2)
    await bury(session, *(message(f"m{n}") for n in range(5)))
    letters = DeadLetters(session)
    async for _ in letters.replay(await letters.select(Selection())):
        break
    assert (await session.broker.depth(["default"]))["default"].dead == 3
    rest = await letters.select(Selection())
    assert rest.ids == {"default": ["m2", "m3", "m4"]}
    assert [step async for step in letters.replay(rest)] == [(2, 2), (1, 1)]


async def test_moved_letters_are_removed_from_where_they_lie(session):
    await session.broker.publish([message("a")])
    await session.broker.move("default", "other")
    (delivery,) = await session.broker.receive(Subscription.of("other"), 1, 30.0)
    await session.broker.settle([Settlement(receipt=delivery.receipt, action=DeadLetter(reason="failed"))])
    letters = DeadLetters(session)
    assert (await letters.get("a")).queue == "other"
    selected = await letters.select(Selection(ids=("a",)))
    assert [step async for step in letters.purge(selected)] == [(1, 1)]
    assert await found(session) == []


async def test_one_letter_with_what_its_task_raised(session, clock):
    await session.broker.publish([sealed("a")])
    for action in (Retry(delay=0.0), DeadLetter(reason="failed", detail="ValueError: no")):
        (delivery,) = await session.broker.receive(Subscription.of("default"), 1, 30.0)
        await session.broker.settle([Settlement(receipt=delivery.receipt, action=action)])
    error = ErrorInfo(type="ValueError", message="no", traceback="Traceback ...")
    letters = DeadLetters(session)
    assert (await letters.get("a")).error is None
    for run, shown in ((2, error), (3, None)):
        status = TaskStatus(
            id="a", task="t", queue="default", state=TaskState.FAILED, run=run, attempt=2, error=error, ttl=60.0
        )
        await session.backend.record([status])
        view = await letters.get("a")
        assert (view.task, view.attempt, view.run, view.detail) == ("t", 2, 2, "ValueError: no")
        assert view.error == shown
    with pytest.raises(NotFound, match="there is no dead letter b"):
        await letters.get("b")


async def test_a_broker_that_does_not_say_where_a_letter_lies(session, monkeypatch):
    await bury(session, message("a"))
    letter = await session.broker.dead_letter("a")

    async def bare(id):
        letter.queue = None
        return letter

    monkeypatch.setattr(session.broker, "dead_letter", bare)
    assert (await DeadLetters(session).get("a")).queue == "default"


async def test_views_are_of_stored_messages(session):
    stored = StoredMessage(message=sealed("a"), state="ready", attempt=1, crashes=2, run=3, at=4.0)
    from stem_core.control.views import message_view

    view = message_view(stored, "moved-to")
    assert (view.queue, view.crashes, view.run, view.at, view.payload) == ("moved-to", 2, 3, 4.0, b"[[],{}]")
