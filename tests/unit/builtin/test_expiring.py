"""The mapping behind markers, results and records."""

from __future__ import annotations

import math

from stem_core.builtin.expiring import Expiring


def test_an_entry_is_there_until_its_time() -> None:
    kept: Expiring[str] = Expiring()
    kept.put("a", "x", 100.0)
    assert kept.get("a", 99.9) == "x"
    assert kept.get("a", 100.0) is None
    assert list(kept.live(50.0)) == [("a", "x")]
    assert list(kept.live(100.0)) == []


def test_popping() -> None:
    kept: Expiring[str] = Expiring()
    kept.put("a", "x", 100.0)
    assert kept.pop("a", 50.0) == "x"
    assert kept.pop("a", 50.0) is None
    kept.put("b", "y", 100.0)
    assert kept.pop("b", 200.0) is None
    assert kept.entries == {}


def test_sweeping_frees_what_is_over_and_nothing_else() -> None:
    kept: Expiring[int] = Expiring()
    for n in range(100):
        kept.put(f"k{n}", n, 10.0 * n)
    kept.sweep(500.0, 1000)
    assert all(f"k{n}" in kept.entries for n in range(51, 100))
    # What ended within the last span of 16 s may still be there.
    assert not any(f"k{n}" in kept.entries for n in range(48))


def test_sweeping_is_bounded() -> None:
    kept: Expiring[int] = Expiring()
    for n in range(100):
        kept.put(f"k{n}", n, 10.0)
    kept.sweep(1000.0, 30)
    assert len(kept.entries) == 70
    kept.sweep(1000.0, 1000)
    assert kept.entries == {}


def test_an_entry_that_was_renewed_is_kept_and_freed_later() -> None:
    kept: Expiring[str] = Expiring()
    for expires in (100.0, 200.0, 300.0):
        kept.put("a", "x", expires)
    kept.sweep(250.0, 10)
    assert kept.get("a", 250.0) == "x"
    kept.sweep(1000.0, 10)
    assert kept.entries == {}


def test_an_entry_for_ever_may_become_one_for_a_time() -> None:
    kept: Expiring[str] = Expiring()
    kept.put("a", "x", math.inf)
    kept.sweep(1e12, 10)
    assert kept.get("a", 1e12) == "x"
    kept.put("a", "y", 100.0)
    kept.sweep(1000.0, 10)
    assert kept.entries == {}


def test_renewing_takes_no_room() -> None:
    kept: Expiring[int] = Expiring()
    for n in range(1000):
        kept.put("a", n, 1000.0 + n)
    assert sum(map(len, kept._buckets.values())) == 1


def test_an_entry_that_is_put_while_its_bucket_is_swept_is_not_lost() -> None:
    kept: Expiring[int] = Expiring()
    kept.put("a", 1, 10.0)
    kept.pop("a", 0.0)
    kept.put("a", 2, 1000.0)
    kept.sweep(500.0, 10)
    assert kept.get("a", 500.0) == 2
    kept.sweep(2000.0, 10)
    assert kept.entries == {}
    assert kept._buckets == {}
