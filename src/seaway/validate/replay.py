"""Recorded requests answered twice: how often, where and how far a candidate's answers differ from what was live.

Called by `wiring.replays`, which reads what was recorded and runs the candidate. Pure: the same requests give the same report.
"""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core import agreement, feedback
from seaway.core.agreement import Rule
from seaway.core.answers import AnswerSpec, read_answers
from seaway.core.captures import Cell
from seaway.core.checks import Verdict
from seaway.core.evidence import combining, pairs, words
from seaway.core.evidence.pairs import Labelled, PairLook
from seaway.core.replays import (
    Change,
    Cost,
    LabelledPairs,
    LeftOut,
    MovedRow,
    Numbers,
    ReplayReport,
    Share,
    SliceMoved,
)
from seaway.core.tables import Table
from seaway.core.tensors import Array, Tensors
from seaway.validate import bootstrap, slices

MOST_MOVED: Final = 20
MOST_SLICES: Final = 10
MOST_CHANGES: Final = 10
MOST_FAILURES: Final = 5
Floats = npt.NDArray[np.float64]


class Said(msgspec.Struct, frozen=True):
    """What one model said of a request's rows: class names or numbers `(rows,)`, other outputs as `(rows, k)`; how sure it
    was, where it tells."""

    values: Array
    sure: Floats | None = None


class Replayed(msgspec.Struct, frozen=True):
    """One recorded request and both answers; `said` is None where the candidate failed, and `failure` says how.

    `cells` are its input columns by name, each `(rows,)`; `truths` are the outcomes known, as text, by row.
    """

    request_id: str
    at_s: float
    rows: int
    live: Said
    said: Said | None
    failure: str | None = None
    cells: Mapping[str, Sequence[Cell]] = {}
    truths: Mapping[int, str] = {}


class About(msgspec.Struct, frozen=True):
    """What a report is about, and what it could not look at."""

    endpoint: str
    candidate: str
    digest: str
    compared_with: str
    at_s: float
    rule: Rule = Rule()
    left_out: tuple[LeftOut, ...] = ()
    cost: Cost | None = None
    warnings: tuple[str, ...] = ()


class _Pair(msgspec.Struct, frozen=True):
    """One request with the row that stands for it; `differs` is `(rows,)`."""

    request: Replayed
    said: Said
    row: int
    differs: npt.NDArray[np.bool_]


def read(spec: AnswerSpec | None, outputs: Tensors, rows: int) -> Said:
    """What the outputs say. Without an answer in the Signature: the numbers of all outputs that have a row for each.

    Raises `KeyError`, `TypeError` or `ValueError` for outputs that are not what the Signature says.
    """
    if spec is not None:
        return Said(*read_answers(spec, outputs))
    parts = [
        np.asarray(array, dtype=np.float64).reshape(rows, -1)
        for array in outputs.values()
        if array.shape[:1] == (rows,) and array.dtype.kind in "fiub"
    ]
    if not parts:
        raise ValueError("no output has numbers for each row")
    return Said(np.concatenate(parts, axis=1))


def report(about: About, requests: Sequence[Replayed]) -> ReplayReport:
    """What the requests show; at least one."""
    found = [_pair(one, one.said, about.rule) for one in requests if one.said is not None]
    times = [one.at_s for one in requests]
    standing = np.array([bool(pair.differs[pair.row]) for pair in found], dtype=np.bool_)
    looked, moved_slices = _slices(found, standing)
    failures = Counter(one.failure for one in requests if one.failure is not None)
    return ReplayReport(
        endpoint=about.endpoint,
        candidate=about.candidate,
        digest=about.digest,
        compared_with=about.compared_with,
        first_at=iso(min(times)),
        last_at=iso(max(times)),
        at=iso(about.at_s),
        requests=len(requests),
        rows=sum(one.rows for one in requests),
        differ=share(int(standing.sum()), len(found)),
        rows_differ=sum(int(pair.differs.sum()) for pair in found),
        failed=len(requests) - len(found),
        failures=tuple(LeftOut(why, count) for why, count in failures.most_common(MOST_FAILURES)),
        left_out=about.left_out,
        numbers=_numbers(found),
        changes=_changes(found),
        moved=_moved(found),
        slices=moved_slices,
        slices_seen=looked,
        cost=about.cost,
        labelled=_labelled(requests, about.at_s, about.rule),
        warnings=about.warnings,
    )


