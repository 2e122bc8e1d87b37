"""A control group with little memory, in which a test may let the kernel's out-of-memory killer at its processes."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stem_core.worker.cgroups import own_groups


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """The folder of a new group of version 2 whose processes have ``limit`` bytes and no swap; removed at the end.

    Made beside or above the group of this process, where the system has handed the control of memory on and this user
    may write. Else the test is skipped: nothing of anybody else is changed for it.
    """
    above = next((folder for folder in own_groups() if _hands_memory_on(folder)), None)
    if above is None:
        pytest.skip("no control group of version 2 in which this user may limit memory")
    group = above / f"stem-test-{secrets.token_hex(4)}"
    group.mkdir()
    try:
        (group / "memory.max").write_text(str(limit))
        swap = group / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")
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
