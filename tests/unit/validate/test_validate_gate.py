"""The gate on models whose behaviour is known."""

from __future__ import annotations

from pathlib import Path

import gate_fakes as fakes
import numpy as np
import pytest

from seaway.core.bundles import OpenedBundle, Task
from seaway.core.checks import CheckResult, GateReport, Verdict
from seaway.core.tables import Table
from seaway.validate import suite
from seaway.validate.subject import Deadlines


@pytest.fixture
def workshop(tmp_path: Path) -> fakes.Workshop:
    return fakes.Workshop(tmp_path)


def gate(
    workshop: fakes.Workshop, candidate: OpenedBundle, baseline: OpenedBundle | None = None
) -> GateReport:
    return suite.run_gate(
        candidate,
        workshop.runtime,
        fakes.TickingClock(),
        baseline,
        Deadlines(load_s=60, predict_s=60),
    )


def result(report: GateReport, name: str) -> CheckResult:
    return next(found for found in report.results if found.check == name)


def test_a_good_version_passes_every_check(workshop: fakes.Workshop) -> None:
    told: list[str] = []
    candidate = workshop.bundle(
        fakes.good, fakes.rows(600), requirements=("accuracy>=0.7", "memory_mb<=4000")
    )
    report = suite.run_gate(
        candidate, workshop.runtime, fakes.TickingClock(), on_result=lambda r: told.append(r.check)
    )
    names = ["loads", "signature", "golden", "accuracy>=0.7", "memory_mb<=4000", "latency", "memory"]
    assert [r.check for r in report.results] == told == names
    assert report.verdict is Verdict.PASSED
    assert report.failed_checks == ()
    assert report.at == "2023-11-14T22:13:20+00:00"
    measured = {m.metric: m for m in result(report, "golden").measurements}
    accuracy = measured["accuracy"]
    assert accuracy.n == 600
    assert accuracy.low is not None and accuracy.value is not None and accuracy.high is not None
    assert 0 < accuracy.low < accuracy.value < accuracy.high < 1
    assert set(measured) == {
        "accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "calibration_error",
    }  # fmt: skip
    assert "positive class is 'up'" in result(report, "golden").reason
    assert all(model.closed for model in workshop.runtime.loaded)


def test_a_regressor_is_measured_by_its_errors(workshop: fakes.Workshop) -> None:
    table = fakes.rows(200, Task.REGRESSION)
    report = gate(
        workshop,
        workshop.bundle(
            lambda x, kind: 3 * x, table, task=Task.REGRESSION, requirements=("rmse<=0.2", "r2>=0.9")
        ),
    )
    assert report.verdict is Verdict.PASSED
    measured = {m.metric: m.value for m in result(report, "golden").measurements}
    expected = 3 * table.columns["x"].astype(float) - table.columns["y"].astype(float)
    assert measured["rmse"] == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-5)
    assert report.figures is not None and len(report.figures.residuals) == 200


def test_a_requirement_is_decided_by_the_point_estimate(workshop: fakes.Workshop) -> None:
    table = fakes.rows(400)
    first = gate(workshop, workshop.bundle(fakes.good, table, requirements=("accuracy>=0.5",)))
    accuracy = result(first, "accuracy>=0.5").measurements[0]
    assert accuracy.value is not None
    above, below = f"accuracy>={accuracy.value + 0.001:.6f}", f"accuracy>={accuracy.value - 0.001:.6f}"
    report = gate(workshop, workshop.bundle(fakes.good, table, requirements=(above, below)))
    assert result(report, above).verdict is Verdict.FAILED
    assert result(report, below).verdict is Verdict.PASSED
    assert "more golden rows" in result(report, below).reason
    assert report.failed_checks == (above,)


def test_a_requirement_without_a_golden_set_is_no_pass(workshop: fakes.Workshop) -> None:
    sample = fakes.rows(20).without("y")
    report = gate(workshop, workshop.bundle(fakes.good, None, sample=sample, requirements=("accuracy>=0.7",)))
    assert result(report, "accuracy>=0.7").verdict is Verdict.ERRORED
    assert "golden set missing" in result(report, "accuracy>=0.7").reason
    assert report.verdict is Verdict.ERRORED


@pytest.mark.parametrize("text", ["acuracy>=0.7", "rmse<=1", "not a requirement"])
def test_a_requirement_that_cannot_be_measured_is_errored(workshop: fakes.Workshop, text: str) -> None:
    report = gate(workshop, workshop.bundle(fakes.good, fakes.rows(50), requirements=(text,)))
    assert result(report, text).verdict is Verdict.ERRORED
    assert result(report, "golden").verdict is Verdict.PASSED


