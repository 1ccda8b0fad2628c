"""Intervals hold what they promise, are the same each time, and stay honest on few rows."""

from __future__ import annotations

import numpy as np
import pytest

from seaway.core.checks import Verdict
from seaway.validate import against, bootstrap
from seaway.validate.bootstrap import Estimate
from seaway.validate.metrics import METRICS, ClassAnswers, ValueAnswers


def test_the_same_rows_give_the_same_intervals() -> None:
    rng = np.random.default_rng(0)
    judged = ValueAnswers(rng.normal(size=300), rng.normal(size=300))
    assert bootstrap.intervals(judged) == bootstrap.intervals(judged)
    assert bootstrap.intervals(judged) != bootstrap.intervals(judged, seed=1)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    inside = {"rmse": 0, "mae": 0}
    runs = 120
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=150)
        found = bootstrap.intervals(ValueAnswers(truth, truth + rng.normal(size=150)))
        for name, true in (("rmse", 1.0), ("mae", np.sqrt(2 / np.pi))):
            low, high = found[name].low, found[name].high
            assert low is not None and high is not None
            inside[name] += low <= true <= high
    for name, hits in inside.items():
        assert 0.87 <= hits / runs <= 0.99, (
            name
        )  # 95 % less the percentile method's known shortfall, ± 3 sigma


def test_a_faultless_model_on_few_rows_is_not_called_certain() -> None:
    labels = np.array([0, 1] * 10)
    found = bootstrap.intervals(ClassAnswers(("a", "b"), labels, labels))
    assert found["accuracy"].low == pytest.approx(1 / (1 + 1.959964**2 / 20), abs=1e-6)
    assert found["f1"] == Estimate(1.0)


def test_equal_answers_on_few_rows_leave_room_for_a_difference() -> None:
    labels = np.array([0, 1] * 20)
    judged = ClassAnswers(("a", "b"), labels, labels)
    found = bootstrap.differences(judged, judged)
    assert found["f1"] == Estimate(0.0, -3 / 40, 3 / 40)
    accuracy = found["accuracy"]
    assert accuracy.low is not None and accuracy.low < -0.04


def test_versions_on_different_rows_are_refused() -> None:
    one = ValueAnswers(np.arange(3.0), np.arange(3.0))
    with pytest.raises(ValueError, match="same rows"):
        bootstrap.differences(one, ValueAnswers(np.arange(4.0), np.arange(4.0)))


@pytest.mark.parametrize(
    ("metric", "difference", "old", "rows", "verdict"),
    [
        ("accuracy", Estimate(-0.05, -0.07, -0.03), 0.8, 500, Verdict.FAILED),
        ("accuracy", Estimate(-0.005, -0.009, 0.0), 0.8, 500, Verdict.PASSED),
        ("accuracy", Estimate(-0.02, -0.04, 0.0), 0.8, 500, Verdict.INCONCLUSIVE),
        ("accuracy", Estimate(-0.5, -0.6, -0.4), 0.8, 29, Verdict.INCONCLUSIVE),
        ("rmse", Estimate(5.0, 3.0, 7.0), 100.0, 500, Verdict.FAILED),
        ("rmse", Estimate(1.0, 0.5, 1.9), 100.0, 500, Verdict.PASSED),
        ("rmse", Estimate(-5.0, -7.0, -3.0), 100.0, 500, Verdict.PASSED),
        ("r2", Estimate(float("nan")), 0.8, 500, Verdict.ERRORED),
    ],
)
def test_a_difference_is_decided_by_its_interval_and_the_margin(
    metric: str, difference: Estimate, old: float, rows: int, verdict: Verdict
) -> None:
    assert against.decide(METRICS[metric], difference, old, rows)[0] is verdict


def test_the_rows_still_needed_are_the_interval_s_share_squared() -> None:
    # half width 0.02, 0.01 from the margin: four times the rows
    _, _, missing = against.decide(METRICS["accuracy"], Estimate(0.0, -0.02, 0.02), 0.8, 1000)
    assert missing is not None and "3,000 more golden rows" in missing
