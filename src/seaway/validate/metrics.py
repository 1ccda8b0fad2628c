"""Golden metrics, for many weightings of the same rows at once; called by the gate, its intervals and the plan.

Every metric takes weights `(b, n)` of the n golden rows and gives b values: a row of ones gives the plain metric,
a row of multinomial counts one bootstrap resample. A value that a weighting does not define (one class only,
no spread in the target, answers that are NaN) is NaN, never a made-up number.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core.checks import ReliabilityBin

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

RELIABILITY_BINS: Final = 10


class Metric(msgspec.Struct, frozen=True):
    """How a metric is read. `margin` is what counts as a harm worth refusing, absolute or as a share of the old value.

    `bounded` says that it lies within [0, 1].
    """

    name: str
    higher_is_better: bool
    margin: float
    margin_is_relative: bool = False
    bounded: bool = True
    meaning: str = ""


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("accuracy", True, 0.01, meaning="share of right labels"),
            Metric("balanced_accuracy", True, 0.01, meaning="mean over the classes of their recall"),
            Metric("precision", True, 0.01, meaning="right among those called positive"),
            Metric("recall", True, 0.01, meaning="found among the positive"),
            Metric("f1", True, 0.01, meaning="harmonic mean of precision and recall"),
            Metric("roc_auc", True, 0.01, meaning="chance that a positive row scores above a negative one"),
            Metric("log_loss", False, 0.05, True, False, "mean surprise, in nats"),
            Metric("calibration_error", False, 0.01, meaning="mean gap between stated and true chance"),
            Metric("rmse", False, 0.02, True, False, "root of the mean squared error"),
            Metric("mae", False, 0.02, True, False, "mean absolute error"),
            Metric("r2", True, 0.01, False, False, "share of the target's variance that is explained"),
        )
    }
)


class ClassAnswers(msgspec.Struct, frozen=True, eq=False):
    """n rows of a classifier. `truth` and `predicted` index `classes`; `scores` is (n, k), in the classes' order."""

    classes: tuple[str, ...]
    truth: Ints
    predicted: Ints
    scores: Floats | None = None

    @property
    def rows(self) -> int:
        return len(self.truth)


class ValueAnswers(msgspec.Struct, frozen=True, eq=False):
    """n rows of a regressor: what was true and what was predicted, both (n,)."""

    truth: Floats
    predicted: Floats

    @property
    def rows(self) -> int:
        return len(self.truth)


Judged: TypeAlias = ClassAnswers | ValueAnswers


def measure(judged: Judged, weights: Floats | None = None) -> dict[str, Floats]:
    """All metrics of these rows, each `(b,)`; without weights b is 1 and every row counts once."""
    if weights is None:
        weights = np.ones((1, judged.rows))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if isinstance(judged, ClassAnswers):
            return _classification(judged, weights)
        return _regression(judged, weights)


def values(judged: Judged) -> dict[str, float]:
    """The plain metrics; NaN where undefined."""
    return {name: float(found[0]) for name, found in measure(judged).items()}


def _classification(judged: ClassAnswers, weights: Floats) -> dict[str, Floats]:
    k = len(judged.classes)
    total = weights.sum(axis=1)
    right = judged.truth == judged.predicted
    true = group_sums(weights, judged.truth, k)
    called = group_sums(weights, judged.predicted, k)
    hits = group_sums(weights * right, judged.truth, k)
    found = {
        "accuracy": hits.sum(axis=1) / total,
        "balanced_accuracy": _mean_where(hits / true, true > 0),
    }
    found.update(_precision_recall_f1(true, called, hits))
    if judged.scores is not None:
        if np.isnan(judged.scores).any():
            gap = np.full(len(weights), np.nan)
            return found | {"roc_auc": gap, "log_loss": gap, "calibration_error": gap}
        found["roc_auc"] = roc_auc(judged.truth, judged.scores, weights)
        found["log_loss"] = log_loss(judged.truth, judged.scores, weights)
        found["calibration_error"] = calibration_error(judged, weights)
    return found


def _precision_recall_f1(true: Floats, called: Floats, hits: Floats) -> dict[str, Floats]:
    """Of the positive class (the second of two), or the mean over the classes seen in truth or answers (macro).

    Nothing called positive gives precision 0, no positive row recall 0, as scikit-learn's `zero_division=0`.
    """
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    recall = np.divide(hits, true, out=np.zeros_like(hits), where=true > 0)
    both = true + called
    f1 = np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
    if true.shape[1] == 2:
        return {"precision": precision[:, 1], "recall": recall[:, 1], "f1": f1[:, 1]}
    seen = both > 0
    return {
        "precision": _mean_where(precision, seen),
        "recall": _mean_where(recall, seen),
        "f1": _mean_where(f1, seen),
    }


