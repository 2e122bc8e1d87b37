"""Result backends: what is kept of a task, and who may replace it."""

from __future__ import annotations

import asyncio

import pytest

from stem_core.contracts import ResultBackend
from stem_core.model import ErrorInfo, Progress, TaskState, TaskStatus
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import PATIENCE, OpenBackend, StoreContract, status
from stem_core.testing.contracts.case import OnLoop

RUNNING, RETRYING = TaskState.RUNNING, TaskState.RETRYING
SUCCEEDED, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED


class ResultBackendContract(StoreContract):
    """:class:`~stem_core.contracts.ResultBackend`."""

    @pytest.fixture
    def backend(self, open_backend: OpenBackend) -> OnLoop[ResultBackend]:
        """The backend under test."""
        return OnLoop(open_backend)

    @pytest.fixture
    def second(self, open_backend: OpenBackend) -> OnLoop[ResultBackend]:
        """Another session on the same backend."""
        return OnLoop(open_backend)

    async def test_a_status_comes_back_whole(self, backend: ResultBackend, second: ResultBackend) -> None:
        full = TaskStatus(
            id="0190b3c4-aaaa-7bbb-8ccc-0123456789ab",
            task="shop.tasks.send",
            queue="mail",
            state=FAILED,
            run=3,
            attempt=2,
            result=b'{"\xc3\xa9": 12345678901234567890}',
            error=ErrorInfo(type="builtins.ValueError", message="é\n\x00", traceback="Traceback ..."),
            reason="failed",
            progress=Progress(percent=62.5, data=b'{"stage":"x"}'),
            worker="host-1@a",
            enqueued_at=1.5,
            started_at=2.5,
            alive_at=3.25,
            finished_at=3.5,
            retry_at=4.5,
            ttl=3600.0,
        )
        await backend.record([full])
        assert await second.get([full.id]) == {full.id: full}

    async def test_a_bare_status_comes_back_bare(self, backend: ResultBackend) -> None:
        bare = TaskStatus(id="a", task="t", queue="q", state=RUNNING)
        await backend.record([bare])
        assert await backend.get(["a"]) == {"a": bare}

    async def test_unknown_ids_are_left_out(self, backend: ResultBackend) -> None:
        await backend.record([status("a")])
        assert list(await backend.get(["never", "a"])) == ["a"]
        assert await backend.get([]) == {}

    async def test_recording_nothing(self, backend: ResultBackend) -> None:
        await backend.record([])
        assert await backend.list() == []

    async def test_many_at_once(self, backend: ResultBackend) -> None:
        batch = [status(f"m{n:04}") for n in range(300)]
        await backend.record(batch)
        assert await backend.get([one.id for one in batch]) == {one.id: one for one in batch}

    @pytest.mark.parametrize(
        ("old", "new", "replaced"),
        [
            pytest.param((1, RUNNING), (1, RUNNING), True, id="progress-goes-on"),
            pytest.param((1, RUNNING), (1, SUCCEEDED), True, id="running-succeeds"),
            pytest.param((1, RUNNING), (1, RETRYING), True, id="running-is-retried"),
            pytest.param((1, SUCCEEDED), (1, RUNNING), False, id="late-progress-after-the-end"),
            pytest.param((1, SUCCEEDED), (1, FAILED), False, id="the-end-of-a-run-is-final"),
            pytest.param((1, FAILED), (1, SUCCEEDED), False, id="a-failure-is-final-too"),
            pytest.param((1, CANCELLED), (1, RUNNING), False, id="cancelled-is-final"),
            pytest.param((1, SUCCEEDED), (2, RUNNING), True, id="a-higher-run-replaces-the-end"),
            pytest.param((1, FAILED), (2, SUCCEEDED), True, id="a-replay-replaces-the-failure"),
            pytest.param((2, RUNNING), (1, SUCCEEDED), False, id="a-fenced-worker-finishes-late"),
            pytest.param((2, RUNNING), (1, RUNNING), False, id="a-fenced-worker-reports-late"),
            pytest.param((9, SUCCEEDED), (10, SUCCEEDED), True, id="runs-are-numbers"),
            pytest.param((0, CANCELLED), (1, SUCCEEDED), True, id="a-run-replaces-none"),
        ],
    )
    async def test_who_replaces_whom(
        self,
        backend: ResultBackend,
        old: tuple[int, TaskState],
        new: tuple[int, TaskState],
        replaced: bool,
    ) -> None:
        before, after = status("a", old[1], run=old[0]), status("a", new[1], run=new[0], task="tasks.newer")
        await backend.record([before])
        await backend.record([after])
        assert (await backend.get(["a"]))["a"] == (after if replaced else before)

    async def test_the_guard_holds_within_one_batch(self, backend: ResultBackend) -> None:
        await backend.record([status("a", run=2), status("a", FAILED, run=1), status("b"), status("a", RUNNING, run=2)])
        assert (await backend.get(["a", "b"])) == {"a": status("a", run=2), "b": status("b")}

    async def test_a_status_is_forgotten_after_its_time(self, backend: ResultBackend, clock: FakeClock) -> None:
        await backend.record([status("short", ttl=10.0), status("long", ttl=100.0)])
        clock.advance(9.0)
        assert sorted(await backend.get(["short", "long"])) == ["long", "short"]
        clock.advance(2.0)
        assert list(await backend.get(["short", "long"])) == ["long"]
        assert [one.id for one in await backend.list()] == ["long"]

    async def test_the_time_counts_from_the_last_record(self, backend: ResultBackend, clock: FakeClock) -> None:
        await backend.record([status("a", RUNNING, ttl=10.0)])
        clock.advance(8.0)
        await backend.record([status("a", ttl=10.0)])
        clock.advance(8.0)
        assert list(await backend.get(["a"])) == ["a"]
        clock.advance(3.0)
        assert await backend.get(["a"]) == {}

    async def test_a_forgotten_status_guards_nothing(self, backend: ResultBackend, clock: FakeClock) -> None:
        await backend.record([status("a", run=5, ttl=10.0)])
        clock.advance(11.0)
        await backend.record([status("a", run=1)])
        assert (await backend.get(["a"]))["a"].run == 1

    async def test_waiting_for_what_is_there(self, backend: ResultBackend) -> None:
        await backend.record([status("a")])
        assert await backend.wait("a", 60.0) == status("a")

    async def test_waiting_until_it_ends(self, backend: ResultBackend, second: ResultBackend) -> None:
        waiting = asyncio.create_task(backend.wait("a", 60.0))
        await asyncio.sleep(0.02)
        await second.record([status("a", RUNNING)])
        await second.record([status("other")])
        await second.record([status("a")])
        async with asyncio.timeout(PATIENCE):
            assert await waiting == status("a")

    async def test_waiting_by_many(self, backend: ResultBackend, second: ResultBackend) -> None:
        waits = [asyncio.create_task(b.wait("a", 60.0)) for b in (backend, second) * 5]
        await asyncio.sleep(0.02)
        await backend.record([status("a")])
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*waits) == [status("a")] * 10

    async def test_waiting_in_another_loop(self, backend: ResultBackend, open_backend: OpenBackend) -> None:
        async def wait() -> TaskStatus | None:
            async with open_backend() as session:
                return await session.wait("a", 30.0)

        waiting = asyncio.create_task(asyncio.to_thread(asyncio.run, wait()))
        await asyncio.sleep(0.05)
        await backend.record([status("a")])
        async with asyncio.timeout(PATIENCE):
            assert await waiting == status("a")

    async def test_waiting_in_vain_tells_what_is_known(self, backend: ResultBackend) -> None:
        await backend.record([status("a", RUNNING)])
        async with asyncio.timeout(PATIENCE):
            assert await backend.wait("a", 0.05) == status("a", RUNNING)
            assert await backend.wait("never", 0.05) is None
            assert await backend.wait("never", 0.0) is None

    async def test_a_wait_can_be_cancelled(self, backend: ResultBackend) -> None:
        waiting = asyncio.create_task(backend.wait("a", 60.0))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await backend.record([status("a")])
        assert await backend.wait("a", 60.0) == status("a")

    async def test_a_refused_record_ends_no_wait_with_it(self, backend: ResultBackend) -> None:
        await backend.record([status("a", RUNNING, run=2)])
        waiting = asyncio.create_task(backend.wait("a", 0.1))
        await asyncio.sleep(0.02)
        await backend.record([status("a", run=1)])
        assert await waiting == status("a", RUNNING, run=2)

    async def test_listing_in_order_of_id(self, backend: ResultBackend) -> None:
        await backend.record([status(name) for name in ("c", "a", "d", "b")])
        assert [one.id for one in await backend.list()] == ["a", "b", "c", "d"]

    async def test_listing_page_by_page(self, backend: ResultBackend) -> None:
        await backend.record([status(f"m{n}") for n in range(7)])
        seen: list[str] = []
        while page := await backend.list(limit=3, after=seen[-1] if seen else None):
            assert len(page) <= 3
            seen += [one.id for one in page]
        assert seen == [f"m{n}" for n in range(7)]

    async def test_listing_filtered(self, backend: ResultBackend) -> None:
        await backend.record(
            [status("a", task="x"), status("b", FAILED, task="x"), status("c", FAILED, task="y"), status("d", task="y")]
        )
        assert [one.id for one in await backend.list(state=FAILED)] == ["b", "c"]
        assert [one.id for one in await backend.list(task="x")] == ["a", "b"]
        assert [one.id for one in await backend.list(state=FAILED, task="y")] == ["c"]
        assert [one.id for one in await backend.list(state=FAILED, limit=1, after="b")] == ["c"]
        assert await backend.list(task="z") == []

    async def test_forgetting(self, backend: ResultBackend) -> None:
        await backend.record([status("a"), status("b"), status("c")])
        assert await backend.forget(["a", "c", "never"]) == 2
        assert list(await backend.get(["a", "b", "c"])) == ["b"]
        assert await backend.forget(["a"]) == 0
        assert await backend.forget([]) == 0

    async def test_results_outlive_the_session(self, backend: ResultBackend, open_backend: OpenBackend) -> None:
        async with open_backend() as passing:
            await passing.record([status("a")])
        assert list(await backend.get(["a"])) == ["a"]
