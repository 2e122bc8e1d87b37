"""What the kernel knows of processes: who descends from whom, who belongs to a test, which files they share. Linux."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def gone(pid: int) -> bool:
    """Whether this process has ended; one that nobody has waited for yet has."""
    fields = _stat(pid)
    return fields is None or fields[0] == "Z"


def family(pid: int) -> set[int]:
    """The processes that descend from this one."""
    children: dict[int, list[int]] = {}
    for other in _running():
        fields = _stat(other)
        if fields is not None and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(other)
    found, todo = set(), [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            found.add(child)
            todo.append(child)
    return found


def marked(mark: str) -> set[int]:
    """The processes with this text in their environment: children keep it when their parent is gone, in whatever
    group or session they are."""
    found = set()
    for pid in _running():
        try:
            environment = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environment and not gone(pid):
            found.add(pid)
    return found


def open_files(pid: int) -> dict[int, str]:
    """What each descriptor of a process leads to, as ``/proc/PID/fd`` tells it."""
    found = {}
    for entry in (_PROC / str(pid) / "fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return found


def _running() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _stat(pid: int) -> list[str] | None:
    """The fields of ``stat`` from the state on; the name before it may hold anything."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
