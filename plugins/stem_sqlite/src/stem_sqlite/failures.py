"""What SQLite complains of, in the words of the contracts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from stem_core.errors import StoreError, StoreRefused, StoreUnavailable

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_REFUSED = {
    sqlite3.SQLITE_READONLY: "it cannot be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PERM: "permission denied",
    sqlite3.SQLITE_AUTH: "permission denied",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_TOOBIG: "a message is larger than SQLite can hold",
}
_HINTS = {
    sqlite3.SQLITE_READONLY: "see that the file and its folder may be written and the file system is not read-only",
    sqlite3.SQLITE_CANTOPEN: "see that the file and its folder may be written and the file system is not read-only",
    sqlite3.SQLITE_NOTADB: "name another file in the URL; this one was not touched",
    sqlite3.SQLITE_CORRUPT: "stop all workers, then save what can be read with: sqlite3 FILE .recover",
    sqlite3.SQLITE_TOOBIG: "store the data elsewhere and pass a reference",
    sqlite3.SQLITE_FULL: "free some space; workers wait for it and go on by themselves",
    sqlite3.SQLITE_IOERR: "see that the file was not removed or moved while it was open, and that its disk is sound",
}
_UNAVAILABLE = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_IOERR: "reading or writing failed",
    sqlite3.SQLITE_PROTOCOL: "its lock could not be had",
    sqlite3.SQLITE_INTERRUPT: "it was interrupted",
}


def _code(error: sqlite3.Error) -> int:
    # The low byte is the kind, the rest says more of it.
    return int(getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_busy(error: BaseException) -> bool:
    """Whether another connection holds what was needed, so that the same may work in a moment."""
    return isinstance(error, sqlite3.OperationalError) and _code(error) in _BUSY


def refused(path: Path, why: str, hint: str = "give Stem another file in the URL") -> StoreRefused:
    """The database at ``path`` cannot be used as it is."""
    return StoreRefused(f"cannot use the database {path}: {why}", hint=hint)


def translate(error: Exception, path: Path, waited: float) -> Exception:
    """The error of the contracts for one of SQLite; any other error is returned as it is.

    ``waited`` is how long a lock was waited for, in seconds.
    """
    if not isinstance(error, sqlite3.Error):
        return error
    code = _code(error)
    if code in _BUSY:
        return StoreUnavailable(
            f"the database {path} was locked by another process for {waited:g} s",
            hint="see what holds it (a stopped process, a backup, an open sqlite3 shell), or raise sqlite.busy_timeout",
        )
    if code in _UNAVAILABLE:
        why = f"the database {path} cannot be used now: {_UNAVAILABLE[code]} ({error})"
        return StoreUnavailable(why, hint=_HINTS.get(code, ""))
    if code in _REFUSED:
        return refused(path, f"{_REFUSED[code]} ({error})", _HINTS.get(code, "see its permissions"))
    return StoreError(f"the database {path} failed: {error}")
