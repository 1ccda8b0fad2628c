"""Live quality: what the outcomes that came say of the answers that were given.

`monitor.feedback.quality` counts it, `control` answers it, `seaway quality` prints it, rollouts judge by it.
"""

from __future__ import annotations

import msgspec


class ClassScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One class: `support` rows truly are of it, `answered` were answered so, `correct` both.

    A ratio without a denominator is 0, as in scikit-learn with zero_division=0. `core.answers.OTHER` is all classes
    beyond the `MAX_CLASSES` most frequent ones.
    """

    name: str
    support: int
    answered: int
    correct: int
    precision: float
    recall: float
    f1: float


class CalibrationBin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answers whose confidence is at least `low` and below the next bin's: how sure they were, how many were right."""

    low: float
    n: int
    correct: int
    confidence: float
    """The mean; 0 where n is 0."""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of the `n` answers that had a confidence from 0 to 1, in 10 equal bins.

    `ece` is the expected calibration error (Naeini et al. 2015): the mean over answers of |share correct − mean
    confidence| of their bin. `brier` is the mean of (confidence − correct)², of the answered class alone.
    """

    n: int
    ece: float
    brier: float
    bins: tuple[CalibrationBin, ...]


class ClassQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quality of classes. Macro figures are means over all classes that came as an answer or an outcome.

    `confusion` holds (true class, answered class, rows), without the empty cells; its classes beyond the `MAX_CLASSES`
    most frequent are one.
    """

    n: int
    correct: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[str, str, int], ...]
    calibration: Calibration | None = None


class NumberQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Quality of numbers; an error is answer − outcome, `bias` its mean. `p50` … are exact quantiles of |error|."""

    n: int
    mae: float
    rmse: float
    bias: float
    p50: float
    p90: float
    p99: float
    worst: float


class KpiQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One business figure; `sum` and `mean` are None where they are beyond what a number holds."""

    name: str
    n: int
    sum: float | None
    mean: float | None


class GroupQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one revision; with `window_at`, of predictions of the hour that begins then; with `slice`, of that slice's value.

    `labelled` counts outcomes. `answered` counts the rows answered from `Quality.counted_since` until before `counted_until`
    (None where that is not counted, as for slices), and `answered_labelled` the outcomes of that time. Without outcomes
    of its kind, `classes` or `numbers` is None.
    """

    revision: int
    labelled: int
    window_at: str | None = None
    slice: str | None = None
    answered: int | None = None
    classes: ClassQuality | None = None
    numbers: NumberQuality | None = None
    kpis: tuple[KpiQuality, ...] = ()
    kpis_left_out: int = 0
    answered_labelled: int | None = None

    @property
    def label_share(self) -> float | None:
        """Outcomes per answered row, of the same seconds; None where no row is counted."""
        if not self.answered or self.answered_labelled is None:
            return None
        return self.answered_labelled / self.answered


class FeedbackState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Facts that no figure holds. `pending` and `unmatched` are of all endpoints: whose they are is not known yet.

    `unusable` ones are of rows without an answer that they could be compared with, `conflicting` ones contradict an
    earlier fact.
    """

    pending: int = 0
    unmatched: int = 0
    unusable: int = 0
    conflicting: int = 0


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The live quality of an endpoint for predictions answered from `since` until before `until`.

    Answered rows are counted for `counted_since` to `counted_until` of that time: for two days, and some seconds after they
    were answered; None where for none of it. `groups_left_out` are those beyond the most that are told (the ones with the fewest
    outcomes). `notes` say what the figures leave open: a revision or a slice of which no outcome is, a time without counts.
    """

    endpoint: str
    since: str
    until: str
    by: str
    groups: tuple[GroupQuality, ...]
    state: FeedbackState
    groups_left_out: int = 0
    notes: tuple[str, ...] = ()
    counted_since: str | None = None
    counted_until: str | None = None
