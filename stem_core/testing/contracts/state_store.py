"""State stores: small records with versions and a time to live."""

from __future__ import annotations

import asyncio

import pytest

from stem_core.contracts import Record, StateStore
from stem_core.errors import VersionConflict
from stem_core.testing.clock import FakeClock
from stem_core.testing.contracts.base import OpenState, StoreContract
from stem_core.testing.contracts.case import OnLoop


class StateStoreContract(StoreContract):
    """:class:`~stem_core.contracts.StateStore`."""

    @pytest.fixture
    def state(self, open_state: OpenState) -> OnLoop[StateStore]:
        """The state store under test."""
        return OnLoop(open_state)

    @pytest.fixture
    def second(self, open_state: OpenState) -> OnLoop[StateStore]:
        """Another session on the same store."""
        return OnLoop(open_state)

    async def test_what_is_put_is_got(self, state: StateStore, second: StateStore) -> None:
        version = await state.put("pets", "cat", bytes(range(256)))
        assert await second.get("pets", "cat") == Record(key="cat", value=bytes(range(256)), version=version)

    async def test_what_was_never_put(self, state: StateStore) -> None:
        await state.put("pets", "cat", b"1")
        assert await state.get("pets", "dog") is None
        assert await state.get("cars", "cat") is None
        assert await state.list("cars") == []

    async def test_keys_are_any_legal_id(self, state: StateStore) -> None:
        for key in ("a.b-c_D9@host", "A", "a"):
            await state.put("pets", key, key.encode())
        assert {record.key for record in await state.list("pets")} == {"a.b-c_D9@host", "A", "a"}

    async def test_put_again_replaces(self, state: StateStore) -> None:
        first = await state.put("pets", "cat", b"1")
        second = await state.put("pets", "cat", b"2")
        assert second > first
        assert await state.list("pets") == [Record(key="cat", value=b"2", version=second)]

    async def test_versions_rise_across_the_whole_store(self, state: StateStore, second: StateStore) -> None:
        versions = [
            await state.put("pets", "cat", b""),
            await second.put("cars", "bmw", b""),
            await state.put("pets", "dog", b""),
            await second.put("pets", "cat", b""),
        ]
        assert versions == sorted(set(versions))
        assert versions[0] > 0

    async def test_versions_rise_after_a_delete(self, state: StateStore) -> None:
        first = await state.put("pets", "cat", b"")
        await state.delete("pets", "cat")
        assert await state.put("pets", "cat", b"") > first

    async def test_versions_rise_after_a_record_is_over(self, state: StateStore, clock: FakeClock) -> None:
        first = await state.put("pets", "cat", b"", ttl=5.0)
        clock.advance(1000.0)
        assert await state.put("pets", "cat", b"") > first

    async def test_listing_by_rising_version(self, state: StateStore) -> None:
        for key in ("c", "a", "b", "a"):
            await state.put("pets", key, b"")
        listed = await state.list("pets")
        assert [record.key for record in listed] == ["c", "b", "a"]
        assert [record.version for record in listed] == sorted(record.version for record in listed)

    async def test_listing_the_news(self, state: StateStore) -> None:
        await state.put("pets", "old", b"")
        seen = (await state.list("pets"))[-1].version
        assert await state.list("pets", since_version=seen) == []
        await state.put("pets", "new", b"")
        await state.put("cars", "bmw", b"")
        await state.put("pets", "old", b"changed")
        news = await state.list("pets", since_version=seen)
        assert [(record.key, record.value) for record in news] == [("new", b""), ("old", b"changed")]

    async def test_a_record_is_over_after_its_time(self, state: StateStore, clock: FakeClock) -> None:
        await state.put("pets", "short", b"", ttl=10.0)
        await state.put("pets", "ever", b"")
        clock.advance(9.0)
        assert len(await state.list("pets")) == 2
        clock.advance(2.0)
        assert await state.get("pets", "short") is None
        assert [record.key for record in await state.list("pets")] == ["ever"]
        clock.advance(400 * 86_400.0)
        assert await state.get("pets", "ever") is not None

    async def test_putting_again_gives_a_new_time(self, state: StateStore, clock: FakeClock) -> None:
        await state.put("pets", "cat", b"", ttl=10.0)
        clock.advance(8.0)
        await state.put("pets", "cat", b"", ttl=10.0)
        clock.advance(8.0)
        assert await state.get("pets", "cat") is not None
        await state.put("pets", "cat", b"")
        clock.advance(1000.0)
        assert await state.get("pets", "cat") is not None
        await state.put("pets", "cat", b"", ttl=1.0)
        clock.advance(2.0)
        assert await state.get("pets", "cat") is None

    async def test_only_when_there_is_none(self, state: StateStore) -> None:
        version = await state.put("locks", "a", b"me", if_version=0)
        with pytest.raises(VersionConflict) as caught:
            await state.put("locks", "a", b"you", if_version=0)
        assert caught.value.found == version
        assert (await state.get("locks", "a")) == Record(key="a", value=b"me", version=version)

    async def test_only_when_it_has_not_changed(self, state: StateStore, second: StateStore) -> None:
        read = await state.put("locks", "a", b"1")
        newer = await second.put("locks", "a", b"2", if_version=read)
        with pytest.raises(VersionConflict) as caught:
            await state.put("locks", "a", b"3", if_version=read)
        assert caught.value.found == newer
        record = await state.get("locks", "a")
        assert record is not None
        assert record.value == b"2"

    async def test_a_version_of_what_is_not_there_conflicts(self, state: StateStore) -> None:
        with pytest.raises(VersionConflict) as caught:
            await state.put("locks", "a", b"", if_version=7)
        assert caught.value.found == 0
        assert await state.get("locks", "a") is None

    async def test_a_record_that_is_over_counts_as_none(self, state: StateStore, clock: FakeClock) -> None:
        version = await state.put("locks", "a", b"me", ttl=10.0, if_version=0)
        clock.advance(11.0)
        with pytest.raises(VersionConflict):
            await state.put("locks", "a", b"me", if_version=version)
        await state.put("locks", "a", b"you", if_version=0)
        record = await state.get("locks", "a")
        assert record is not None
        assert record.value == b"you"

    async def test_a_deleted_record_counts_as_none(self, state: StateStore) -> None:
        await state.put("locks", "a", b"me", if_version=0)
        await state.delete("locks", "a")
        assert await state.put("locks", "a", b"you", if_version=0) > 0

    async def test_one_of_many_wins_a_lock(self, state: StateStore, second: StateStore) -> None:
        async def take(session: StateStore, name: bytes) -> bool:
            try:
                await session.put("locks", "a", name, if_version=0)
            except VersionConflict:
                return False
            return True

        takers = [take(session, b"%d" % n) for n, session in enumerate((state, second) * 5)]
        assert sum(await asyncio.gather(*takers)) == 1

    async def test_deleting(self, state: StateStore, second: StateStore) -> None:
        await state.put("pets", "cat", b"")
        assert await second.delete("pets", "cat") is True
        assert await state.get("pets", "cat") is None
        assert await state.delete("pets", "cat") is False
        assert await state.delete("cars", "never") is False

    async def test_deleting_what_is_over(self, state: StateStore, clock: FakeClock) -> None:
        await state.put("pets", "cat", b"", ttl=5.0)
        clock.advance(6.0)
        assert await state.delete("pets", "cat") is False

    async def test_records_outlive_the_session(self, state: StateStore, open_state: OpenState) -> None:
        async with open_state() as passing:
            await passing.put("pets", "cat", b"1")
        assert await state.get("pets", "cat") is not None
