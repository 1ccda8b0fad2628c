"""Reads outcomes.db beside the one who writes it: for live quality, `seaway explain` and the state of feedback.

Every read is short, since a reader holds up the writer's commits.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from seaway.core.errors import UserError
from seaway.core.provenance import AnsweredBy, Outcome
from seaway.core.quality import FeedbackState
from seaway.monitor.feedback import schema
from seaway.monitor.feedback.schema import PENDING, UNMATCHED, UNUSABLE

_PAGE: Final = 50_000
MOST_ROWS: Final = 2_000_000
"""Facts that one question may read: memory stays bounded."""

_ROWS: Final = """
SELECT seq, predicted_s, name, answer, truth, confidence, slices FROM facts INDEXED BY facts_joined
  WHERE state = 1 AND subject = ?1 AND predicted_s < ?2 AND (predicted_s, seq) > (?3, ?4)
  ORDER BY predicted_s, seq LIMIT ?5"""
_IN_STATE: Final = f"SELECT COUNT(*) FROM facts WHERE {schema.NOT_JOINED} AND state = ?"
_UNUSABLE: Final = f"""
SELECT COUNT(*) FROM facts JOIN subjects ON subjects.id = facts.subject
  WHERE {schema.NOT_JOINED} AND state = {UNUSABLE} AND endpoint = ?"""
_CONFLICTING: Final = """
SELECT COUNT(*) FROM conflicts JOIN facts USING (request_id, row, name) JOIN subjects ON subjects.id = facts.subject
  WHERE endpoint = ?"""


class JoinedFact(NamedTuple):
    """A fact and its prediction; `name` is "" for an outcome, else the KPI's, whose number is `truth`."""

    seq: int
    predicted_s: float
    name: str
    answer: str | float | None
    truth: str | float
    confidence: float | None
    slices: str | None


def joined(
    records: Path, endpoint: str, revision: int | None, since_s: float, until_s: float
) -> Iterator[tuple[int, list[JoinedFact]]]:
    """Revision by revision, pages of the facts whose prediction was answered from `since_s` until before `until_s`, in
    the order of their predictions. Raises `UserError("invalid_request")` where they are more than `MOST_ROWS`."""
    with opened(records) as connection:
        if connection is None:
            return
        subjects = fetch(
            connection,
            "SELECT id, revision FROM subjects WHERE endpoint = ? ORDER BY revision, id",
            endpoint,
        )
        left = MOST_ROWS
        for subject, number in subjects:
            if revision not in (None, number):
                continue
            after: tuple[float, int] = (since_s, -1)
            while page := fetch(connection, _ROWS, subject, until_s, *after, _PAGE):
                left -= len(page)
                if left < 0:
                    raise UserError(
                        "invalid_request",
                        f"more than {MOST_ROWS} outcomes are of that time",
                        "ask for a shorter time, or one revision",
                    )
                yield number, [JoinedFact._make(one) for one in page]
                after = (page[-1][1], page[-1][0])


def revisions(records: Path, endpoint: str) -> tuple[int, ...]:
    """Those of an endpoint that any outcome was joined with."""
    with opened(records) as connection:
        if connection is None:
            return ()
        query = "SELECT DISTINCT revision FROM subjects WHERE endpoint = ? ORDER BY revision"
        return tuple(number for (number,) in fetch(connection, query, endpoint))


def state(records: Path, endpoint: str) -> FeedbackState:
    """What no figure holds."""
    with opened(records) as connection:
        if connection is None:
            return FeedbackState()
        (pending, unmatched), unusable, conflicting = (
            [fetch(connection, _IN_STATE, kind)[0][0] for kind in (PENDING, UNMATCHED)],
            fetch(connection, _UNUSABLE, endpoint)[0][0],
            fetch(connection, _CONFLICTING, endpoint)[0][0],
        )
        return FeedbackState(pending, unmatched, unusable, conflicting)


def outcomes_of(records: Path, by: AnsweredBy, request_id: str) -> tuple[Outcome, ...]:
    """The outcomes known of a request of an endpoint, by row; those that still wait for their prediction too.

    `core.provenance.OutcomesOf` with the directory filled in.
    """
    with opened(records) as connection:
        if connection is None:
            return ()
        found = fetch(
            connection,
            "SELECT row, COALESCE(truth, value), COALESCE(at_s, received_s) FROM facts "
            "LEFT JOIN subjects ON subjects.id = facts.subject "
            "WHERE request_id = ? AND name = '' AND COALESCE(endpoint, ?2) = ?2 ORDER BY row",
            request_id,
            by.endpoint,
        )
    return tuple(Outcome(*one) for one in found)


@contextlib.contextmanager
def opened(records: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that only reads; None where no outcome was ever told."""
    connection = schema.connect_reader(schema.path_of(records))
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def fetch(connection: sqlite3.Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """All rows of a query. Raises as `monitor.feedback.outcomes`."""
    with schema.translated():
        return connection.execute(query, values).fetchall()