def test_latency_fails_only_where_a_requirement_names_it(workshop: fakes.Workshop) -> None:
    clock = fakes.TickingClock(step_s=0.005)
    candidate = workshop.bundle(fakes.good, fakes.rows(100), requirements=("latency_p99_ms<=1",))
    report = suite.run_gate(candidate, workshop.runtime, clock)
    assert result(report, "latency").verdict is Verdict.PASSED
    assert result(report, "latency_p99_ms<=1").verdict is Verdict.FAILED
    assert result(report, "latency_p99_ms<=1").measurements[0].value == pytest.approx(5)


@pytest.mark.parametrize(("step_s", "told"), [(0.9, False), (1.1, True)])
def test_a_row_that_takes_longer_than_the_default_deadline_is_told(
    workshop: fakes.Workshop, step_s: float, told: bool
) -> None:
    report = suite.run_gate(
        workshop.bundle(fakes.good, fakes.rows(20)), workshop.runtime, fakes.TickingClock(step_s)
    )
    assert result(report, "latency").verdict is Verdict.PASSED
    assert ("limits.deadline" in result(report, "latency").reason) is told


def test_a_version_that_does_not_load_fails_and_nothing_else_is_claimed(workshop: fakes.Workshop) -> None:
    report = gate(workshop, workshop.bundle(None, fakes.rows(50), requirements=("accuracy>=0.5",)))
    assert [r.check for r in report.results] == ["loads"]
    assert result(report, "loads").verdict is Verdict.FAILED
    assert "the graph has no nodes" in result(report, "loads").reason


@pytest.mark.parametrize(
    ("answer", "word"), [(fakes.crashes, "index out of range"), (fakes.too_slow, "deadline_exceeded")]
)
def test_p13_a_version_that_cannot_answer_its_sample_fails(
    workshop: fakes.Workshop, answer: fakes.Answer, word: str
) -> None:
    report = gate(workshop, workshop.bundle(answer, fakes.rows(50)))
    assert report.failed_checks == ("loads",)
    assert word in result(report, "loads").reason


def test_p13_a_model_that_never_comes_back_fails_at_the_deadline(workshop: fakes.Workshop) -> None:
    report = suite.run_gate(
        workshop.bundle(fakes.hangs, fakes.rows(50)),
        workshop.runtime,
        fakes.TickingClock(),
        deadlines=Deadlines(load_s=0.01, predict_s=0.01, grace_s=0.05),
    )
    assert result(report, "loads").verdict is Verdict.FAILED
    assert "deadline_exceeded" in result(report, "loads").reason


def test_a_check_that_breaks_does_not_hide_the_others(workshop: fakes.Workshop) -> None:
    table = fakes.rows(50)
    broken = Table({**table.columns, "y": np.array([None, *table.columns["y"][1:]], dtype=object)})
    report = gate(workshop, workshop.bundle(fakes.good, broken))
    assert result(report, "golden").verdict is Verdict.ERRORED
    assert "row 0" in result(report, "golden").reason
    assert result(report, "latency").verdict is Verdict.PASSED
    assert report.verdict is Verdict.ERRORED
    assert report.figures is None


