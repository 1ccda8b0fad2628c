"""Reads outcomes and KPIs in the order in which they came to stand beside their predictions: each once, from any point on.
Called by `control.rollouts.labels` and `paired_labels`, every few seconds: it costs what has come since, not what is kept.

Every read is short, since a reader holds up the writer's commits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from seaway.monitor.feedback import reading
from seaway.monitor.feedback.schema import JOINED, NOT_JOINED, UNUSABLE

MOST: Final = 100_000
"""Facts that one read looks at: a whole body of feedback, so that the order of its rows says nothing."""

_AFTER: Final = """
SELECT f.arrived, f.request_id, s.revision, f.value, f.answer, f.truth, f.row, f.predicted_s, f.name
  FROM facts f INDEXED BY facts_arrived JOIN subjects s ON s.id = f.subject
  WHERE f.arrived > ?1 AND f.arrived <= ?2 AND f.name IN ('', ?7) AND f.unit = 1 AND f.predicted_s >= ?3
  AND s.endpoint = ?4 AND s.revision IN (?5, ?6) ORDER BY f.arrived"""
_FIRSTS: Final = f"""
SELECT request_id, name, MIN(arrived), MIN(IIF(state = {JOINED}, arrived, NULL)) FROM facts
  WHERE request_id IN (%s) AND name IN ('', ?) AND +arrived IS NOT NULL GROUP BY request_id, name"""
"""The plus keeps SQLite from reading all that arrived."""
_TOGETHER: Final = 500
_PAST: Final = f"""
SELECT ABS(answer - truth) FROM (SELECT answer, truth FROM facts INDEXED BY facts_joined WHERE state = {JOINED}
  AND subject = ?1 AND predicted_s < ?2 AND name = '' ORDER BY predicted_s DESC, seq DESC LIMIT ?3)
  WHERE typeof(answer) = 'real'"""
_PAST_FIGURES: Final = f"""
SELECT received_s, truth FROM facts INDEXED BY facts_joined WHERE state = {JOINED}
  AND subject = ?1 AND predicted_s < ?2 AND name = ?4 ORDER BY predicted_s DESC, seq DESC LIMIT ?3"""
_PAST_OUTCOMES: Final = (
    f"""
SELECT received_s, value, answer, truth FROM facts INDEXED BY facts_joined WHERE state = {JOINED}
  AND subject = ?1 AND predicted_s < ?2 AND name = '' ORDER BY predicted_s DESC, seq DESC LIMIT ?3""",
    f"""
