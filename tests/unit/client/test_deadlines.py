import asyncio

import pytest

from stem_core.client.deadlines import CallDeadlines
from stem_core.errors import StoreUnavailable


@pytest.fixture
def deadlines():
    return CallDeadlines()


async def for_ever():
    await asyncio.Event().wait()


async def give(value):
    await asyncio.sleep(0)
    return value


async def test_what_is_done_in_time_is_returned(deadlines):
    assert await deadlines.within(60, give("result"), "store: call") == "result"


async def test_what_it_raises_is_raised(deadlines):
    async def fail():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await deadlines.within(60, fail(), "store: call")


async def test_what_is_not_done_in_time_is_cancelled_and_has_ended(deadlines):
    ended = []

    async def work():
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    with pytest.raises(StoreUnavailable, match=r"no answer within .* s \(store: call\)"):
        await deadlines.within(0.001, work(), "store: call")
    assert ended == [True]
    assert asyncio.current_task().cancelling() == 0


async def test_a_shorter_limit_that_comes_later_ends_first(deadlines):
    long = asyncio.ensure_future(deadlines.within(60, for_ever(), "store: call"))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match=r"no answer within .* s \(store: call\)"):
        await deadlines.within(0.001, for_ever(), "store: call")
    assert not long.done()
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long


async def test_after_one_has_expired_the_next_still_does(deadlines):
    calls = [
        asyncio.ensure_future(deadlines.within(seconds, for_ever(), "store: call")) for seconds in (0.001, 0.002, 0.001)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3


async def test_a_cancellation_by_others_stays_one(deadlines):
    call = asyncio.ensure_future(deadlines.within(60, for_ever(), "store: call"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_of_two_cancellations_at_once_that_by_others_is_heard(deadlines):
    async def cancelled_while_it_ends():
        try:
            await for_ever()
        finally:
            call.cancel()
            await asyncio.sleep(0)

    call = asyncio.ensure_future(deadlines.within(0.001, cancelled_while_it_ends(), "store: call"))
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_result_in_spite_of_the_cancellation_counts(deadlines):
    async def stubborn():
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "all the same"

    assert await deadlines.within(0.001, stubborn(), "store: call") == "all the same"
    assert asyncio.current_task().cancelling() == 0


async def test_nested_limits_are_told_apart(deadlines):
    async def inner():
        with pytest.raises(StoreUnavailable, match=r"no answer within .* s \(store: call\)"):
            await deadlines.within(0.001, for_ever(), "store: call")
        return "went on"

    assert await deadlines.within(60, inner(), "store: call") == "went on"


async def test_nothing_is_kept_of_what_has_ended(deadlines):
    for _ in range(3):
        await deadlines.within(60, give(None), "store: call")
    assert deadlines._calls == set()
    assert deadlines._timer is not None, "one timer serves them all"


async def test_a_time_limit_of_the_store_itself_is_told_of_in_the_same_way(deadlines):
    async def gives_up():
        raise TimeoutError

    with pytest.raises(StoreUnavailable, match=r"no answer within 60 s \(store: call\)"):
        await deadlines.within(60, gives_up(), "store: call")
