"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from stem_core.model import _cgroups as cgroups


def usable_cpus() -> int:
    """The processors of the machine, less those that affinity or the quota of a container keep away; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _quota() -> float | None:
    """Processors a second that the control group grants; None for no limit, or where there are no such groups."""
    limits = [_limit(group / "cpu.max") for group in cgroups.own_groups()]
    limits += [_limit_v1(group) for group in cgroups.own_groups_v1("cpu")]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(path: Path) -> float | None:
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _limit_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
