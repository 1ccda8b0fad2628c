"""Live quality, counted from the joined facts: exact, and the same in whatever order they came.

Counts are integers; sums of numbers are `math.fsum`'s, the exact sum rounded once, so that no order changes a figure.
Called by `control.feedback`.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core.answers import MAX_CLASSES, OTHER
from seaway.core.ledger import Page
from seaway.core.quality import (
    Calibration,
    CalibrationBin,
    ClassQuality,
    ClassScore,
    GroupQuality,
    KpiQuality,
    NumberQuality,
    Quality,
)
from seaway.monitor import readable
from seaway.monitor.feedback import reading as outcomes_read
from seaway.monitor.feedback import schema
from seaway.monitor.feedback.reading import JoinedFact

WINDOW_S: Final = 3600
BINS: Final = 10
MOST_GROUPS: Final = 1000
MOST_KPIS: Final = 100
BY_REVISION: Final = "revision"
BY_WINDOW: Final = "window"
Floats = npt.NDArray[np.float64]


class CountedRows(NamedTuple):
    """The ledger of an endpoint for whole seconds: all that was answered from `since_s` until before `until_s`."""

    since_s: int
    until_s: int
    pages: Sequence[Page]


RowsAnswered = Callable[[str, float, float], CountedRows | None]
"""As much of a time (endpoint, since_s, until_s) as the ledger holds; None where that is nothing of it."""


class Question(msgspec.Struct, frozen=True):
    """`by` is `revision`, `window` (an hour, by the time of the prediction) or the name of a slice; `only` keeps the facts
    of one slice's value."""

    endpoint: str
    since_s: float
    until_s: float
    by: str = BY_REVISION
    revision: int | None = None
    only: tuple[str, str] | None = None


_Key = tuple[int, int | None, str | None]


def read(records: Path, question: Question, answered: RowsAnswered | None = None) -> Quality:
    """The answer to a question. Blocking. Raises as `outcomes_read.joined`, and `PermanentError("records_unreadable")`."""
    readable.check(records, schema.path_of(records).parent)
    found: dict[_Key, list[JoinedFact]] = {}
    slices = _Slices()
    pages = outcomes_read.joined(
        records, question.endpoint, question.revision, question.since_s, question.until_s
    )
    for revision, page in pages:
        for key, facts in _split(revision, page, question, slices):
            found.setdefault(key, []).extend(facts)
    told = sorted(found, key=lambda key: (-len(found[key]), key))[:MOST_GROUPS]
    counted = _counted(question, answered)
    rows = None if counted is None else _Rows(counted, question.by == BY_WINDOW)
    return Quality(
        endpoint=question.endpoint,
        since=_iso(question.since_s),
        until=_iso(question.until_s),
        by=question.by,
        groups=tuple(_group(key, found[key], rows) for key in sorted(told, key=_order)),
        state=outcomes_read.state(records, question.endpoint),
        counted_since=None if counted is None else _iso(counted.since_s),
        counted_until=None if counted is None else _iso(counted.until_s),
        groups_left_out=len(found) - len(told),
        notes=(
            *(() if any(found.values()) else _why_none(records, question, slices)),
            *(() if counted is None else _why_part(counted, found.values())),
        ),
    )


def _why_none(records: Path, question: Question, slices: _Slices) -> Iterator[str]:
    """What was asked for that no outcome is of."""
    known = outcomes_read.revisions(records, question.endpoint)
    if question.revision is not None and question.revision not in known:
        told = ", ".join(map(str, known)) or "none"
        yield f"no outcome was told of revision {question.revision}; there are outcomes of revisions: {told}"
    asked = [] if question.by in (BY_REVISION, BY_WINDOW) else [question.by]
    asked += [] if question.only is None else [question.only[0]]
    names = slices.names()
    for name in asked:
        if names and name not in names:
            yield f"no outcome of that time has a slice {name!r}; their slices: {', '.join(sorted(names))}"


def _order(key: _Key) -> tuple[int, int, str]:
    return key[0], key[1] or 0, key[2] or ""


