"""The control groups that this process is in: there Linux keeps the limits of a container."""

from __future__ import annotations

from pathlib import Path

#: Where the groups are mounted; those of version 1 lie one folder deeper, by controller.
ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def own_groups() -> tuple[Path, ...]:
    """The folders of version 2 that hold for this process: a limit of a group above its own holds as well."""
    return _upwards(ROOT, _own(""))


def own_groups_v1(controller: str) -> tuple[Path, ...]:
    """The same of one controller of version 1, such as ``memory``. In a container the last may be the only one that is
    there: the others are called as they are outside."""
    return _upwards(ROOT / controller, _own(controller))


def _own(controller: str) -> str:
    try:
        lines = _OWN.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return ""
    groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return next((group for _, controllers, group in groups if controller in controllers.split(",")), "")


def _upwards(root: Path, group: str) -> tuple[Path, ...]:
    folder = root / group.strip("/")
    return (folder, *(place for place in folder.parents if place.is_relative_to(root)))