def share(count: int, of: int) -> Share:
    """With Wilson's interval; of none, all is possible."""
    if not of:
        return Share(0, 0, 0.0, 1.0)
    return Share(count, of, *bootstrap.wilson(count / of, of))


def iso(at_s: float) -> str:
    """UTC, to the second."""
    at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _pair(request: Replayed, said: Said, rule: Rule) -> _Pair:
    row = agreement.draw(request.request_id.encode()).row(request.rows)
    return _Pair(request, said, row, _differs(request.live.values, said.values, rule))


def _differs(live: Array, candidate: Array, rule: Rule) -> npt.NDArray[np.bool_]:
    """Row by row; answers of another form differ in every row."""
    if live.shape != candidate.shape or _numeric(live) != _numeric(candidate):
        return np.ones(len(live), dtype=np.bool_)
    if not _numeric(live):
        return np.asarray(live != candidate, dtype=np.bool_)
    near = agreement.close(live, candidate, 0.0 if rule.by == "exact" else rule.tolerance)
    return np.asarray(~near.reshape(len(near), -1).all(axis=1), dtype=np.bool_)


def _numeric(values: Array) -> bool:
    return values.dtype.kind in "fiu"


def _text(values: Array, row: int) -> str | float:
    """One row's answer, for people."""
    if values.ndim > 1:
        first = ", ".join(f"{value:.4g}" for value in values[row, :3].tolist())
        return f"[{first}{', …' if values.shape[1] > 3 else ''}]"
    return float(values[row]) if _numeric(values) else str(values[row])


def _numbers(found: Sequence[_Pair]) -> Numbers | None:
    """Where every answer is one number."""
    if not found or not all(_single(pair.request.live) and _single(pair.said) for pair in found):
        return None
    live = np.concatenate([pair.request.live.values for pair in found]).astype(np.float64)
    candidate = np.concatenate([pair.said.values for pair in found]).astype(np.float64)
    both = np.isfinite(live) & np.isfinite(candidate)
    if not both.any():
        return None
    live, candidate = live[both], candidate[both]
    apart = np.abs(candidate - live)
    p50, p90 = (float(q) for q in np.quantile(apart, (0.5, 0.9)))
    means = [math.fsum(values) / len(values) for values in (live.tolist(), candidate.tolist())]
    return Numbers(means[0], means[1], p50, p90, float(apart.max()))


def _single(said: Said) -> bool:
    return said.values.ndim == 1 and _numeric(said.values)


def _changes(found: Sequence[_Pair]) -> tuple[Change, ...]:
    """Classes that became others, the most frequent first."""
    counted = Counter[tuple[str, str]]()
    for pair in found:
        live, candidate = pair.request.live.values, pair.said.values
        if live.shape == candidate.shape and not (_numeric(live) or _numeric(candidate)):
            counted.update((str(live[row]), str(candidate[row])) for row in np.flatnonzero(pair.differs))
    told = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:MOST_CHANGES]
    return tuple(Change(live, candidate, rows) for (live, candidate), rows in told)


def _moved(found: Sequence[_Pair]) -> tuple[MovedRow, ...]:
    """The rows that changed most: by how far, or by how sure the candidate is of its new answer."""
    ranked: list[tuple[float, int, int]] = []
    for place, pair in enumerate(found):
        weights = _weights(pair)
        ranked += [(-float(weights[row]), place, int(row)) for row in np.flatnonzero(pair.differs)]
    ranked.sort()
    return tuple(_moved_row(found[place], row, -weight) for weight, place, row in ranked[:MOST_MOVED])


def _weights(pair: _Pair) -> Floats:
    """How much each row changed; NaN against a number changed most."""
    live, candidate = pair.request.live.values, pair.said.values
    if _numeric(live) and _numeric(candidate) and live.shape == candidate.shape:
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(candidate.astype(np.float64) - live.astype(np.float64))
        apart = np.where(np.isnan(apart), np.inf, apart).reshape(len(live), -1)
        found: Floats = apart.max(axis=1)
        return found
    if pair.said.sure is not None and len(pair.said.sure) == len(live):
        return np.nan_to_num(pair.said.sure, nan=0.0)
    return np.zeros(len(live))


