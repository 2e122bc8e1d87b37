"""How a worker says it is."""

import asyncio

import pytest

from stem_core.wire import decode_heartbeat, encode_heartbeat
from stem_core.worker import Worker
from stem_core.worker.watchdog import health_of
from support.bench import flaky_app
from support.until import until


@pytest.mark.parametrize(
    ("given", "health"),
    [
        ({}, "idle"),
        ({"running": 1, "free": 1}, "busy"),
        ({"running": 2, "free": 0}, "busy"),
        ({"running": 2, "free": 0, "waiting": 1}, "saturated"),
        ({"running": 2, "free": -1, "waiting": 1}, "saturated"),
        ({"running": 1, "free": 1, "waiting": 1}, "busy"),
        ({"running": 2, "free": 0, "waiting": 1, "failing": True}, "degraded"),
        ({"running": 2, "free": 0, "waiting": 1, "failing": True, "wedged": True}, "wedged"),
    ],
)
def test_the_worst_goes_first(given, health):
    assert health_of(**{"wedged": False, "failing": False, "free": 2, "running": 0, "waiting": 0, **given}) == health


async def test_a_worker_through_its_states():
    app = flaky_app()
    gate = asyncio.Event()

    @app.task
    async def t():
        await gate.wait()

    options = {"concurrency": 1, "prefetch": 1}
    async with Worker(app, **options) as worker:

        def health():
            return worker.heartbeat().health

        assert health() == "idle"
        await t.enqueue()
        await until(lambda: health() == "busy")
        await t.enqueue()
        await until(lambda: health() == "saturated")
        gate.set()
        await until(lambda: health() == "idle")


async def test_the_record_tells_of_lanes_and_ranges_and_comes_back_as_it_was():
    app = flaky_app()
    options = {"reserve": {"mail": 1}, "limit": {"mail": 2, "other": 3}, "autoscale": (4, 8)}
    async with Worker(app, queues=["mail", "other", "third"], **options) as worker:
        beat = worker.heartbeat()
        assert [(lane.queue, lane.running, lane.reserve, lane.limit) for lane in beat.lanes] == [
            ("mail", 0, 1, 2), ("other", 0, 0, 3),
        ]  # fmt: skip
        assert beat.attributes["lanes"][0] == {"queue": "mail", "running": 0, "reserve": 1, "limit": 2}
        assert (beat.autoscale, beat.concurrency, beat.prefetch) == ((4, 8), 4, 4)
        assert decode_heartbeat(encode_heartbeat(beat)) == beat
