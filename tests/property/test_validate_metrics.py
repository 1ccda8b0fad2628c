"""Golden metrics against scikit-learn, and what must hold for any answers."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from seaway.core.checks import Verdict
from seaway.validate import against, bootstrap, metrics
from seaway.validate.metrics import ClassAnswers, ValueAnswers

seeds = st.integers(0, 2**32 - 1)


def classifier(seed: int, n: int, k: int, digits: int = 2) -> ClassAnswers:
    """Random truth, labels and chances; few digits make ties."""
    rng = np.random.default_rng(seed)
    scores = np.round(rng.dirichlet(np.ones(k), n), digits)
    return ClassAnswers(tuple("abcdefgh"[:k]), rng.integers(0, k, n), rng.integers(0, k, n), scores)


def regressor(seed: int, n: int) -> ValueAnswers:
    rng = np.random.default_rng(seed)
    return ValueAnswers(rng.normal(1e3, 5, n), rng.normal(1e3, 5, n))


@settings(deadline=None)
@given(seed=seeds, n=st.integers(2, 60), k=st.integers(2, 6))
def test_label_metrics_equal_scikit_learns(seed: int, n: int, k: int) -> None:
    judged = classifier(seed, n, k)
    found = metrics.values(judged)
    average = "binary" if k == 2 else "macro"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes that occur on one side only
        expected = {
            "accuracy": oracle.accuracy_score(judged.truth, judged.predicted),
            "balanced_accuracy": oracle.balanced_accuracy_score(judged.truth, judged.predicted),
            "precision": oracle.precision_score(
                judged.truth, judged.predicted, average=average, zero_division=0
            ),
            "recall": oracle.recall_score(judged.truth, judged.predicted, average=average, zero_division=0),
            "f1": oracle.f1_score(judged.truth, judged.predicted, average=average, zero_division=0),
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    matrix = oracle.confusion_matrix(judged.truth, judged.predicted, labels=range(k))
    assert np.array_equal(metrics.confusion(judged), matrix)


@settings(deadline=None)
@given(seed=seeds, n=st.integers(2, 60), k=st.integers(2, 6))
def test_log_loss_and_auc_equal_scikit_learns(seed: int, n: int, k: int) -> None:
    judged = classifier(seed, n, k)
    assert judged.scores is not None
    found = metrics.values(judged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # chances rounded to two digits do not quite sum to one
        expected = oracle.log_loss(judged.truth, judged.scores, labels=range(k))
    assert found["log_loss"] == pytest.approx(expected, rel=1e-9)
    present = np.unique(judged.truth)
    if len(present) < 2:
        assert math.isnan(found["roc_auc"])
    elif k == 2:
        assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(judged.truth, judged.scores[:, 1]))
    else:
        one_by_one = [oracle.roc_auc_score(judged.truth == c, judged.scores[:, c]) for c in present]
        assert found["roc_auc"] == pytest.approx(np.mean(one_by_one))


@settings(deadline=None)
@given(seed=seeds, n=st.integers(2, 200))
def test_reliability_equals_scikit_learns_calibration_curve(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(n)
    judged = ClassAnswers(
        ("a", "b"), rng.integers(0, 2, n), rng.integers(0, 2, n), np.stack([1 - positive, positive], 1)
    )
    bins = metrics.reliability(judged)
    came_true, stated = calibration_curve(judged.truth, positive, n_bins=10)
    assert [b.came_true for b in bins] == pytest.approx(list(came_true))
    assert [b.stated for b in bins] == pytest.approx(list(stated))
    gap = sum(b.rows * abs(b.came_true - b.stated) for b in bins) / n
    assert metrics.values(judged)["calibration_error"] == pytest.approx(gap)


@settings(deadline=None)
@given(seed=seeds, n=st.integers(2, 100))
def test_regression_metrics_equal_scikit_learns(seed: int, n: int) -> None:
    judged = regressor(seed, n)
    found = metrics.values(judged)
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(judged.truth, judged.predicted))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(judged.truth, judged.predicted))
    assert found["r2"] == pytest.approx(oracle.r2_score(judged.truth, judged.predicted), rel=1e-6)


@settings(deadline=None)
@given(seed=seeds, n=st.integers(2, 40), k=st.integers(2, 4))
def test_a_weight_is_a_repeated_row(seed: int, n: int, k: int) -> None:
    """What makes weights a bootstrap: counts give what the repeated rows themselves give."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.ones(n) / n)
    again = np.repeat(np.arange(n), counts)
    judged = classifier(seed, n, k)
    assert judged.scores is not None
    repeated = ClassAnswers(
        judged.classes, judged.truth[again], judged.predicted[again], judged.scores[again]
    )
    numbers = regressor(seed, n)
    for whole, part in (
        (judged, repeated),
        (numbers, ValueAnswers(numbers.truth[again], numbers.predicted[again])),
    ):
        weighted = metrics.measure(whole, counts[None, :].astype(float))
        for name, value in metrics.values(part).items():
            if name == "roc_auc" and k > 2 and len(np.unique(part.truth)) < len(np.unique(whole.truth)):
                assert math.isnan(weighted[name][0])  # a class that this resample lacks
            else:
                assert weighted[name][0] == pytest.approx(value, rel=1e-6, nan_ok=True), name


