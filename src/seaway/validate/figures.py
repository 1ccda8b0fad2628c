"""What the pictures of a gate's report are drawn from."""

from __future__ import annotations

from typing import Final

import numpy as np

from seaway.core.checks import GoldenFigures
from seaway.validate import metrics
from seaway.validate.metrics import ClassAnswers, Judged
from seaway.validate.subject import Subject

_MOST_CLASSES: Final = 12
_MOST_POINTS: Final = 300


def draw(subject: Subject) -> GoldenFigures:
    """The figures of a golden set that the version has answered."""
    judged = subject.judged()
    if isinstance(judged, ClassAnswers):
        few = len(judged.classes) <= _MOST_CLASSES
        return GoldenFigures(
            rows=judged.rows,
            classes=judged.classes if few else (),
            confusion=tuple(tuple(row) for row in metrics.confusion(judged).tolist()) if few else (),
            reliability=metrics.reliability(judged),
        )
    finite = np.flatnonzero(np.isfinite(judged.predicted))
    shown = (
        finite[np.unique(np.linspace(0, len(finite) - 1, _MOST_POINTS).astype(int))]
        if len(finite)
        else finite
    )
    return GoldenFigures(
        rows=judged.rows,
        residuals=tuple(
            (float(judged.predicted[row]), float(judged.predicted[row] - judged.truth[row])) for row in shown
        ),
    )


def unanswered(judged: Judged) -> int:
    """Golden rows whose answer holds NaN or infinity."""
    if isinstance(judged, ClassAnswers):
        if judged.scores is None:
            return 0
        return int((~np.isfinite(judged.scores)).any(axis=1).sum())
    return int((~np.isfinite(judged.predicted)).sum())
