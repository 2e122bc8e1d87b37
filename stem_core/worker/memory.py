"""How much memory there is, and how much of it is in use: of the container, and of the machine."""

from __future__ import annotations

from pathlib import Path

from stem_core.model import _cgroups as cgroups
from stem_core.model._value import value

_MEMINFO = Path("/proc/meminfo")

#: Version 1 of the control groups says so, or nearly so, where there is no limit.
_NO_LIMIT_V1 = 2**62


@value
class Memory:
    """One limit, and what counts against it; bytes."""

    limit: int
    #: Without what the kernel would give back when asked: caches of files.
    used: int


def read_memory() -> tuple[Memory, ...]:
    """The limits of the control groups of this process, and the memory of the machine; empty where nothing is known."""
    found = [
        _group(folder / "memory.max", folder / "memory.current", folder, "inactive_file ")
        for folder in cgroups.own_groups()
    ]
    found += [
        _group(folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes", folder, "total_inactive_file ")
        for folder in cgroups.own_groups_v1("memory")
    ]
    found.append(_machine())
    return tuple(memory for memory in found if memory is not None)


def _group(limit: Path, current: Path, folder: Path, cache: str) -> Memory | None:
    try:
        # No limit is "max", which is no number.
        bytes_allowed = int(limit.read_bytes())
        used = int(current.read_bytes()) - _field(folder / "memory.stat", cache)
    except (OSError, ValueError):
        return None
    return None if bytes_allowed >= _NO_LIMIT_V1 else Memory(limit=bytes_allowed, used=max(0, used))


def _machine() -> Memory | None:
    try:
        total, available = _field(_MEMINFO, "MemTotal:"), _field(_MEMINFO, "MemAvailable:")
    except (OSError, ValueError):
        return None
    return Memory(limit=total * 1024, used=(total - available) * 1024)


def _field(path: Path, name: str) -> int:
    """Raises:
    OSError, ValueError: there is no such file, or nothing of this name in it.
    """
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.removeprefix(name).split()[0])
    raise ValueError(f"{path} has no {name}")
