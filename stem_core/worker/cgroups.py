"""The control groups that this process is in: there Linux keeps the limits of a container."""

from __future__ import annotations

from pathlib import Path

#: Where the groups are mounted; those of version 1 lie one folder deeper, by controller.
ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def own_groups() -> tuple[Path, ...]:
    """The folders of version 2 that hold for this process: a limit of a group above its own holds as well."""
    try:
        group = _OWN.read_text(encoding="ascii").partition("0::")[2].partition("\n")[0].strip("/")
    except (OSError, ValueError):
        group = ""
    folder = ROOT / group
    return (folder, *(place for place in folder.parents if place.is_relative_to(ROOT)))