def test_answers_that_depend_on_neighbours_fail(workshop: fakes.Workshop) -> None:
    def by_batch(x: np.ndarray, kind: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.clip(x / (x.max() + 1), 0, 1)

    report = gate(workshop, workshop.bundle(by_batch, fakes.rows(50)))
    assert result(report, "signature").verdict is Verdict.FAILED
    assert "alone" in result(report, "signature").reason


def test_answers_that_depend_on_the_order_fail(workshop: fakes.Workshop) -> None:
    def by_place(x: np.ndarray, kind: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.clip(x + np.linspace(0, 0.5, len(x)), 0, 1)

    report = gate(workshop, workshop.bundle(by_place, fakes.rows(50)))
    assert "order of the rows" in result(report, "signature").reason


def test_answers_that_are_not_numbers_fail(workshop: fakes.Workshop) -> None:
    def sometimes_nan(x: np.ndarray, kind: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.where(kind == "k1", np.nan, x)

    report = gate(workshop, workshop.bundle(sometimes_nan, fakes.rows(80)))
    assert result(report, "signature").verdict is Verdict.FAILED
    assert result(report, "golden").verdict is Verdict.FAILED
    assert report.verdict is Verdict.FAILED


def test_one_class_only_leaves_metrics_undefined(workshop: fakes.Workshop) -> None:
    table = fakes.rows(50)
    only = Table({**table.columns, "y": np.full(50, "up", dtype=object)})
    report = gate(workshop, workshop.bundle(fakes.good, only, requirements=("roc_auc>=0.5",)))
    assert "not defined on these rows: roc_auc" in result(report, "golden").reason
    assert result(report, "roc_auc>=0.5").verdict is Verdict.ERRORED


def test_a_worse_candidate_fails_against_the_live_version(workshop: fakes.Workshop) -> None:
    table = fakes.rows(600)
    old, new = workshop.bundle(fakes.good, table), workshop.bundle(fakes.upside_down, table)
    report = gate(workshop, new, old)
    assert result(report, "baseline").verdict is Verdict.FAILED
    assert report.baseline_ref == old.ref
    difference = result(report, "baseline").measurements[0]
    assert difference.metric == "accuracy_difference"
    assert difference.high is not None and difference.high < -0.01


def test_an_equal_candidate_passes_on_many_rows_and_is_inconclusive_on_few(workshop: fakes.Workshop) -> None:
    many, few = fakes.rows(3000), fakes.rows(100)
    report = gate(workshop, workshop.bundle(fakes.good, many), workshop.bundle(fakes.good, many))
    assert result(report, "baseline").verdict is Verdict.PASSED
    report = gate(workshop, workshop.bundle(fakes.good, few), workshop.bundle(fakes.good, few))
    assert result(report, "baseline").verdict is Verdict.INCONCLUSIVE
    assert "more golden rows" in (result(report, "baseline").missing or "")
    assert report.verdict is Verdict.INCONCLUSIVE


def test_the_live_version_itself_passes(workshop: fakes.Workshop) -> None:
    only = workshop.bundle(fakes.good, fakes.rows(20))
    assert result(gate(workshop, only, only), "baseline").verdict is Verdict.PASSED


def test_the_required_metric_decides_the_comparison(workshop: fakes.Workshop) -> None:
    table = fakes.rows(400)
    old = workshop.bundle(fakes.good, table)
    new = workshop.bundle(fakes.good, table, requirements=("latency_p99_ms<=1000", "log_loss<=5"))
    assert result(gate(workshop, new, old), "baseline").measurements[0].metric == "log_loss_difference"


def test_a_live_version_that_lacks_an_input_makes_the_comparison_errored(workshop: fakes.Workshop) -> None:
    from seaway.core.tensors import DType, TensorSpec

    table = fakes.rows(50)
    old = workshop.bundle(fakes.good, table, extra=(TensorSpec("humidity", DType.FP64, (-1,)),))
    report = gate(workshop, workshop.bundle(fakes.good, table), old)
    assert result(report, "baseline").verdict is Verdict.ERRORED
    assert "humidity" in result(report, "baseline").reason


def test_without_sample_or_golden_set_zeros_are_asked(workshop: fakes.Workshop) -> None:
    report = gate(workshop, workshop.bundle(fakes.good, None))
    assert report.verdict is Verdict.PASSED
    assert "zeros" in result(report, "loads").reason
    assert [r.check for r in report.results] == ["loads", "signature", "latency", "memory"]


def test_a_model_that_refuses_zeros_is_inconclusive_not_failed(workshop: fakes.Workshop) -> None:
    report = gate(workshop, workshop.bundle(fakes.refuses, None))
    assert result(report, "loads").verdict is Verdict.INCONCLUSIVE
    assert "--sample" in (result(report, "loads").missing or "")
    assert report.verdict is Verdict.INCONCLUSIVE


def test_a_model_that_zeros_break_fails_with_its_own_words(workshop: fakes.Workshop) -> None:
    report = gate(workshop, workshop.bundle(fakes.crashes, None))
    assert report.failed_checks == ("loads",)
    assert "index out of range" in result(report, "loads").reason
    assert "--sample" in result(report, "loads").reason


def test_a_model_that_a_golden_row_breaks_fails_and_is_not_merely_unjudged(workshop: fakes.Workshop) -> None:
    def of_many(x: np.ndarray, kind: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return fakes.crashes(x, kind) if len(x) > 64 else fakes.good(x, kind)

    report = gate(workshop, workshop.bundle(of_many, fakes.rows(100)))
    assert result(report, "loads").verdict is Verdict.PASSED
    assert result(report, "golden").verdict is Verdict.FAILED
    assert "index out of range" in result(report, "golden").reason


def test_a_model_that_breaks_the_check_itself_is_errored_and_the_rest_is_told(
    workshop: fakes.Workshop,
) -> None:
    def with_one_row_more(x: np.ndarray, kind: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.append(x, 0.5)

    report = gate(workshop, workshop.bundle(with_one_row_more, fakes.rows(100), requirements=("f1>=0.5",)))
    assert result(report, "signature").verdict is Verdict.FAILED
    assert result(report, "golden").verdict is Verdict.ERRORED
    assert result(report, "latency").verdict is Verdict.PASSED


def test_a_requirement_that_cannot_be_read_does_not_stop_the_comparison(workshop: fakes.Workshop) -> None:
    table = fakes.rows(2000)
    old = workshop.bundle(fakes.good, table)
    report = gate(workshop, workshop.bundle(fakes.good, table, requirements=("nonsense",)), old)
    assert result(report, "nonsense").verdict is Verdict.ERRORED
    assert result(report, "baseline").verdict is Verdict.PASSED