def _split(
    revision: int, facts: Iterable[JoinedFact], question: Question, slices: _Slices
) -> Iterator[tuple[_Key, Iterable[JoinedFact]]]:
    """The facts by the group that they count in."""
    if question.only is not None:
        name, value = question.only
        facts = [fact for fact in facts if slices.value(fact, name) == value]
    if question.by == BY_REVISION:
        yield (revision, None, None), facts
    elif question.by == BY_WINDOW:
        for window, run in itertools.groupby(facts, lambda fact: int(fact.predicted_s // WINDOW_S)):
            yield (revision, window * WINDOW_S, None), run
    else:
        groups: dict[str | None, list[JoinedFact]] = {}
        for fact in facts:
            groups.setdefault(slices.value(fact, question.by), []).append(fact)
        for found, part in groups.items():
            if found is not None:
                yield (revision, None, found), part


class _Slices:
    """Reads a fact's slices; equal texts are read once."""

    def __init__(self) -> None:
        self._known: dict[str | None, dict[str, str]] = {None: {}}

    def value(self, fact: JoinedFact, name: str) -> str | None:
        text = fact.slices
        if text not in self._known:
            self._known[text] = msgspec.json.decode(text or "{}", type=dict[str, str])
        return self._known[text].get(name)

    def names(self) -> set[str]:
        """Of all slices that were read."""
        return {name for slices in self._known.values() for name in slices}


def _counted(question: Question, answered: RowsAnswered | None) -> CountedRows | None:
    """What the ledger tells of the question; None for slices, which it does not know."""
    if answered is None or question.only is not None or question.by not in (BY_REVISION, BY_WINDOW):
        return None
    return answered(question.endpoint, question.since_s, question.until_s)


def _why_part(counted: CountedRows, groups: Iterable[Sequence[JoinedFact]]) -> Iterator[str]:
    """That the share is of a part of the outcomes."""
    earlier = sum(not fact.name and fact.predicted_s < counted.since_s for facts in groups for fact in facts)
    if earlier:
        yield (
            f"share is of predictions since {_iso(counted.since_s)}: answered rows are counted for two days, and {earlier:,} "
            "outcomes are of earlier ones"
        )


class _Rows:
    """The rows answered by group, beside the outcomes of the same seconds."""

    def __init__(self, counted: CountedRows, by_window: bool) -> None:
        self._counted = counted
        self._rows: dict[_Key, int] = {}
        for page in counted.pages:
            for second in page.seconds:
                key = (page.revision, second.at_s // WINDOW_S * WINDOW_S if by_window else None, None)
                self._rows[key] = self._rows.get(key, 0) + second.counts.rows

    def answered(self, key: _Key) -> int:
        return self._rows.get(key, 0)

    def labelled(self, outcomes: Iterable[JoinedFact]) -> int:
        first_s, end_s = self._counted.since_s, self._counted.until_s
        return sum(first_s <= fact.predicted_s < end_s for fact in outcomes)


def _group(key: _Key, facts: Sequence[JoinedFact], rows: _Rows | None) -> GroupQuality:
    revision, window_s, value = key
    outcomes = [fact for fact in facts if not fact.name]
    named = [fact for fact in outcomes if isinstance(fact.answer, str)]
    numbered = [fact for fact in outcomes if isinstance(fact.answer, float)]
    figures: dict[str, list[float]] = {}
    for fact in facts:
        if fact.name:
            figures.setdefault(fact.name, []).append(float(fact.truth))
    told = sorted(figures, key=lambda name: (-len(figures[name]), name))[:MOST_KPIS]
    return GroupQuality(
        revision=revision,
        labelled=len(outcomes),
        window_at=None if window_s is None else _iso(window_s),
        slice=value,
        answered=None if rows is None else rows.answered(key),
        answered_labelled=None if rows is None else rows.labelled(outcomes),
        classes=classes(
            [str(fact.truth) for fact in named],
            [str(fact.answer) for fact in named],
            [fact.confidence for fact in named],
        )
        if named
        else None,
        numbers=numbers(
            np.array([fact.truth for fact in numbered], dtype=np.float64),
            np.array([fact.answer for fact in numbered], dtype=np.float64),
        )
        if numbered
        else None,
        kpis=tuple(kpi(name, figures[name]) for name in sorted(told)),
        kpis_left_out=len(figures) - len(told),
    )


def classes(
    truths: Sequence[str], answers: Sequence[str], confidences: Sequence[float | None]
) -> ClassQuality:
    """Quality of answered classes; at least one row."""
    cells = Counter(zip(truths, answers, strict=True))
    support, answered, correct = Counter[str](), Counter[str](), Counter[str]()
    for (truth, answer), count in cells.items():
        support[truth] += count
        answered[answer] += count
        correct[truth] += count if truth == answer else 0
    names = sorted(support | answered)
    scores = [_score(name, support[name], answered[name], correct[name]) for name in names]
    total, right = len(truths), sum(correct.values())
    kept = names
    if len(names) > MAX_CLASSES:
        by_size = sorted(names, key=lambda name: (-(support[name] + answered[name]), name))
        kept = sorted(by_size[:MAX_CLASSES])
    known = frozenset(kept)
    shown = [score for score in scores if score.name in known]
    folded = [score for score in scores if score.name not in known]
    if folded:
        sums = (sum(getattr(s, what) for s in folded) for what in ("support", "answered", "correct"))
        shown.append(_score(OTHER, *sums))
    confusion = Counter[tuple[str, str]]()
    for (truth, answer), count in cells.items():
        confusion[truth if truth in known else OTHER, answer if answer in known else OTHER] += count
    return ClassQuality(
        n=total,
        correct=right,
        accuracy=right / total,
        precision=math.fsum(s.precision for s in scores) / len(scores),
        recall=math.fsum(s.recall for s in scores) / len(scores),
        f1=math.fsum(s.f1 for s in scores) / len(scores),
        classes=tuple(shown),
        confusion=tuple((truth, answer, count) for (truth, answer), count in sorted(confusion.items())),
        calibration=_calibration(truths, answers, confidences),
    )


def _score(name: str, support: int, answered: int, correct: int) -> ClassScore:
    return ClassScore(
        name,
        support,
        answered,
        correct,
        precision=correct / answered if answered else 0.0,
        recall=correct / support if support else 0.0,
        f1=2 * correct / (support + answered) if support + answered else 0.0,
    )


def _calibration(
    truths: Sequence[str], answers: Sequence[str], confidences: Sequence[float | None]
) -> Calibration | None:
    sure = np.array([np.nan if one is None else one for one in confidences], dtype=np.float64)
    right = np.fromiter(map(str.__eq__, truths, answers), dtype=bool, count=len(truths))
    usable = (sure >= 0.0) & (sure <= 1.0)
    sure, right = sure[usable], right[usable]
    total = len(sure)
    if not total:
        return None
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    bins, apart = [], []
    for index in range(BINS):
        here = places == index
        count, correct, confidence = int(here.sum()), int(right[here].sum()), math.fsum(sure[here])
        bins.append(CalibrationBin(index / BINS, count, correct, confidence / count if count else 0.0))
        apart.append(abs(correct - confidence))
    return Calibration(total, math.fsum(apart) / total, math.fsum((sure - right) ** 2) / total, tuple(bins))


def numbers(truths: Floats, answers: Floats) -> NumberQuality:
    """Quality of answered numbers `(n,)`, n at least 1; their differences are finite."""
    errors = answers - truths
    size = np.abs(errors)
    worst = float(size.max())
    # By a power of two, which is exact, so that no sum and no square is beyond what a number holds.
    scale = 2.0 ** (math.frexp(worst)[1] - 1) if worst else 1.0
    scaled, count = errors / scale, len(errors)
    p50, p90, p99 = (float(q) for q in np.quantile(size, (0.5, 0.9, 0.99), method="inverted_cdf"))
    return NumberQuality(
        n=count,
        mae=math.fsum(np.abs(scaled)) / count * scale,
        rmse=math.sqrt(math.fsum(scaled**2) / count) * scale,
        bias=math.fsum(scaled) / count * scale,
        p50=p50,
        p90=p90,
        p99=p99,
        worst=worst,
    )


def kpi(name: str, figures: Sequence[float]) -> KpiQuality:
    """One business figure; at least one number."""
    total: float | None
    try:
        total = math.fsum(figures)
    except OverflowError:
        total = None
    return KpiQuality(name, len(figures), total, None if total is None else total / len(figures))


def _iso(at_s: float) -> str:
    at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
