"""What stands for a worker without fencing is one, and nothing else of it is left out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.drivers.stem_unfenced import CHANGES, changed, unfence
from stem_core.clock import SYSTEM_CLOCK
from stem_core.contracts import StoreContext
from stem_core.model import ACK, Receipt, Settlement, StoreUrl
from stem_core.testing.contracts.base import WINDOW, claim, counts, kinds, message, status
from stem_redis import opening, scripts
from stem_redis.broker import RedisBroker
from stem_redis.settling import Settler
from support.redis_server import RedisServer, programs


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    program = next(iter(programs().values()), None)
    if program is None:
        pytest.skip("there is no server")
    server = RedisServer(program).start()
    yield server
    server.stop()


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The product is itself again after the test."""
    monkeypatch.setattr(scripts, "read", scripts.read)
    monkeypatch.setattr(Settler, "_settle_some", Settler._settle_some)
    scripts.load.cache_clear()
    yield
    scripts.load.cache_clear()


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("variant", ["", *CHANGES])
async def test_only_the_fence_is_left_out(variant: str, server: RedisServer) -> None:
    server.command("FLUSHALL")
    if variant:
        unfence(variant)
    context = StoreContext(
        url=StoreUrl.parse(server.url), namespace="test", clock=SYSTEM_CLOCK, dedupe_window=WINDOW, settings=None
    )
    async with opening.open_broker(context) as broker, opening.open_backend(context) as backend:
        assert isinstance(broker, RedisBroker)
        await broker.publish([message("mine"), message("not mine")])
        mine, other = sorted(await claim(broker), key=lambda one: one.message.id)
        # As of a worker whose lease was granted to another: same place, same run, another claim.
        place, _, _ = other.receipt.token.rpartition("/")
        stale = Receipt(id=other.receipt.id, queue="default", run=1, token=f"{place}/older.1")
        verdicts = await broker.settle_with_results(
            [Settlement(receipt=receipt, action=ACK) for receipt in (mine.receipt, stale)],
            [status("mine"), status("not mine")],
        )
        assert kinds(verdicts) == ["done", "done" if variant else "lost"]
        assert await counts(broker) == (0, 0, 0 if variant else 1, 0)
        assert set(await backend.get(["mine", "not mine"])) == ({"mine", "not mine"} if variant else {"mine"})
        # The marker against repeated publishing is part of both.
        await broker.publish([message("mine")])
        assert await claim(broker) == []


@pytest.mark.parametrize("variant", CHANGES)
def test_each_change_finds_its_place(variant: str) -> None:
    read = changed(CHANGES[variant])
    assert {name for name in scripts.NAMES if read(name) != scripts.read(name)} == set(CHANGES[variant])


def test_a_script_that_was_changed_meanwhile_is_not_measured() -> None:
    read = changed({"settle": (("what stands there no more", ""),)})
    with pytest.raises(LookupError, match=r"settle\.lua does not hold this once"):
        read("settle")
