"""Live quality against scikit-learn and plain recomputation; groups, windows, slices, label shares and bounds."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from outcome_lookups import Lookup, Made, answered
from sklearn import metrics

from seaway.core.answers import MAX_CLASSES, OTHER
from seaway.core.feedback import Fact
from seaway.core.ledger import Counts, Page, Second
from seaway.core.provenance import AnsweredBy, AnsweredRow
from seaway.monitor.feedback import quality
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes
from seaway.monitor.feedback.quality import CountedRows, Question

HOUR_S = 1_800_000_000.0
DIGEST = "sha256:" + "a" * 64
DAY = Question("prices", HOUR_S - 86_400, HOUR_S + 86_400)


@pytest.fixture
def lookup() -> Lookup:
    return Lookup()


@pytest.fixture
def outcomes(tmp_path: Path, lookup: Lookup) -> Iterator[Outcomes]:
    made = Outcomes(tmp_path, lookup, OutcomeRules())
    yield made
    made.close()


def facts(values: dict[str, str], name: str = "") -> list[Fact]:
    return [Fact(request_id, 0, name, value, None, None, None) for request_id, value in values.items()]


def test_classes_equal_scikit_learn() -> None:
    chance = random.Random(5)
    truths = [chance.choice("abcd") for _ in range(2000)]
    answers = [t if chance.random() < 0.7 else chance.choice("abce") for t in truths]
    found = quality.classes(truths, answers, [None] * 2000)
    names = sorted({*truths, *answers})
    assert found.accuracy == metrics.accuracy_score(truths, answers)
    for average, own in (("precision", found.precision), ("recall", found.recall), ("f1", found.f1)):
        score = getattr(metrics, f"{average}_score")(truths, answers, average="macro", zero_division=0)
        assert own == pytest.approx(score, abs=1e-12)
    matrix = metrics.confusion_matrix(truths, answers, labels=names)
    expected = {(t, a): int(matrix[i, j]) for i, t in enumerate(names) for j, a in enumerate(names)}
    assert {(t, a): n for t, a, n in found.confusion} == {key: n for key, n in expected.items() if n}
    p, r, f, support = metrics.precision_recall_fscore_support(truths, answers, labels=names, zero_division=0)
    for index, score in enumerate(found.classes):
        assert (score.name, score.support) == (names[index], support[index])
        assert (score.precision, score.recall, score.f1) == pytest.approx((p[index], r[index], f[index]))


def test_calibration_is_what_its_definition_says() -> None:
    chance = np.random.default_rng(7)
    sure = chance.uniform(0, 1, 5000).astype(np.float32).astype(float)
    sure[:2] = 0.0, 1.0
    right = chance.uniform(0, 1, 5000) < sure**2
    found = quality.classes(["x"] * 5000, ["x" if one else "y" for one in right], sure.tolist()).calibration
    assert found is not None
    assert found.n == 5000
    assert found.brier == pytest.approx(metrics.brier_score_loss(right, sure), abs=1e-12)
    edges = np.minimum(np.floor(sure * 10), 9)
    ece = sum(abs(right[edges == b].sum() - sure[edges == b].sum()) for b in range(10)) / 5000
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert [b.n for b in found.bins] == [int((edges == b).sum()) for b in range(10)]
    assert [b.correct for b in found.bins] == [int(right[edges == b].sum()) for b in range(10)]


def test_a_confidence_that_is_no_probability_is_left_out_of_calibration() -> None:
    assert quality.classes(["x"], ["x"], [None]).calibration is None
    found = quality.classes(["x"] * 3, ["x"] * 3, [1.5, -0.1, 0.5]).calibration
    assert found is not None
    assert found.n == 1


def test_classes_beyond_the_bound_are_one_and_the_figures_stay_exact() -> None:
    names = [f"c{index}" for index in range(MAX_CLASSES + 50)]
    truths = [name for index, name in enumerate(names) for _ in range(1 + index % 7)]
    answers = [t if index % 3 else "c0" for index, t in enumerate(truths)]
    found = quality.classes(truths, answers, [None] * len(truths))
    assert len(found.classes) == MAX_CLASSES + 1
    assert sum(n for _, _, n in found.confusion) == len(truths)
    assert {t for t, _, _ in found.confusion} >= {OTHER}
    assert found.accuracy == metrics.accuracy_score(truths, answers)
    assert found.f1 == pytest.approx(metrics.f1_score(truths, answers, average="macro", zero_division=0))


def test_numbers_equal_their_definition_in_any_order() -> None:
    chance = np.random.default_rng(3)
    truths, answers = chance.normal(size=(2, 4001)) * 10.0 ** chance.integers(-6, 7, size=(2, 4001))
    found = quality.numbers(truths, answers)
    assert found.mae == pytest.approx(metrics.mean_absolute_error(truths, answers), rel=1e-12)
    assert found.rmse == pytest.approx(metrics.root_mean_squared_error(truths, answers), rel=1e-12)
    assert found.bias == pytest.approx(math.fsum(answers - truths) / 4001, rel=1e-12)
    assert found.p50 == sorted(np.abs(answers - truths))[2000]
    for _ in range(5):
        order = chance.permutation(4001)
        assert quality.numbers(truths[order], answers[order]) == found


def test_numbers_at_the_edge_of_what_numbers_hold() -> None:
    found = quality.numbers(np.array([-1e150, 0.0]), np.array([1e308, 0.0]))
    assert (found.mae, found.worst) == (0.5e308, 1e308)
    assert math.isfinite(found.rmse)
    exact = quality.numbers(np.array([1.0]), np.array([1.0]))
    assert (exact.mae, exact.rmse, exact.worst) == (0.0, 0.0, 0.0)


def test_a_kpi_beyond_all_numbers_has_no_sum() -> None:
    assert quality.kpi("x", [0.1] * 10).sum == 1.0
    assert quality.kpi("x", [1e308, 1e308]).sum is None


def test_groups_by_revision_hour_and_slice(tmp_path: Path, lookup: Lookup, outcomes: Outcomes) -> None:
    one = AnsweredBy("prices", 1, DIGEST, slices=("region",))
    two = AnsweredBy("prices", 2, DIGEST, slices=("region",))
    other = AnsweredBy("other", 1, DIGEST)
    lookup.made = {
        "a": Made((AnsweredRow("1", None, ("eu",)),), HOUR_S, one),
        "b": Made((AnsweredRow("1", None, ("us",)),), HOUR_S + 3599, one),
        "c": Made((AnsweredRow("0", None, ("eu",)),), HOUR_S + 3600, two),
        "d": Made((AnsweredRow("0"),), HOUR_S, other),
    }
    outcomes.add([facts({"a": "1", "b": "0", "c": "0", "d": "0"}), facts({"b": "2.5"}, "revenue")], HOUR_S)

    def told(**asked: object) -> list[tuple[object, ...]]:
        found = quality.read(tmp_path, Question("prices", HOUR_S - 1, HOUR_S + 7200, **asked))  # type: ignore[arg-type]
        return [
            (g.revision, g.window_at or g.slice, g.labelled, g.classes and g.classes.correct)
            for g in found.groups
        ]

    assert told() == [(1, None, 2, 1), (2, None, 1, 1)]
    assert told(revision=2) == [(2, None, 1, 1)]
    assert told(by="region") == [(1, "eu", 1, 1), (1, "us", 1, 0), (2, "eu", 1, 1)]
    assert told(only=("region", "eu")) == [(1, None, 1, 1), (2, None, 1, 1)]
    windows = [(1, "2027-01-15T08:00:00Z", 2, 1), (2, "2027-01-15T09:00:00Z", 1, 1)]
    assert told(by="window") == windows
    (revenue,) = quality.read(tmp_path, DAY).groups[0].kpis
    assert (revenue.name, revenue.n, revenue.mean) == ("revenue", 1, 2.5)
    assert quality.read(tmp_path, Question("prices", HOUR_S, HOUR_S + 3599)).groups[0].labelled == 1


def test_the_share_of_answers_with_an_outcome(tmp_path: Path, lookup: Lookup, outcomes: Outcomes) -> None:
    lookup.made = {"a": answered("1", at_s=HOUR_S + 1)}
    outcomes.add([facts({"a": "1"})], HOUR_S)

    def ledger(endpoint: str, since_s: float, until_s: float) -> CountedRows:
        seconds = (Second(int(HOUR_S), Counts(rows=3)), Second(int(HOUR_S) + 3600, Counts(rows=5)))
        return CountedRows(int(since_s), int(until_s), (Page(endpoint, 1, DIGEST, seconds),))

    by_revision = quality.read(tmp_path, DAY, ledger).groups[0]
    assert (by_revision.answered, by_revision.label_share) == (8, 0.125)
    window = quality.read(tmp_path, Question("prices", *(DAY.since_s, DAY.until_s), by="window"), ledger)
    assert window.groups[0].answered == 3
    assert quality.read(tmp_path, DAY).groups[0].label_share is None


def test_the_share_is_of_the_seconds_that_are_counted_alone(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes
) -> None:
    """All ten answers have an outcome. Of the first second half is asked for, the last two are not on disk yet."""
    lookup.made = {str(n): answered("1", at_s=HOUR_S + n) for n in range(10)}
    outcomes.add([facts({str(n): "1" for n in range(10)})], HOUR_S)
    asked: list[tuple[float, float]] = []

    def ledger(endpoint: str, since_s: float, until_s: float) -> CountedRows:
        asked.append((since_s, until_s))
        first_s, end_s = int(HOUR_S) + 3, int(HOUR_S) + 8
        seconds = tuple(Second(at_s, Counts(rows=1)) for at_s in range(first_s, end_s))
        return CountedRows(first_s, end_s, (Page(endpoint, 1, DIGEST, seconds),))

    question = Question("prices", HOUR_S + 0.5, HOUR_S + 10)
    found = quality.read(tmp_path, question, ledger)
    assert asked == [(question.since_s, question.until_s)]
    (group,) = found.groups
    assert (group.labelled, group.answered, group.answered_labelled, group.label_share) == (9, 5, 5, 1.0)
    assert (found.counted_since, found.counted_until) == ("2027-01-15T08:00:03Z", "2027-01-15T08:00:08Z")
    assert found.notes == (
        "share is of predictions since 2027-01-15T08:00:03Z: answered rows are counted for two days, and 2 outcomes are of "
        "earlier ones",
    )


def test_a_home_without_outcomes_has_no_groups(tmp_path: Path) -> None:
    assert quality.read(tmp_path, DAY).groups == ()


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ({"revision": 9}, "revision 9; there are outcomes of revisions: 1"),
        ({"by": "regoin"}, "slice 'regoin'; their slices: region"),
        ({"only": ("regoin", "eu")}, "slice 'regoin'; their slices: region"),
        ({"only": ("region", "nowhere")}, None),
        ({}, None),
    ],
)
def test_a_revision_or_slice_that_no_outcome_has_is_noted(
    tmp_path: Path, lookup: Lookup, outcomes: Outcomes, question: dict[str, object], note: str | None
) -> None:
    lookup.made["a"] = answered("yes")
    outcomes.add([[Fact("a", 0, "", "yes", None, None, '{"region":"eu"}')]], HOUR_S)
    found = quality.read(tmp_path, msgspec.structs.replace(DAY, **question))
    assert (note is None and found.notes == ()) or (note is not None and note in found.notes[0])
