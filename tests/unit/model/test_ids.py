"""Ids: unique, and in the order in which they were made."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from stem_core.model import check_id, child_id, new_id, new_ids
from stem_core.model import ids as module

NOW = 1_794_878_000.5


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    made = new_id(NOW)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == int(NOW * 1000)
    assert str(parsed) == check_id("task id", made)


def test_ids_sort_as_they_were_made_within_a_millisecond_and_across() -> None:
    made = [new_id(NOW + tenth / 10_000) for tenth in range(5) for _ in range(4_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_of_one_call_sort_whatever_is_made_in_between() -> None:
    one, other = new_ids(NOW), new_ids(NOW)
    made: tuple[list[str], list[str]] = ([], [])
    for step in range(1_000):
        made[0].append(next(one))
        new_id(NOW + step / 100)
        made[1].append(next(other))
    assert list(made[0]) == sorted(made[0])
    assert list(made[1]) == sorted(made[1])
    assert len({*made[0], *made[1]}) == 2_000


def test_ids_one_by_one_and_of_one_call_sort_as_they_were_made_within_a_millisecond() -> None:
    made = [new_id(NOW)]
    for _ in range(3):
        some = new_ids(NOW)
        made += [*[next(some) for _ in range(300)], new_id(NOW)]
    assert made == sorted(made)


def test_threads_make_different_ids() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_id(NOW), range(20_000)))
    assert len(set(made)) == len(made)


def test_what_begins_at_one_id_parts(monkeypatch) -> None:
    # As in two children of one process, or in two threads that read at the same time.
    new_id(NOW)
    shared = module._last
    first = new_id(NOW)
    monkeypatch.setattr(module, "_last", shared)
    assert new_id(NOW) != first


FORKING = """
import os
from stem_core.model import new_id

new_id(1.0), new_id(1.0)
child = os.fork()
if child:
    os.waitpid(child, 0)
os.write(1, new_id(1.0).encode() + b"\\n")
"""


def test_a_forked_child_takes_ends_of_its_own() -> None:
    # In a process of its own, which has no threads.
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    of_child, of_parent = done.stdout.split()
    assert of_child != of_parent


def test_ends_are_fetched_anew_when_they_are_used_up() -> None:
    made = [new_id(NOW) for _ in range(1000)]
    assert made == sorted(set(made))


def test_the_last_id_of_a_millisecond_is_followed_by_a_legal_one(monkeypatch) -> None:
    new_id(NOW)
    stamp, _, head = module._last
    monkeypatch.setattr(module, "_last", (stamp, 2**24 - 1, head))
    monkeypatch.setattr(module, "_ends", iter(["0000000000a1"]))
    made = new_id(NOW)
    parsed = uuid.UUID(made)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert made == f"{head[:14]}7000-8000-0000000000a1"


def test_a_new_millisecond_leaves_room_to_count(monkeypatch) -> None:
    monkeypatch.setattr(module, "_ends", iter(["f" * 12, "0" * 12]))
    assert new_id(NOW + 1).endswith("-77ff-8fff-000000000000")


def test_a_clock_that_is_set_back_starts_anew() -> None:
    later, earlier = new_id(NOW), new_id(NOW - 10)
    assert earlier < later
    assert uuid.UUID(earlier).int >> 80 == int((NOW - 10) * 1000)


def test_children_have_the_same_ids_in_every_run() -> None:
    assert child_id("a", 1) == child_id("a", 1)
    assert len({child_id("a", 1), child_id("a", 2), child_id("b", 1)}) == 3