def roc_auc(truth: Ints, scores: Floats, weights: Floats) -> Floats:
    """Area under the ROC curve: the second class of two, else the mean of one class against the rest (macro).

    The chance that a positive row scores above a negative one, ties counted half (Mann and Whitney 1947;
    Hanley and McNeil 1982). NaN where a class that is averaged over has no row, or all rows.
    """
    k = scores.shape[1]
    if k == 2:
        return _auc(truth == 1, scores[:, 1], weights)
    areas = np.stack([_auc(truth == c, scores[:, c], weights) for c in range(k) if (truth == c).any()])
    mean: Floats = areas.mean(axis=0)
    return mean


def _auc(positive: npt.NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    mass = weights[:, order]
    up = mass * positive[order]
    down = mass - up
    if len(starts) < len(ordered):
        up, down = np.add.reduceat(up, starts, axis=1), np.add.reduceat(down, starts, axis=1)
    below = np.cumsum(down, axis=1)
    wins = np.einsum("ij,ij->i", up, below) - 0.5 * np.einsum("ij,ij->i", up, down)
    area: Floats = wins / (up.sum(axis=1) * below[:, -1])
    return area


def log_loss(truth: Ints, scores: Floats, weights: Floats) -> Floats:
    """Mean of -ln(stated chance of the true class), that chance clipped to float64's epsilon as scikit-learn does."""
    epsilon = np.finfo(np.float64).eps
    stated = np.clip(scores[np.arange(len(truth)), truth], epsilon, 1 - epsilon)
    loss: Floats = (weights @ -np.log(stated)) / weights.sum(axis=1)
    return loss


def calibration_error(judged: ClassAnswers, weights: Floats) -> Floats:
    """Expected calibration error over ten bins of equal width: sum over bins of (share of rows)·|came true - stated|.

    With two classes the chance of the second is judged, else that of the class with the highest chance
    (Naeini et al., AAAI 2015; Guo et al., ICML 2017).
    """
    stated, came_true = _stated(judged)
    index = _bins(stated)
    gap = group_sums(weights * came_true, index, RELIABILITY_BINS) - group_sums(
        weights * stated, index, RELIABILITY_BINS
    )
    error: Floats = np.abs(gap).sum(axis=1) / weights.sum(axis=1)
    return error


def reliability(judged: ClassAnswers) -> tuple[ReliabilityBin, ...]:
    """The bins of `calibration_error` that hold rows; none without scores, or where one is NaN."""
    if judged.scores is None or np.isnan(judged.scores).any():
        return ()
    stated, came_true = _stated(judged)
    index = _bins(stated)
    return tuple(
        ReliabilityBin(
            low=b / RELIABILITY_BINS,
            high=(b + 1) / RELIABILITY_BINS,
            rows=int(inside.sum()),
            stated=float(stated[inside].mean()),
            came_true=float(came_true[inside].mean()),
        )
        for b in range(RELIABILITY_BINS)
        if (inside := index == b).any()
    )


def confusion(judged: ClassAnswers) -> Ints:
    """(k, k) counts: true class by predicted class."""
    k = len(judged.classes)
    counts: Ints = np.bincount(judged.truth * k + judged.predicted, minlength=k * k).reshape(k, k)
    return counts


def _stated(judged: ClassAnswers) -> tuple[Floats, Floats]:
    scores = judged.scores
    if scores is None:
        raise ValueError("no scores")
    if scores.shape[1] == 2:
        return scores[:, 1], (judged.truth == 1).astype(np.float64)
    top = scores.argmax(axis=1)
    return scores[np.arange(len(top)), top], (judged.truth == top).astype(np.float64)


def _bins(stated: Floats) -> Ints:
    index: Ints = np.clip((stated * RELIABILITY_BINS).astype(np.int64), 0, RELIABILITY_BINS - 1)
    return index


def _regression(judged: ValueAnswers, weights: Floats) -> dict[str, Floats]:
    """RMSE, MAE and R² = 1 - (residual / total sum of squares); R² of a constant target is NaN."""
    total = weights.sum(axis=1)
    residual = judged.predicted - judged.truth
    squared = weights @ residual**2
    centred = judged.truth - judged.truth.mean()  # against cancellation; R² does not depend on it
    spread = weights @ centred**2 - (weights @ centred) ** 2 / total
    flat = spread <= 1e-12 * np.maximum(total * np.max(centred**2, initial=0.0), 1e-300)
    return {
        "rmse": np.sqrt(squared / total),
        "mae": (weights @ np.abs(residual)) / total,
        "r2": np.where(flat, np.nan, 1 - squared / np.where(flat, 1.0, spread)),
    }


def group_sums(weights: Floats, group: Ints, k: int) -> Floats:
    """(b, k): the weight of each of k groups, for weights `(b, n)` and the rows' groups `(n,)`."""
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    sums = np.zeros((len(weights), k))
    sums[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums


def _mean_where(array: Floats, mask: npt.NDArray[np.bool_]) -> Floats:
    mean: Floats = np.where(mask, array, 0.0).sum(axis=1) / mask.sum(axis=1)
    return mean
