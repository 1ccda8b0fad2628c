"""The outcomes of a home: facts of feedback, each beside the prediction that it belongs to, in one SQLite file.

One process writes (the control process, or a verb that holds HOME/lock), on one thread: `monitor.feedback.writer`.
What a prediction was is copied when the fact is joined, so that the workers' records may be overwritten later.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from seaway.core.feedback import Fact, FeedbackAnswer, Lookup
from seaway.core.provenance import AnsweredBy
from seaway.monitor.feedback import schema
from seaway.monitor.feedback.join import Asked, matches
from seaway.monitor.feedback.schema import PENDING, UNMATCHED, UNUSABLE

_FIRST_RETRY_S: Final = 1.0
BATCH: Final = 10_000
"""Waiting facts looked up in one go, and old ones forgotten in one: a request never waits long behind them."""

_TAKE: Final = """
INSERT OR IGNORE INTO facts SELECT ?1 + n, request_id, row, name, value, at_s, ?2, state, next_s, subject, predicted_s,
  answer, truth, confidence, slices, IIF(subject IS NULL, NULL, ?3 + n), unit FROM incoming WHERE taken = 1 ORDER BY n"""
_CONTRADICT: Final = """
INSERT OR IGNORE INTO conflicts SELECT i.request_id, i.row, i.name, i.value, ?1 FROM incoming i
  LEFT JOIN facts f USING (request_id, row, name) WHERE i.taken = 0 OR f.value <> i.value"""
_TELL: Final = f"""
SELECT i.part, SUM(f.seq IS ?1 + i.n), SUM(i.taken = 1 AND f.seq <> ?1 + i.n AND f.value = i.value),
  SUM(i.taken = 0 OR f.value <> i.value), SUM(f.seq IS ?1 + i.n AND f.state = 0),
  SUM(f.seq IS ?1 + i.n AND f.state = {UNUSABLE})
  FROM incoming i LEFT JOIN facts f USING (request_id, row, name) GROUP BY i.part"""

_WAITS: Final = f"""
SELECT seq, request_id, row, name, value, slices, received_s, next_s FROM facts
  WHERE {schema.NOT_JOINED} AND state = {PENDING} AND next_s"""
# Whoever waits for longer than any wait lasts was told so before the clock was set back.
_DUE: Final = f"{_WAITS} <= ?1 UNION ALL {_WAITS} > ?1 + ?2 ORDER BY next_s LIMIT ?3"


class _Waiting(NamedTuple):
    seq: int
    request_id: str
    row: int
    name: str
    value: str
    slices: str | None
    received_s: float


class OutcomeRules(msgspec.Struct, frozen=True):
    """`horizon_s`: how long a fact waits for its prediction before it counts as unmatched. `retain_s`: how long it is
    kept after it came. `most_bytes`: the file's size, past which feedback is refused (`disk_full`)."""

    horizon_s: float = 3600.0
    retain_s: float = 400 * 86_400.0
    most_bytes: int = 16 * 2**30


