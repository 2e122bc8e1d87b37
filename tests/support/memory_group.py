"""A control group with little memory, in which a test may let the kernel's out-of-memory killer at its processes."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stem_core.model._cgroups import own_groups, own_groups_v1


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """The folder of a new group whose processes have ``limit`` bytes and no swap; removed at the end.

    Made beside or above the group of this process where the system has handed the control of memory on, or in it where
    the groups are of version 1, and this user may write. Else the test is skipped: nothing of anybody else is changed
    for it.
    """
    above = next((folder for folder in own_groups() if _hands_memory_on(folder)), None)
    if above is None and os.access((own := own_groups_v1("memory")[0]) / "cgroup.procs", os.W_OK):
        above = own
    if above is None:
        pytest.skip("no control group in which this user may limit memory")
    group = above / f"stem-test-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        # The limit of memory and swap together cannot be below that of memory, so it comes second.
        for name, most in (
            ("memory.max", limit),
            ("memory.swap.max", 0),
            ("memory.limit_in_bytes", limit),
            ("memory.memsw.limit_in_bytes", limit),
        ):
            if (group / name).exists():
                (group / name).write_text(str(most))
        yield group
    finally:
        _remove(group)


def _hands_memory_on(folder: Path) -> bool:
    control = folder / "cgroup.subtree_control"
    try:
        return "memory" in control.read_text().split() and os.access(folder / "cgroup.procs", os.W_OK)
    except OSError:
        return False


def _remove(group: Path) -> None:
    for _ in range(500):
        # Ended processes are in it until they are reaped.
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.01)
        else:
            return
    group.rmdir()