SELECT received_s, value, answer, truth FROM facts INDEXED BY facts_unjoined WHERE {NOT_JOINED} AND state = {UNUSABLE}
  AND subject = ?1 AND predicted_s < ?2 AND name = '' LIMIT ?3""",
)
"""Where answers are numbers and outcomes are names, none of them can be compared with its answer."""
_SUBJECTS: Final = "SELECT id FROM subjects WHERE endpoint = ? AND revision = ? ORDER BY id"


class Arrived(NamedTuple):
    """An outcome (`name` is ""), or a KPI of that name, of a unit's request.

    `value` is its text; `answer`, `truth` are None where it cannot be compared with the answer (a KPI's number is `truth`).
    `first` says whether it is the first of its name of its request, `first_judged` whether it is the first that can be compared. `number` is its place among
    all that came, `predicted_s` when the request was answered.
    """

    revision: int
    value: str
    answer: str | float | None
    truth: str | float | None
    first: bool
    first_judged: bool
    number: int
    request_id: str
    row: int
    predicted_s: float
    name: str = ""


class Arrivals(NamedTuple):
    """What has come; `through` is the number of the last fact that was looked at, `last` that of the last there is."""

    found: list[Arrived]
    through: int
    last: int


def after(
    records: Path,
    number: int,
    endpoint: str,
    revisions: tuple[int, int],
    since_s: float,
    most: int = MOST,
    kpi: str = "",
) -> Arrivals:
    """The outcomes, and those KPIs where one is named, that came after the fact of this `number`, of requests that two
    revisions answered from `since_s` on.

    Blocking. Raises as `monitor.feedback.outcomes`.
    """
    with reading.opened(records) as connection:
        if connection is None:
            return Arrivals([], number, 0)
        last = _last(connection)
        through = min(last, number + most)
        rows = reading.fetch(connection, _AFTER, number, through, since_s, endpoint, *revisions, kpi)
        return Arrivals(_once(connection, rows, kpi), max(through, number), last)


def before(records: Path, endpoint: str, revisions: Sequence[int], since_s: float) -> int:
    """The number of the last fact that came before every outcome of a request that these revisions answered from `since_s` on."""
    with reading.opened(records) as connection:
        if connection is None:
            return 0
        last = _last(connection)
        found = [last]
        for revision in revisions:
            for (subject,) in reading.fetch(connection, _SUBJECTS, endpoint, revision):
                for query in _EARLIEST:
                    ((earliest,),) = reading.fetch(connection, query, subject, since_s)
                    found.append(last if earliest is None else earliest - 1)
        return min(found)


def past_errors(records: Path, endpoint: str, revision: int, until_s: float, most: int) -> list[float]:
    """The absolute errors of a revision's numbers, of its latest labelled rows that were answered before `until_s`."""
    return [error for (error,) in _past(records, _PAST, endpoint, revision, until_s, most)]


class PastOutcome(NamedTuple):
    """When an outcome came, its text, and its answer and truth where they can be compared."""

    received_s: float
    value: str
    answer: str | float | None
    truth: str | float | None


def past_outcomes(
    records: Path, endpoint: str, revision: int, until_s: float, most: int
) -> list[PastOutcome]:
    """The latest labelled rows of a revision that were answered before `until_s`: at most so many that can be compared with
    their answers, and so many that cannot."""
    rows = (_past(records, query, endpoint, revision, until_s, most) for query in _PAST_OUTCOMES)
    return [PastOutcome._make(row) for part in rows for row in part]


def past_figures(
    records: Path, endpoint: str, revision: int, until_s: float, most: int, name: str
) -> list[tuple[float, float]]:
    """A KPI's values, each after the time when it came, of the latest rows of a revision that have one and were answered
    before `until_s`."""
    rows = _past(records, _PAST_FIGURES, endpoint, revision, until_s, most, name)
    return [(received_s, value) for received_s, value in rows]


def _past(
    records: Path, query: str, endpoint: str, revision: int, until_s: float, most: int, *more: str
) -> list[tuple[Any, ...]]:
    with reading.opened(records) as connection:
        if connection is None:
            return []
        subjects = reading.fetch(connection, _SUBJECTS, endpoint, revision)
        found = [
            row
            for (subject,) in subjects
            for row in reading.fetch(connection, query, subject, until_s, most, *more)
        ]
        return found[:most]


_EARLIEST: Final = (
    f"SELECT MIN(arrived) FROM facts INDEXED BY facts_joined WHERE state = {JOINED} AND subject = ? AND predicted_s >= ?",
    "SELECT MIN(arrived) FROM facts INDEXED BY facts_unjoined WHERE state <> 1 AND subject = ? AND predicted_s >= ?",
)


def _last(connection: sqlite3.Connection) -> int:
    """The highest number that any fact was given."""
    ((last,),) = reading.fetch(connection, "SELECT last FROM arrivals")
    return int(last)


def _once(connection: sqlite3.Connection, rows: list[tuple[Any, ...]], kpi: str) -> list[Arrived]:
    """Which are the first of their request: of rows that came earlier too. Those erased meanwhile are left out."""
    firsts: dict[tuple[str, str], tuple[int, int | None]] = {}
    ids = list(dict.fromkeys(row[1] for row in rows))
    for start in range(0, len(ids), _TOGETHER):
        part = ids[start : start + _TOGETHER]
        query = _FIRSTS % ", ".join("?" * len(part))
        for request_id, name, first, judged in reading.fetch(connection, query, *part, kpi):
            firsts[request_id, name] = first, judged
    found = []
    for arrived, request_id, revision, value, answer, truth, row, predicted_s, name in rows:
        first, first_judged = firsts.get((request_id, name), (None, None))
        if arrived in (first, first_judged):
            which = arrived == first, arrived == first_judged
            found.append(
                Arrived(revision, value, answer, truth, *which, arrived, request_id, row, predicted_s, name)
            )
    return found
