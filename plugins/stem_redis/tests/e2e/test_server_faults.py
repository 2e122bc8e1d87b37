"""A server that is killed, emptied, stopped, full, or forgets: workers go on by themselves, and nothing is lost."""

import asyncio
import itertools
import signal
from collections import Counter

import pytest

from stem_core.errors import StoreUnavailable
from stem_core.model import TaskState
from support.load import Load
from support.redis_server import Relay
from support.until import until

RESUMES_WITHIN = 5.0


def start_workers(site, count=3, **settings):
    started = [site.worker("-c", "5", "--prefetch", "5", ready=False, **settings) for _ in range(count)]
    return [worker.ready() for worker in started]


async def drained_and_stopped(site, workers):
    """That the queue is empty, and that the workers are those that were started, and well."""
    depth = await site.depth()
    assert (depth.ready, depth.delayed, depth.leased, depth.dead) == (0, 0, 0, 0)
    for worker in workers:
        assert worker.alive, worker.text()
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0, worker.text()
        assert "Traceback" not in worker.text()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_ten_crashes_of_the_server_lose_nothing_and_repeat_nothing(redis, own_site):
    workers = start_workers(own_site, lease="10s")
    back = []
    async with Load(own_site) as load:
        for outage in itertools.islice(itertools.cycle([0.0, 0.2, 1.0, 0.4]), 10):
            await load.more(40)
            redis.kill()
            await load.refused()
            await asyncio.sleep(outage)
            redis.start()
            back.append(await load.resumed(workers, since=own_site.now()))
    states = await load.ended()
    print(
        f"\n10 crashes of the server: {states.total()} accepted jobs, {dict(states)}; runs {dict(load.runs())}; all "
        f"three workers at it again after {sorted(round(seconds, 2) for seconds in back)} s; "
        f"producer: {dict(load.errors)}, longest call {load.longest:.2f} s"
    )
    assert states == {TaskState.SUCCEEDED: len(load.accepted)}
    assert load.runs() == {1: len(load.accepted)}
    assert set(load.errors) == {"StoreUnavailable"}
    assert max(back) < RESUMES_WITHIN
    await drained_and_stopped(own_site, workers)


async def test_workers_go_on_with_new_work_after_the_server_was_emptied(redis, own_site):
    workers = start_workers(own_site)
    back = []
    async with Load(own_site) as load:
        for _ in range(3):
            await load.more(60)
            redis.command("FLUSHALL")
            emptied = own_site.now()
            back.append(await load.resumed(workers, since=emptied))
        await load.more(60)
    since = [id for id, began in load.accepted.items() if began > emptied]
    states = await load.ended(since)
    print(f"\nFLUSHALL under load: all at new work after {[round(seconds, 2) for seconds in back]} s")
    assert states == {TaskState.SUCCEEDED: len(since)}
    assert max(back) < RESUMES_WITHIN
    assert not load.errors
    await drained_and_stopped(own_site, workers)


