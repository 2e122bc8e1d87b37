"""The tables, and opening a file that may or may not hold them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from stem_core.errors import StoreRefused
from stem_sqlite.failures import refused

#: The version of the tables below, kept in ``PRAGMA user_version``.
SCHEMA_VERSION = 1
#: Marks a file as ours: the bytes ``STEM`` in ``PRAGMA application_id``.
APPLICATION_ID = 0x5354454D
#: ``RETURNING`` and ``UPDATE ... FROM`` are what is needed.
OLDEST_SQLITE = (3, 35, 0)

READY, DELAYED, LEASED, DEAD = 0, 1, 2, 3

# Times are seconds since the epoch by the store's clock.
#
# messages: what changes while a message is worked on; narrow, since every step rewrites it.
#   state       READY, DELAYED, LEASED or DEAD
#   at          READY: since when; DELAYED: when it is due; LEASED: when the lease ends; DEAD: when it was given up
#   token       the number of the claim that holds it, or, while READY, that held it when its lease ran out
#   suspect     READY: whether the next claim finds crashes, those of a lease that ran out included
#   sealed_queue  the queue inside the sealed header, where it was moved to another
#   Each index holds the messages of one state. The state stands in it all the same, or SQLite would look at each row.
# bodies: what never changes.
# outcomes: what is left of an id: its status (body), the marker against repeats, the last run. One row serves all
#   three, so that a finished job costs one insert.
# settled: receipts that were settled by anything but an ack, so that a repeated settlement is recognised.
_TABLES = """
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    ns TEXT NOT NULL,
    id TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state INTEGER NOT NULL,
    at REAL NOT NULL,
    suspect INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 1,
    crashes INTEGER NOT NULL DEFAULT 0,
    run INTEGER NOT NULL DEFAULT 0,
    token INTEGER,
    first_at REAL,
    sealed_queue TEXT,
    reason TEXT,
    detail TEXT
);
CREATE UNIQUE INDEX messages_id ON messages (ns, id);
CREATE INDEX messages_ready ON messages (state, ns, queue, suspect, priority DESC, at) WHERE state = 0;
CREATE INDEX messages_delayed ON messages (state, ns, queue, at) WHERE state = 1;
CREATE INDEX messages_leased ON messages (state, ns, queue, at) WHERE state = 2;
CREATE INDEX messages_dead ON messages (state, ns, queue, at) WHERE state = 3;
CREATE INDEX messages_dead_age ON messages (state, at) WHERE state = 3;
CREATE TABLE bodies (
    seq INTEGER PRIMARY KEY,
    header BLOB NOT NULL,
    payload BLOB NOT NULL,
    signature BLOB
);
CREATE TRIGGER messages_gone AFTER DELETE ON messages BEGIN DELETE FROM bodies WHERE seq = old.seq; END;
CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY,
    ns TEXT NOT NULL,
    id TEXT NOT NULL,
    last_run INTEGER NOT NULL DEFAULT 0,
    settled TEXT,
    marker_until REAL NOT NULL DEFAULT 0,
    run INTEGER NOT NULL DEFAULT 0,
    state TEXT,
    terminal INTEGER NOT NULL DEFAULT 0,
    task TEXT,
    expires_at REAL NOT NULL DEFAULT 0,
    keep_until REAL NOT NULL,
    body BLOB
);
CREATE UNIQUE INDEX outcomes_id ON outcomes (ns, id);
CREATE INDEX outcomes_age ON outcomes (keep_until);
CREATE TABLE settled (
    token TEXT PRIMARY KEY,
    until REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX settled_age ON settled (until);
CREATE TABLE state (
    ns TEXT NOT NULL,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    expires_at REAL,
    value BLOB NOT NULL,
    PRIMARY KEY (ns, collection, key)
) WITHOUT ROWID;
CREATE INDEX state_version ON state (ns, collection, version);
CREATE INDEX state_age ON state (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE broadcasts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    ns TEXT NOT NULL,
    channel TEXT NOT NULL,
    sent_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    message BLOB NOT NULL
);
CREATE INDEX broadcasts_channel ON broadcasts (ns, channel, seq);
CREATE INDEX broadcasts_age ON broadcasts (expires_at);
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('claim', 0), ('version', 0);
"""


def check_library() -> None:
    """Raises :class:`StoreRefused` when this Python's SQLite is too old."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreRefused(
            f"this Python comes with SQLite {sqlite3.sqlite_version}; stem-sqlite needs {needed} or newer",
            hint="use a Python that is built with a newer SQLite, or another broker",
        )


def prepare_path(path: Path) -> None:
    """See that a database can be at ``path``, and make its folder when that is a ``.stem``.

    Raises:
        StoreRefused: there is a folder in its place, or no folder around it, or it may not be written.
    """
    folder = path.parent
    if folder.name == ".stem" and not folder.exists():
        _make_home(folder, path)
    if path.is_dir():
        raise StoreRefused(f"{path} is a folder, not a database file", hint="name a file inside it, such as stem.db")
    if not folder.is_dir():
        raise StoreRefused(f"cannot open the database {path}: there is no folder {folder}", hint="create the folder")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise StoreRefused(
            f"cannot open the database {path}: the file cannot be written",
            hint="see to its permissions, or name another file in the URL",
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreRefused(
            f"cannot open the database {path}: the folder {folder} cannot be written",
            hint="see to its permissions (SQLite keeps files beside the database), or name another file in the URL",
        )


def _make_home(folder: Path, path: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreRefused(
            f"cannot open the database {path}: the folder {folder} cannot be made: {error.strerror}",
            hint="run where files may be written, or name another file with STEM_BROKER_URL",
        ) from error
    # As other tools do with their folders in a project: nothing in it belongs under version control.
    with suppress(OSError), (folder / ".gitignore").open("x", encoding="utf-8") as ignore:
        ignore.write("*\n")


def install(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in an empty file; leave those of this version as they are.

    Raises:
        StoreRefused: the file belongs to another program, or to a newer version of this one.
        sqlite3.Error: it is no database, is locked, or cannot be written.
    """
    if _installed(connection, path):
        return
    # Encoding and journal are set before the first write and outside of a transaction, or not at all.
    connection.execute("PRAGMA encoding = 'UTF-8'")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise refused(path, "its file system does not support shared memory between processes (SQLite's WAL)")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _installed(connection, path):
            for statement in _statements(_TABLES):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    # executescript() would commit the transaction that this runs in.
    statements: list[str] = []
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements


def _installed(connection: sqlite3.Connection, path: Path) -> bool:
    # One statement, one state of the file: another process may be making the tables in this moment.
    application, found, tables = connection.execute(
        """SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
        FROM pragma_application_id, pragma_user_version"""
    ).fetchone()
    if application == APPLICATION_ID:
        if found > SCHEMA_VERSION:
            raise StoreRefused(
                f"the database {path} has schema version {found}; this stem-sqlite supports up to {SCHEMA_VERSION}",
                hint="upgrade stem-sqlite in this environment, or use another file",
            )
        return True
    if application or tables:
        raise StoreRefused(
            f"the database {path} holds the tables of another program",
            hint="give Stem a file of its own in the URL",
        )
    return False
