"""The tables of outcomes.db, and what SQLite's errors mean; used by `monitor.feedback.outcomes` and `monitor.feedback.reading`."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from seaway.core.errors import PermanentError, TemporaryError

DIRECTORY: Final = "_feedback"
FILE: Final = "outcomes.db"
VERSION: Final = 2
PENDING, JOINED, UNMATCHED, UNUSABLE = range(4)  # the indexes below name JOINED as 1
"""States of a fact: its prediction was not seen yet; is copied beside it; never came within the horizon; has no answer
that the outcome can be compared with."""
NOT_JOINED: Final = "state <> 1"
"""Part of every query for another state: SQLite uses an index of some rows only where it finds their condition as it
stands, and reads the whole table where it does not."""
_BUSY_S: Final = 30.0
_DAMAGED: Final = ("not a database", "malformed", "disk image")

# `name` is "" for an outcome, else the KPI's. `answer`, `truth` are text for a class and real for a number: no affinity.
_TABLES: Final = """
CREATE TABLE subjects(id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, revision INTEGER NOT NULL, digest TEXT NOT NULL,
  UNIQUE(endpoint, revision, digest));
CREATE TABLE facts(seq INTEGER PRIMARY KEY, request_id TEXT NOT NULL, row INTEGER NOT NULL, name TEXT NOT NULL,
  value TEXT NOT NULL, at_s REAL, received_s REAL NOT NULL, state INTEGER NOT NULL, next_s REAL, subject INTEGER,
  predicted_s REAL, answer, truth, confidence REAL, slices TEXT, UNIQUE(request_id, row, name));
CREATE INDEX facts_unjoined ON facts(state, next_s) WHERE state <> 1;
CREATE INDEX facts_joined ON facts(subject, predicted_s, seq) WHERE state = 1;
CREATE TABLE conflicts(request_id TEXT NOT NULL, row INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  received_s REAL NOT NULL, PRIMARY KEY(request_id, row, name, value)) WITHOUT ROWID;
CREATE TABLE ids(id TEXT NOT NULL, name TEXT NOT NULL, request_id TEXT NOT NULL, row INTEGER NOT NULL,
  value TEXT NOT NULL, received_s REAL NOT NULL, PRIMARY KEY(id, name)) WITHOUT ROWID;
CREATE INDEX ids_request ON ids(request_id);
PRAGMA user_version = 1;
"""
# `arrived` numbers the facts in the order in which they were joined, NULL before; no number is given twice, erased or not.
# `unit` is 1 where the prediction was a unit of a rollout's verdicts.
_SECOND: Final = """
ALTER TABLE facts ADD COLUMN arrived INTEGER;
ALTER TABLE facts ADD COLUMN unit INTEGER;
CREATE INDEX facts_arrived ON facts(arrived) WHERE arrived IS NOT NULL;
CREATE TABLE arrivals(last INTEGER NOT NULL);
INSERT INTO arrivals VALUES (0);
PRAGMA user_version = 2;
"""
_INCOMING: Final = """
CREATE TEMP TABLE incoming(n INTEGER PRIMARY KEY, part INTEGER, request_id TEXT, row INTEGER, name TEXT, value TEXT,
  id TEXT, at_s REAL, state INTEGER, next_s REAL, subject INTEGER, predicted_s REAL, answer, truth, confidence REAL,
  slices TEXT, unit INTEGER, taken INTEGER DEFAULT 1);
CREATE TEMP TABLE wanted(request_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""


def path_of(records: Path) -> Path:
    """Where the outcomes of a HOME/records lie."""
    return records / DIRECTORY / FILE


def connect_writer(path: Path, most_bytes: int) -> sqlite3.Connection:
    """The one connection that writes; makes the file (mode 0600) and its tables. At most `most_bytes` on disk.

    An acknowledged transaction survives a power cut (`synchronous=EXTRA` with a rollback journal); what is deleted is
    overwritten (`secure_delete`).
    """
    with translated():
        for directory in (path.parent.parent, path.parent):
            directory.mkdir(mode=0o700, exist_ok=True, parents=directory != path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (
                "journal_mode=DELETE",
                "synchronous=EXTRA",
                "secure_delete=ON",
                "temp_store=MEMORY",
                "cache_size=-65536",
                f"max_page_count={most_bytes // 4096}",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            if _version(connection, path) == 0:
                connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}{_SECOND}COMMIT;")
            _upgrade(connection)
            connection.executescript(_INCOMING)
        except BaseException:
            connection.close()
            raise
        return connection


def connect_reader(path: Path) -> sqlite3.Connection | None:
    """A connection that only reads, None where there is no file yet. It must be able to write: what a kill left half
    done is taken back by whoever opens the file next."""
    if not path.exists():
        return None
    with translated():
        connection = sqlite3.connect(
            f"file:{path}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA cache_size=-65536").close()  # an index leads all over the table
            ready = _version(connection, path)
            if ready:
                _upgrade(connection)
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """0 where there are no tables yet."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise PermanentError(
            "store_too_new", f"{path.name} was written by a newer Seaway", "install that one"
        )
    return version


def _upgrade(connection: sqlite3.Connection) -> None:
    """What an older Seaway wrote, as this one needs it. Whoever opens the file first does it, wholly or not at all."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == 1:
            for statement in _SECOND.split(";"):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """SQLite's errors as ours, in one table."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        text = str(error)
        if "full" in text or getattr(error, "errno", None) == 28:
            raise PermanentError(
                "disk_full", "the outcomes have no space left; nothing of this was taken", "free some space"
            ) from error
        if any(sign in text for sign in _DAMAGED):
            raise PermanentError(
                "store_unavailable", f"{FILE} is damaged: {text}", "restore it from a backup, or move it away"
            ) from error
        cause = error.strerror if isinstance(error, OSError) else text
        raise TemporaryError("store_unavailable", f"{FILE} cannot be used: {cause}") from error