async def test_forgotten_scripts_and_cut_connections_repeat_nothing(redis, own_site):
    workers = start_workers(own_site)
    back = []
    async with Load(own_site) as load:
        for command in itertools.islice(
            itertools.cycle(
                [("SCRIPT", "FLUSH"), ("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "KILL", "TYPE", "pubsub")]
            ),
            12,
        ):
            await load.more(20)
            redis.command(*command)
            back.append(await load.resumed(workers, since=own_site.now()))
    states = await load.ended()
    print(
        f"\nSCRIPT FLUSH and CLIENT KILL, 12 times: {states.total()} jobs, runs {dict(load.runs())}; all at work again "
        f"after {max(back):.2f} s at most; producer: {dict(load.errors)}"
    )
    assert states == {TaskState.SUCCEEDED: len(load.accepted)}
    assert load.runs() == {1: len(load.accepted)}
    assert set(load.errors) <= {"StoreUnavailable"}
    assert max(back) < RESUMES_WITHIN
    await drained_and_stopped(own_site, workers)


async def test_answers_that_never_arrive_repeat_nothing(redis, own_site):
    # What was asked for was done, and nobody learns of it: claims, settlements, extensions and publishing alike.
    direct = own_site.url
    async with Relay(redis.path) as relay:
        own_site.url = own_site.environment["STEM_BROKER_URL"] = relay.url
        # In a thread: the relay has to turn meanwhile.
        workers = await asyncio.to_thread(start_workers, own_site)
        dropped = 0
        async with Load(own_site) as load:
            while dropped < 150:
                relay.drop_answers = True
                await until(lambda: not relay.drop_answers)
                dropped += 1
                # A moment without a fault in which something can go on.
                await asyncio.sleep(0.01 * (dropped % 5))
        states = await load.ended()
        print(
            f"\n{dropped} answers dropped: {states.total()} jobs, runs {dict(load.runs())}; "
            f"producer: {dict(load.errors)}"
        )
        assert states == {TaskState.SUCCEEDED: len(load.accepted)}
        assert load.runs() == {1: len(load.accepted)}
        assert set(load.errors) == {"StoreUnavailable"}
        own_site.url = direct
        await asyncio.to_thread(asyncio.run, drained_and_stopped(own_site, workers))


async def test_a_full_server_refuses_publishers_and_lets_workers_drain_it(redis, own_site):
    app = own_site.producer()
    accepted = []
    redis.command("CONFIG", "SET", "maxmemory", redis.info("memory", "used_memory") + 4 * 2**20)
    async with app.open():
        with pytest.raises(StoreUnavailable, match=r"memory is full \(maxmemory\)"):
            while True:
                calls = [app.call("work", (0,), headers={"filling": "x" * 2_000}) for _ in range(20)]
                accepted += [handle.id for handle in await app.enqueue_many(calls)]
        workers = start_workers(own_site, 2)
        own_site.ledger.wait(lambda events: {e["id"] for e in events if e["event"] == "end"} >= set(accepted))
        (id,) = [handle.id for handle in await app.enqueue_many([app.call("work", (0,))])]
        own_site.ledger.wait(lambda events: any(e["id"] == id and e["event"] == "end" for e in events))
    print(f"\nmaxmemory reached after {len(accepted)} jobs: all drained, and there is room again")
    starts = Counter(event["id"] for event in own_site.ledger.events("start"))
    assert {starts[id] for id in accepted} == {1}
    load = Load(own_site)
    assert await load.ended(accepted) == {TaskState.SUCCEEDED: len(accepted)}
    await drained_and_stopped(own_site, workers)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_server_that_stops_answering_hangs_nobody_and_repeats_nothing(redis, own_site):
    workers = start_workers(own_site)
    async with Load(own_site) as load:
        await load.more(60)
        redis.signal(signal.SIGSTOP)
        await asyncio.sleep(8.0)
        redis.signal(signal.SIGCONT)
        back = await load.resumed(workers, since=own_site.now())
    states = await load.ended()
    print(
        f"\nserver stopped for 8 s: {states.total()} jobs, runs {dict(load.runs())}; at work again {back:.2f} s after "
        f"it went on; producer: {dict(load.errors)}, longest call {load.longest:.2f} s"
    )
    assert states == {TaskState.SUCCEEDED: len(load.accepted)}
    assert load.runs() == {1: len(load.accepted)}
    assert set(load.errors) == {"StoreUnavailable"}
    # Five for an answer, and what it takes to find that out.
    assert load.longest < 6.5
    assert back < RESUMES_WITHIN
    await drained_and_stopped(own_site, workers)


@pytest.mark.slow
async def test_an_outage_beyond_the_lease_ends_what_runs_before_others_may_have_it(redis, own_site):
    lease, outage = 2.0, 4.0
    workers = start_workers(own_site, lease=f"{lease}s")
    # As many as one worker can run at once: none of them waits for another to end.
    ids = await own_site.enqueue("work", 5.0, count=5)
    own_site.ledger.wait_for("start", 5)
    redis.signal(signal.SIGSTOP)
    await asyncio.sleep(outage)
    redis.signal(signal.SIGCONT)
    load = Load(own_site)
    load.accepted = dict.fromkeys(ids, 0.0)
    assert await load.ended(timeout=40) == {TaskState.SUCCEEDED: 5}
    ends = own_site.ledger.events("end")
    print(f"\noutage of {outage:g} s, lease of {lease:g} s: runs {dict(load.runs())}, {len(ends)} of them to the end")
    # The first run of each was cancelled where it stood; the second came to its end.
    assert load.runs() == {2: 5}
    assert Counter(event["id"] for event in ends) == Counter(ids)
    assert {event["run"] for event in ends} == {2}
    await drained_and_stopped(own_site, workers)
