import asyncio

import pytest

from stem_core import Stem
from stem_core.builtin.memory_broker import open_broker
from stem_core.contracts import (
    Broadcasts,
    Broker,
    Inspectable,
    KeepsDeadLetters,
    SettlesWithResults,
    StoreContext,
)
from stem_core.errors import InvalidOption, StoreRefused, StoreUnavailable
from stem_core.model import ACK, Settlement, StoreUrl
from stem_core.testing import FakeClock, Faults, FlakyBroker, Harness, SignalRecorder
from stem_core.testing.contracts.base import claim, claim_one, ids, message, messages, settle

FACETS = (Broadcasts, Inspectable, KeepsDeadLetters, SettlesWithResults)


@pytest.fixture
async def inner(tmp_path):
    url = StoreUrl.parse(f"memory://{tmp_path.name}")
    async with open_broker(StoreContext(url=url, namespace="test", clock=FakeClock())) as broker:
        yield broker


class Bare(Broker):
    """No facets, and nothing in it."""

    publish = receive = wait_for_work = settle = extend = depth = purge = queues = None


def test_it_has_the_facets_of_the_one_inside(inner):
    flaky = FlakyBroker(inner)
    assert isinstance(flaky, FlakyBroker)
    assert all(isinstance(flaky, facet) for facet in FACETS)
    assert not any(isinstance(FlakyBroker(Bare()), facet) for facet in FACETS)


async def test_an_outage_lasts_until_it_is_over(inner):
    flaky = FlakyBroker(inner)
    flaky.faults.down.add("publish")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="publish: the store is down"):
            await flaky.publish([message("a")])
    assert await inner.queues() == []
    flaky.faults.down.clear()
    await flaky.publish([message("a")])
    assert flaky.faults.calls["publish"] == 3
    assert ids(await claim(flaky)) == ["a"]


async def test_a_dropped_reply_comes_after_the_work_is_done(inner):
    flaky = FlakyBroker(inner)
    await flaky.publish([message("a")])
    delivery = await claim_one(flaky)
    flaky.faults.script("settle", "lost reply")
    with pytest.raises(StoreUnavailable, match="settle: the reply was lost"):
        await settle(flaky, delivery, ACK)
    assert await inner.queues() == []
    assert await settle(flaky, delivery, ACK) == "done"


async def test_a_duplicate_delivery_is_granted_to_another(inner):
    faults = Faults()
    faults.duplicates = 1
    flaky = FlakyBroker(inner, faults)
    await flaky.publish(messages(2))
    first, clean = await claim(flaky)
    second = await claim_one(flaky)
    assert second.message == first.message
    assert (second.crashes, second.receipt.run) == (1, 2)
    assert [await settle(flaky, d, ACK) for d in (first, second, clean)] == ["lost", "done", "done"]


async def test_a_script_is_played_step_by_step(inner):
    flaky = FlakyBroker(inner)
    flaky.faults.script("publish", "ok", "down", StoreRefused("too much"), 0.01, "lost reply")
    await flaky.publish([message("a")])
    for error in (StoreUnavailable, StoreRefused):
        with pytest.raises(error):
            await flaky.publish([message("b")])
    await flaky.publish([message("b")])
    with pytest.raises(StoreUnavailable):
        await flaky.publish([message("c")])
    await flaky.publish([message("d")])
    assert ids(await claim(flaky)) == ["a", "b", "c", "d"]
    flaky.faults.script("receive", "duplicate")
    await flaky.publish([message("e"), message("f")])
    assert len(await claim(flaky)) == 2
    assert (await inner.depth(["default"]))["default"].ready == 2


async def test_a_delay_holds_up_one_verb(inner):
    flaky = FlakyBroker(inner)
    flaky.faults.delays["publish"] = 0.05
    now = asyncio.get_running_loop().time
    started = now()
    await flaky.publish([message("a")])
    assert now() - started >= 0.045
    flaky.faults.held["receive"] = gate = asyncio.Event()
    claiming = asyncio.create_task(claim(flaky))
    await asyncio.sleep(0.01)
    assert flaky.faults.waiting["receive"] == 1
    gate.set()
    assert ids(await claiming) == ["a"]


async def test_every_verb_of_every_facet_gets_through(inner):
    flaky = FlakyBroker(inner)
    await flaky.publish([message("a"), message("b")])
    stream = flaky.listen(["news"])
    await flaky.send("news", b"x", 60.0)
    assert await anext(stream) == ("news", b"x")
    await stream.aclose()
    assert len(await flaky.peek("default")) == 2
    assert await flaky.remove(["b"]) == ["b"]
    assert await flaky.move("default", "other") == 1
    assert list(await flaky.find(["a"])) == ["a"]
    assert await flaky.dead_letters("other") == []
    assert await flaky.dead_letter("a") is None
    assert await flaky.replay(["a"]) == []
    assert await flaky.purge_dead("other") == 0
    delivery = await claim_one(flaky, queue="other")
    verdicts = await flaky.settle_with_results([Settlement(receipt=delivery.receipt, action=ACK)], [None])
    assert [verdict.kind for verdict in verdicts] == ["done"]
    assert flaky.faults.batches == [1]
    assert await flaky.purge("other") == 0


async def test_a_worker_gets_over_a_dropped_reply():
    from stem_core.testing.flaky_stores import faults_of

    app = Stem("shop", plugins=["stem_core.testing.flaky_stores"])
    ran = []
    job = app.task(name="job")(lambda: ran.append(1))
    flaky = dict.fromkeys(("broker_url", "result_backend_url", "state_url"), "flaky://shop")
    async with Harness(app, settings=flaky) as harness:
        faults_of("shop").script("settle", "lost reply")
        handle = await job.enqueue()
        await harness.run_until_idle()
        assert await handle.result(timeout=1) is None
    assert ran == [1]
    assert faults_of("shop").calls["settle"] == 2


async def test_a_recorder_keeps_what_it_was_asked_for():
    app = Stem("shop", plugins=["builtin"])
    job = app.task(name="job")(lambda: 1 / 0)
    with SignalRecorder(app.signals, "task-failed", "task_postrun") as chosen:
        async with Harness(app) as harness:
            await job.options(max_retries=0).enqueue()
            await harness.run_until_idle()
            assert chosen.names == ["task-failed", "task-postrun"]
            assert harness.signals.names == [
                "before-task-publish",
                "after-task-publish",
                "worker-init",
                "worker-ready",
                "task-received",
                "task-prerun",
                "task-failed",
                "task-dead-lettered",
                "task-postrun",
                "worker-stopping",
                "worker-shutdown",
            ]
            (event,) = chosen.of("task-failed")
            assert chosen.of(type(event)) == [event]
            chosen.clear()
            assert chosen.events == []
    assert not any(app.signals)
    with pytest.raises(InvalidOption, match="task-exploded"):
        SignalRecorder(app.signals, "task-exploded")