def test_degenerate_answers_are_nan_not_numbers() -> None:
    constant = metrics.values(ValueAnswers(np.full(5, 3.0), np.arange(5.0)))
    assert math.isnan(constant["r2"]) and constant["rmse"] > 0
    broken = metrics.values(ValueAnswers(np.arange(5.0), np.array([0, 1, np.nan, 3, 4])))
    assert all(math.isnan(value) for value in broken.values())
    nan_scores = np.array([[0.5, 0.5], [np.nan, np.nan]])
    found = metrics.values(ClassAnswers(("a", "b"), np.array([0, 1]), np.array([0, 0]), nan_scores))
    assert found["accuracy"] == 0.5
    assert all(math.isnan(found[name]) for name in ("roc_auc", "log_loss", "calibration_error"))


@settings(max_examples=20, deadline=None)
@given(seed=seeds, n=st.integers(5, 80), k=st.integers(2, 4))
def test_swapping_the_versions_negates_the_difference(seed: int, n: int, k: int) -> None:
    old, new = classifier(seed, n, k), classifier(seed + 1, n, k)
    new = ClassAnswers(new.classes, old.truth, new.predicted, new.scores)
    for one, other in ((old, new), (regressor(seed, n), None)):
        if isinstance(one, ValueAnswers):
            other = ValueAnswers(one.truth, one.predicted + 1)
        assert other is not None
        there, back = bootstrap.differences(one, other), bootstrap.differences(other, one)
        for name, found in there.items():
            assert found.value == pytest.approx(-back[name].value, nan_ok=True)
            if found.low is not None and found.high is not None:
                assert (found.low, found.high) == pytest.approx((-back[name].high, -back[name].low))  # type: ignore[operator]


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(1, 400), k=st.integers(2, 4))
def test_a_version_never_fails_against_itself(seed: int, n: int, k: int) -> None:
    for judged in (classifier(seed, n, k), regressor(seed, n)):
        values = metrics.values(judged)
        for name, found in bootstrap.differences(judged, judged).items():
            verdict, _, missing = against.decide(metrics.METRICS[name], found, values[name], n)
            assert verdict is not Verdict.FAILED
            assert (missing is not None) == (verdict is Verdict.INCONCLUSIVE)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(30, 300))
def test_two_versions_never_fail_against_each_other_both_ways(seed: int, n: int) -> None:
    old = classifier(seed, n, 2)
    new = ClassAnswers(old.classes, old.truth, classifier(seed + 1, n, 2).predicted, old.scores)
    there, back = bootstrap.differences(old, new), bootstrap.differences(new, old)
    for name, metric in metrics.METRICS.items():
        if name in there:
            verdicts = [
                against.decide(metric, there[name], metrics.values(old)[name], n)[0],
                against.decide(metric, back[name], metrics.values(new)[name], n)[0],
            ]
            assert verdicts.count(Verdict.FAILED) <= 1
