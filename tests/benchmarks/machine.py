"""Where and with what it was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_PACKAGES = ("stem-core", "stem-sqlite", "stem-redis", "hiredis", "huey", "msgspec", "attrs", "pluggy")
_ROOT = Path(__file__).resolve().parents[2]


def describe(folder: Path, redis: str) -> dict[str, Any]:
    """Date, commit, versions and machine; ``folder`` is where the databases are, ``redis`` the server's version."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - a label for people
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            **({"redis": redis} if redis else {}),
            **{name: version for name in _PACKAGES if (version := _version(name))},
            **_peers(),
        },
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "processor": _first("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
            "cpus": os.cpu_count(),
            "memory_gb": round(int((_first("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 2**20, 1),
            "load": round(os.getloadavg()[0], 2),
            "fdatasync_us": round(_sync_time(folder)),
        },
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


#: What the lists of the peers hold besides them.
_PARTS = {"attrs", "hiredis", "typing_extensions"}


def _peers() -> dict[str, str]:
    """The versions that ``peers/*.txt`` ask for."""
    pins = (
        line.strip()
        for path in sorted(Path(__file__).parent.glob("peers/*.txt"))
        for line in path.read_text().splitlines()
    )
    found = dict(pin.split("==") for pin in pins if "==" in pin)
    return {name.partition("[")[0]: version for name, version in found.items() if name not in _PARTS}


def _first(path: str, field: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _sync_time(folder: Path) -> float:
    """The median time in us that a written page takes to the disk: durable figures are a multiple of it."""
    path = folder / "sync"
    sync = getattr(os, "fdatasync", os.fsync)
    times: list[float] = []
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        for page in range(100):
            os.pwrite(descriptor, b"x" * 4096, page * 4096)
            begun = time.perf_counter()
            sync(descriptor)
            times.append(time.perf_counter() - begun)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times)[len(times) // 2] * 1e6
