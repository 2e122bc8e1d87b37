"""Bells: who waits is rung, who does not is left alone, and what the dead left behind is cleared away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from stem_core.model import Subscription
from stem_core.testing.contracts.base import PATIENCE, OpenedStore, message, status
from stem_sqlite.doorbell import WORK, Bells
from stem_sqlite.settings import SqliteSettings

OpenSqlite = Callable[..., AbstractAsyncContextManager[OpenedStore]]
DEFAULT = Subscription.of("default")


class Rung:
    """What a bell calls."""

    def __init__(self, *, waiting: bool = True) -> None:
        self.waiting = waiting
        self.kinds: list[str] = []
        self._rung = asyncio.Event()

    def __call__(self, kind: str) -> bool:
        self.kinds.append(kind)
        self._rung.set()
        return self.waiting

    async def once(self) -> None:
        """Return when it was rung."""
        async with asyncio.timeout(PATIENCE):
            await self._rung.wait()
        self._rung.clear()


def hung(path: Path) -> list[str]:
    """The bells for work."""
    return [bell.name for bell in path.with_name("stem.db-wake").joinpath(WORK).iterdir()]


async def test_others_are_rung_and_not_oneself(path: Path) -> None:
    rung, own = Rung(), Rung()
    bells, mine = (Bells(path, asyncio.get_running_loop(), called) for called in (rung, own))
    bells.hang(WORK)
    mine.hang(WORK)
    await asyncio.to_thread(mine.ring_others, [WORK])
    await rung.once()
    assert (rung.kinds, own.kinds) == ([WORK], [])
    bells.close()
    mine.close()
    assert hung(path) == []


async def test_a_bell_that_rings_for_nobody_takes_itself_down(path: Path) -> None:
    rung = Rung(waiting=False)
    bells = Bells(path, asyncio.get_running_loop(), rung)
    ringer = Bells(path, asyncio.get_running_loop(), Rung())
    bells.hang(WORK)
    ringer.ring_others([WORK])
    await rung.once()
    assert hung(path) == []
    bells.hang(WORK)
    assert len(hung(path)) == 1
    bells.close()


async def test_the_bell_of_a_dead_process_is_cleared_away(path: Path) -> None:
    bells = Bells(path, asyncio.get_running_loop(), Rung())
    bells.hang(WORK)
    bells.close()
    os.mkfifo(path.with_name("stem.db-wake") / WORK / "1-dead")
    bells.ring_others([WORK])
    assert hung(path) == []


async def test_a_bell_that_is_full_stops_nobody(path: Path) -> None:
    rung = Rung()
    bells = Bells(path, asyncio.get_running_loop(), rung)
    ringer = Bells(path, asyncio.get_running_loop(), Rung())
    bells.hang(WORK)
    # This loop does not turn meanwhile, as that of a stopped process does not.
    for _ in range(70_000):
        ringer.ring_others([WORK])
    await rung.once()
    assert rung.kinds == [WORK]
    bells.close()


async def test_without_waiters_nothing_is_rung(path: Path) -> None:
    Bells(path, asyncio.get_running_loop(), Rung()).ring_others([WORK])
    assert not path.with_name("stem.db-wake").exists()


@pytest.mark.parametrize("pipes", [True, False], ids=["bells", "polling"])
async def test_news_of_another_connection_wakes(
    open_sqlite: OpenSqlite, monkeypatch: pytest.MonkeyPatch, pipes: bool
) -> None:
    if not pipes:

        def refuse(*_: object) -> None:
            raise PermissionError("no pipes on this file system")

        monkeypatch.setattr("os.mkfifo", refuse)
    # Longer than anything here may take: only news can end a wait.
    monkeypatch.setattr("stem_sqlite.broker.LONGEST_WAIT", 60.0)
    monkeypatch.setattr("stem_sqlite.waiting.LONGEST_WAIT", 60.0)
    monkeypatch.setattr("stem_sqlite.broadcasting.LONGEST_WAIT", 60.0)
    async with open_sqlite() as here, open_sqlite(settings=SqliteSettings(busy_timeout=6.0)) as there:
        listener = here.broker.listen(["news"])  # type: ignore[attr-defined]
        waits = [
            asyncio.ensure_future(here.broker.wait_for_work(DEFAULT, 60.0)),
            asyncio.ensure_future(here.backend.wait("done", 60.0)),
            asyncio.ensure_future(anext(listener)),
        ]
        await asyncio.sleep(0.1)
        assert not any(wait.done() for wait in waits)
        await there.broker.publish([message("a")])
        await there.backend.record([status("done")])
        await there.broker.send("news", b"hello", 60.0)  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE):
            assert await asyncio.gather(*waits) == [None, status("done"), ("news", b"hello")]


async def test_news_without_a_bell_is_found_in_time(open_sqlite: OpenSqlite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between its commit and the bells."""
    monkeypatch.setattr("stem_sqlite.broker.LONGEST_WAIT", 0.05)
    async with open_sqlite() as here, open_sqlite(settings=SqliteSettings(busy_timeout=6.0)) as there:
        monkeypatch.setattr(Bells, "ring_others", lambda *_: None)
        waiting = asyncio.ensure_future(here.broker.wait_for_work(DEFAULT, 60.0))
        await asyncio.sleep(0.01)
        await there.broker.publish([message("a")])
        async with asyncio.timeout(PATIENCE):
            await waiting


async def test_many_who_wait_for_results_share_the_looking(open_sqlite: OpenSqlite) -> None:
    ids = [f"job-{n}" for n in range(500)]
    async with open_sqlite() as here, open_sqlite(settings=SqliteSettings(busy_timeout=6.0)) as there:
        waits = [asyncio.ensure_future(here.backend.wait(id, PATIENCE)) for id in ids]
        await asyncio.sleep(0)
        for start in range(0, 500, 50):
            await there.backend.record([status(id) for id in ids[start : start + 50]])
        statuses = await asyncio.gather(*waits)
        assert [found.id for found in statuses if found is not None] == ids