class Outcomes:
    """Opened at the first use, and again after an error. Methods block and belong to one thread.

    All raise `PermanentError` (`disk_full`, `store_unavailable` where the file is damaged, `store_too_new`) and
    `TemporaryError("store_unavailable")`; then nothing of the call was stored.
    """

    def __init__(self, records: Path, lookup: Lookup, rules: OutcomeRules) -> None:
        self._path = schema.path_of(records)
        self._lookup = lookup
        self._rules = rules
        self._connection: sqlite3.Connection | None = None
        self._subjects: dict[tuple[str, int, str], int] = {}

    def add(self, parts: Sequence[Sequence[Fact]], now_s: float) -> list[FeedbackAnswer]:
        """Take the facts of several requests in one transaction, durable when this returns; one answer for each."""
        facts = [fact for part in parts for fact in part]
        ids = _places(fact.request_id for fact in facts)
        asked = [Asked(ids[f.request_id], f.row, f.name, f.value, f.slices) for f in facts]
        found = matches(asked, self._lookup([text.encode() for text in ids]))
        owners = (part for part, own in enumerate(parts) for _ in own)
        with self._transaction() as connection:
            base = connection.execute("SELECT COALESCE(MAX(seq), 0) + 1 FROM facts").fetchone()[0]
            arrived = _arrivals(connection, len(facts))
            connection.execute("DELETE FROM incoming")
            connection.executemany(
                "INSERT INTO incoming VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
                (
                    (
                        *(n, part, f.request_id, f.row, f.name, f.value, f.id, f.at_s, m.state),
                        now_s + _FIRST_RETRY_S if m.state == PENDING else None,
                        *(self._subject(connection, m.by), *m[2:]),
                    )
                    for n, (f, m, part) in enumerate(zip(facts, found, owners, strict=True))
                ),
            )
            if any(fact.id is not None for fact in facts):
                _check_ids(connection, now_s)
            connection.execute(_TAKE, (base, now_s, arrived))
            connection.execute(_CONTRADICT, (now_s,))
            told = {part: counts for part, *counts in connection.execute(_TELL, (base,))}
        return [FeedbackAnswer(0, *told.get(part, ())) for part in range(len(parts))]

    def retry(self, now_s: float) -> int:
        """Look again for the predictions of facts that wait and are due; returns how many facts were looked at.

        Those that waited longer than the horizon become unmatched.
        """
        if not self._path.exists():
            return 0
        with self._open() as connection:
            longest_s = max(self._rules.horizon_s, _FIRST_RETRY_S)
            found = connection.execute(_DUE, (now_s, longest_s, BATCH)).fetchall()
        if not found:
            return 0
        waiting = [_Waiting(*one[:-1]) for one in found]
        ids = _places(one.request_id for one in waiting)
        asked = [Asked(ids[w.request_id], w.row, w.name, w.value, w.slices) for w in waiting]
        seen = matches(asked, self._lookup([text.encode() for text in ids]))
        with self._transaction() as connection:
            arrived = _arrivals(connection, len(waiting))
            connection.executemany(
                "UPDATE facts SET state = ?, next_s = ?, subject = ?, predicted_s = ?, answer = ?, truth = ?, "
                "confidence = ?, slices = ?, unit = ?, arrived = ? WHERE seq = ? AND state = 0",
                [
                    (
                        *self._next(m.state, w.received_s, now_s),
                        self._subject(connection, m.by),
                        *m[2:],
                        None if m.by is None else arrived + n,
                        w.seq,
                    )
                    for n, (m, w) in enumerate(zip(seen, waiting, strict=True))
                ],
            )
        return len(waiting)

    def forget(self, now_s: float) -> int:
        """Delete facts that are past their retention, a bounded number; returns how many."""
        if not self._path.exists():
            return 0
        before_s = now_s - self._rules.retain_s
        with self._transaction() as connection:
            # The oldest have the lowest numbers, so no index on the time is needed.
            deleted = connection.execute(
                "DELETE FROM facts WHERE seq IN (SELECT seq FROM facts ORDER BY seq LIMIT ?) AND received_s < ?",
                (BATCH, before_s),
            ).rowcount
            for table in ("conflicts", "ids"):
                connection.execute(f"DELETE FROM {table} WHERE received_s < ?", (before_s,))
        return deleted

    def erase(self, request_ids: Sequence[str]) -> int:
        """Delete all that was told of these requests; returns how many facts. Idempotent; the bytes are overwritten."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM wanted")
            connection.executemany(
                "INSERT OR IGNORE INTO wanted VALUES (?)", ((text,) for text in request_ids)
            )
            deleted = connection.execute("DELETE FROM facts WHERE request_id IN wanted").rowcount
            for table in ("conflicts", "ids"):
                connection.execute(f"DELETE FROM {table} WHERE request_id IN wanted")
        return deleted

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._subjects.clear()

    def _next(self, state: int, received_s: float, now_s: float) -> tuple[int, float | None]:
        """What a fact that was looked for becomes, and when it is looked for again: after as long as it has waited."""
        waited_s = abs(now_s - received_s)  # a clock that was set back makes it negative
        if state != PENDING:
            return state, None
        if waited_s > self._rules.horizon_s:
            return UNMATCHED, None
        return PENDING, now_s + max(_FIRST_RETRY_S, waited_s)

    def _subject(self, connection: sqlite3.Connection, by: AnsweredBy | None) -> int | None:
        if by is None:
            return None
        key = (by.endpoint, by.revision, by.digest)
        if key not in self._subjects:
            connection.execute(
                "INSERT OR IGNORE INTO subjects(endpoint, revision, digest) VALUES (?, ?, ?)", key
            )
            query = "SELECT id FROM subjects WHERE endpoint = ? AND revision = ? AND digest = ?"
            self._subjects[key] = connection.execute(query, key).fetchone()[0]
        return self._subjects[key]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection. After any error it is closed, which takes a transaction back: what a failed fsync left in
        the cache is never taken for written."""
        try:
            with schema.translated():
                if self._connection is not None and not self._path.exists():
                    self.close()  # somebody took the file away: what is written to it now would be lost
                if self._connection is None:
                    self._connection = schema.connect_writer(self._path, self._rules.most_bytes)
                yield self._connection
        except BaseException:
            self.close()
            raise


def _arrivals(connection: sqlite3.Connection, count: int) -> int:
    """The first of so many numbers that no other fact has had, not even one that was erased."""
    connection.execute("UPDATE arrivals SET last = last + ?", (count,))
    last: int = connection.execute("SELECT last FROM arrivals").fetchone()[0]
    return last - count + 1


def _places(texts: Iterator[str]) -> dict[str, int]:
    """Each distinct text and its place."""
    found: dict[str, int] = {}
    for text in texts:
        found.setdefault(text, len(found))
    return found


def _check_ids(connection: sqlite3.Connection, now_s: float) -> None:
    """A fact whose sender's id was used for another one is not taken."""
    connection.execute(
        "INSERT OR IGNORE INTO ids SELECT id, name, request_id, row, value, ? FROM incoming "
        "WHERE id IS NOT NULL ORDER BY n",
        (now_s,),
    )
    connection.execute(
        "UPDATE incoming SET taken = 0 WHERE id IS NOT NULL AND EXISTS (SELECT 1 FROM ids WHERE ids.id = incoming.id "
        "AND ids.name = incoming.name AND (ids.request_id <> incoming.request_id OR ids.row <> incoming.row "
        "OR ids.value <> incoming.value))"
    )
