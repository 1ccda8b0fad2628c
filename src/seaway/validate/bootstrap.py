"""How sure golden metrics are: bootstrap intervals, and the paired difference of two versions on the same rows.

Rows are resampled by multinomial weights, and the same weights serve every metric and both versions, so that what
both versions find hard cancels in the difference. Seeded: the same rows give the same intervals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Final

import msgspec
import numpy as np

from seaway.validate import metrics
from seaway.validate.metrics import ClassAnswers, Floats, Judged

CONFIDENCE: Final = 0.95
SEED: Final = 20_240_229
_RESAMPLES: Final = 1000
_FEWEST_RESAMPLES: Final = 200
_CELLS_IN_ALL: Final = 20_000_000
_CELLS_AT_ONCE: Final = 2_000_000


class Estimate(msgspec.Struct, frozen=True):
    """A number and what bounds it at `CONFIDENCE`; no bounds where the rows do not tell any."""

    value: float
    low: float | None = None
    high: float | None = None


def intervals(judged: Judged, seed: int = SEED) -> dict[str, Estimate]:
    """Each metric with its percentile interval (Efron and Tibshirani 1993, ch. 13).

    Accuracy has Wilson's interval instead (Wilson 1927), which keeps its width when no row is wrong. A metric
    that is the same in every resample has no interval: resampling has learned nothing of its spread.
    """
    point = metrics.values(judged)
    (drawn,) = _replicates([judged], seed)
    found = {name: Estimate(value, *_percentiles(drawn[name])) for name, value in point.items()}
    if isinstance(judged, ClassAnswers):
        found["accuracy"] = Estimate(point["accuracy"], *wilson(point["accuracy"], judged.rows))
    return found


def differences(old: Judged, new: Judged, seed: int = SEED) -> dict[str, Estimate]:
    """New minus old for each metric that both have, on the same rows in the same order, with a paired interval.

    Accuracy has the interval of Agresti and Min (2005) for paired proportions, which stays honest on few rows.
    Another metric within [0, 1] that no resample moves is known to ±3/n only (rule of three, Hanley 1983).
    Raises `ValueError` where the two are not about the same rows.
    """
    if not np.array_equal(old.truth, new.truth):
        raise ValueError("the two versions were not asked the same rows")
    before, after = metrics.values(old), metrics.values(new)
    drawn_old, drawn_new = _replicates([old, new], seed)
    found: dict[str, Estimate] = {}
    for name in (name for name in before if name in after):
        value = after[name] - before[name]
        low, high = _percentiles(drawn_new[name] - drawn_old[name])
        if low is None and math.isfinite(value):
            slack = 3 / old.rows if metrics.METRICS[name].bounded else 0.0
            low, high = value - slack, value + slack
        found[name] = Estimate(value, low, high)
    if isinstance(old, ClassAnswers) and isinstance(new, ClassAnswers):
        found["accuracy"] = _paired_accuracy(old, new)
    return found


def wilson(share: float, rows: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share of `rows`."""
    z = normal_quantile(confidence)
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, centre - half), min(1.0, centre + half)


def normal_quantile(confidence: float) -> float:
    """z such that a standard normal lies within ±z with this chance."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _paired_accuracy(old: ClassAnswers, new: ClassAnswers) -> Estimate:
    """Agresti and Min 2005 (Stat. Med. 24): Wald's interval after half a row is added to each of the four cells."""
    gained = int(np.sum((new.predicted == new.truth) & (old.predicted != old.truth)))
    lost = int(np.sum((new.predicted != new.truth) & (old.predicted == old.truth)))
    n = old.rows + 2
    centre = (gained - lost) / n
    spread = (gained + lost + 1) / n - centre * centre
    half = normal_quantile(CONFIDENCE) * math.sqrt(spread / n)
    return Estimate((gained - lost) / old.rows, max(-1.0, centre - half), min(1.0, centre + half))


def _replicates(judged: Sequence[Judged], seed: int) -> list[dict[str, Floats]]:
    """Per version, each metric over the same resamples."""
    chunks: list[list[dict[str, Floats]]] = [[] for _ in judged]
    first = judged[0]
    classes = len(first.classes) if isinstance(first, ClassAnswers) else 1
    work = first.rows * max(1, classes // 2)  # one pass over the rows for the AUC of each class
    resamples = min(_RESAMPLES, max(_FEWEST_RESAMPLES, _CELLS_IN_ALL // work))
    for weights in _multinomial(first.rows, resamples, seed):
        for found, version in zip(chunks, judged, strict=True):
            found.append(metrics.measure(version, weights))
    return [{name: np.concatenate([part[name] for part in found]) for name in found[0]} for found in chunks]


def _multinomial(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Weights `(b, rows)`, a few resamples at a time so that memory stays flat."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // rows)
    for start in range(0, resamples, at_once):
        b = min(at_once, resamples - start)
        drawn = rng.integers(0, rows, size=(b, rows))
        drawn += np.arange(b)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=b * rows).reshape(b, rows).astype(np.float64)


def _percentiles(drawn: Floats) -> tuple[float | None, float | None]:
    """The middle `CONFIDENCE` of the resamples; none where over 5 % are undefined, or where none differs."""
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < 0.95 * len(drawn) or np.ptp(finite) <= 1e-12 * max(1.0, abs(float(finite[0]))):
        return None, None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)