def _moved_row(pair: _Pair, row: int, weight: float) -> MovedRow:
    live, candidate = pair.request.live, pair.said
    told = row < len(candidate.values)
    by = weight if _numeric(live.values) or candidate.sure is not None else None
    truth = pair.request.truths.get(row)
    return MovedRow(
        pair.request.request_id,
        row,
        _text(live.values, row),
        _text(candidate.values, row) if told else "nothing",
        by if by is not None and math.isfinite(by) else None,
        truth,
    )


def _slices(found: Sequence[_Pair], standing: npt.NDArray[np.bool_]) -> tuple[int, tuple[SliceMoved, ...]]:
    """How many slices were looked at, and where it differs most; those that are certain first."""
    names = dict.fromkeys(name for pair in found for name in pair.request.cells)
    table = Table({name: _column([_cell(pair, name) for pair in found]) for name in names})
    if not table.rows:
        return 0, ()
    overall = float(standing.mean())
    looked = slices.changes(table, standing.astype(np.float64) - overall)
    told = [
        SliceMoved(
            one.column,
            one.where,
            one.rows,
            share=one.gain + overall,
            low=max(0.0, one.low + overall),
            high=min(1.0, one.high + overall),
            certain=one.certain and one.gain > 0,
        )
        for one in looked
        if one.gain > 0
    ]
    told.sort(key=lambda one: (not one.certain, -one.low, -one.share, one.where))
    return len(looked), tuple(told[:MOST_SLICES])


def _cell(pair: _Pair, name: str) -> Cell:
    cells = pair.request.cells.get(name, ())
    return cells[pair.row] if pair.row < len(cells) else None


def _column(cells: Sequence[Cell]) -> Array:
    """As a Table takes it."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds and kinds <= {int, float}:
        if kinds == {int} and None not in cells:
            return np.array(cells, dtype=np.int64)
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    if kinds == {bool} and None not in cells:
        return np.array(cells, dtype=np.bool_)
    return np.array([None if cell is None else str(cell) for cell in cells], dtype=object)


def _labelled(requests: Sequence[Replayed], at_s: float, rule: Rule) -> LabelledPairs | None:
    """One row of each request with an outcome; a request that the candidate failed is one that it got wrong."""
    worse = better = same = 0
    for request in requests:
        known = sorted(row for row in request.truths if row < request.rows)
        if not known:
            continue
        row = known[agreement.draw(request.request_id.encode()).row(len(known))]
        who = _who_is_right(request, row, rule)
        if who is not None:
            worse, better, same = worse + (who < 0), better + (who > 0), same + (who == 0)
    total = worse + better + same
    if not total:
        return None
    look = PairLook(at_s, worse=worse, better=better, same=same)
    # No look is repeated here, and the whole of it is there at once: no late starts.
    evidence = pairs.seen(pairs.begin(Labelled(), at_s - 1.0, late=False), look)
    margin, risk = words.percent(Labelled().margin), words.percent(combining.ALPHA_FAIL)
    if evidence.log_fail >= -math.log(combining.ALPHA_FAIL):
        verdict, ending = Verdict.FAILED, f"it is worse by more than {margin}, for certain (risk {risk})"
    elif evidence.log_pass >= -math.log(combining.ALPHA_PASS):
        verdict, ending = Verdict.PASSED, f"it is not worse by more than {margin}, for certain (risk {risk})"
    else:
        verdict = Verdict.INCONCLUSIVE
        ending = f"too few to be certain that it is worse by more than {margin}, or that it is not"
    reason = (
        f"of {total:,} requests with an outcome only the candidate is wrong on {worse:,}, "
        f"only what was live on {better:,}: {ending}"
    )
    return LabelledPairs(total, worse, better, verdict, reason)


def _who_is_right(request: Replayed, row: int, rule: Rule) -> int | None:
    """1: only the candidate (or it is nearer), -1: only what was live, 0: neither more than the other; None where the
    outcome cannot be compared with the answers."""
    value = request.truths[row]
    live = _text(request.live.values, row)
    truth = feedback.truth_for(value, live)
    if truth is None or request.live.values.ndim > 1:
        return None
    said = None if request.said is None else _text(request.said.values, row)
    if isinstance(live, float) and isinstance(truth, float):
        if not isinstance(said, float) or not math.isfinite(said):
            return -1
        if agreement.close(np.array([live]), np.array([said]), rule.tolerance)[0]:
            return 0
        return int(np.sign(abs(live - truth) - abs(said - truth)))
    right = said is not None and said == feedback.truth_for(value, said)
    return int(right) - int(live == truth)
