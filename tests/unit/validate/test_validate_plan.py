"""What a change report says of two versions whose difference is known."""

from __future__ import annotations

from pathlib import Path

import gate_fakes as fakes
import msgspec
import numpy as np
import pytest

from seaway.core.bundles import OpenedBundle, Task
from seaway.core.tables import Table
from seaway.core.tensors import Array, DType, Meaning, Signature, TensorSpec
from seaway.validate import plan, slices
from seaway.validate.plan import ChangeReport


@pytest.fixture
def workshop(tmp_path: Path) -> fakes.Workshop:
    return fakes.Workshop(tmp_path)


def change(workshop: fakes.Workshop, old: OpenedBundle, new: OpenedBundle) -> ChangeReport:
    return plan.plan_change(old, new, workshop.runtime, fakes.TickingClock())


def worse_for_k2(x: Array, kind: Array) -> Array:
    return np.where(kind == "k2", 1 - fakes.good(x, kind), fakes.good(x, kind))


def test_the_slice_that_loses_is_found_and_the_looks_are_counted(workshop: fakes.Workshop) -> None:
    table = fakes.rows(800)
    report = change(workshop, workshop.bundle(fakes.good, table), workshop.bundle(worse_for_k2, table))
    assert report.loses is not None
    assert report.loses.where == "kind = k2"
    assert report.loses.certain and report.loses.high < -0.2
    assert report.slices_examined == 4 + 4  # the values of kind, the quarters of x
    in_k2 = int((table.columns["kind"] == "k2").sum())
    assert report.rows == 800
    assert report.changed_rows == pytest.approx(in_k2, abs=3)
    assert report.changed_percent == report.changed_rows / 8
    assert all(row.values["kind"] == "k2" and row.old != row.new for row in report.moved)
    assert [row.moved for row in report.moved] == sorted((row.moved for row in report.moved), reverse=True)
    accuracy = report.metrics[0]
    assert accuracy.metric == "accuracy"
    assert accuracy.old is not None and accuracy.new is not None and accuracy.difference is not None
    assert accuracy.difference == pytest.approx(accuracy.new - accuracy.old)
    assert accuracy.high is not None and accuracy.high < 0
    assert report.timing is not None and report.timing.old_p50_ms == pytest.approx(1)
    assert report.new_size_bytes == 2_000_000
    assert report.notes == report.breaking == ()


def test_swapping_the_versions_swaps_gain_and_loss(workshop: fakes.Workshop) -> None:
    table = fakes.rows(400)
    old, new = workshop.bundle(fakes.good, table), workshop.bundle(worse_for_k2, table)
    there, back = change(workshop, old, new), change(workshop, new, old)
    assert there.loses is not None and back.gains is not None
    assert (there.loses.where, there.loses.gain) == (back.gains.where, -back.gains.gain)
    assert there.changed_rows == back.changed_rows


def test_the_same_version_changes_nothing(workshop: fakes.Workshop) -> None:
    table = fakes.rows(200)
    report = change(workshop, workshop.bundle(fakes.good, table), workshop.bundle(fakes.good, table))
    assert (report.changed_rows, report.gains, report.loses, report.moved) == (0, None, None, ())
    assert all(metric.difference == 0 for metric in report.metrics)


def test_a_regressor_s_rows_move_by_their_values(workshop: fakes.Workshop) -> None:
    table = fakes.rows(200, Task.REGRESSION)

    def spike(x: Array, kind: Array) -> Array:
        return 3 * x.astype(float) + np.where(np.arange(len(x)) == 17, 5.0, 0.0)

    old = workshop.bundle(lambda x, kind: 3 * x, table, task=Task.REGRESSION)
    report = change(workshop, old, workshop.bundle(spike, table, task=Task.REGRESSION))
    assert report.changed_rows == 1
    assert report.moved[0].row == 17
    assert report.moved[0].moved == pytest.approx(5, rel=1e-5)
    assert len(report.moved) == 1
    assert report.metrics[0].metric == "rmse"


def test_a_version_that_cannot_answer_leaves_a_note_and_the_rest_is_told(workshop: fakes.Workshop) -> None:
    table = fakes.rows(50)
    extra = (TensorSpec("humidity", DType.FP64, (-1,)),)
    old = workshop.bundle(fakes.good, table, extra=extra)
    report = change(workshop, old, workshop.bundle(fakes.good, table))
    assert report.rows == 0
    assert "input humidity is no longer taken" in report.breaking
    assert any("humidity" in note for note in report.notes)


def test_without_a_golden_set_size_and_time_are_still_told(workshop: fakes.Workshop) -> None:
    report = change(workshop, workshop.bundle(fakes.good, None), workshop.bundle(fakes.good, None))
    assert report.rows == 0 and report.timing is not None
    assert "no golden set" in report.notes[0]


def test_a_report_goes_through_json(workshop: fakes.Workshop) -> None:
    table = fakes.rows(100)
    gaps = Table(
        {**table.columns, "x": np.where(np.arange(100) < 40, np.nan, table.columns["x"].astype(float))}
    )

    def tolerant(x: Array, kind: Array) -> Array:
        return np.nan_to_num(x.astype(float), nan=0.3)

    report = change(workshop, workshop.bundle(fakes.upside_down, table), workshop.bundle(tolerant, gaps))
    assert msgspec.json.decode(msgspec.json.encode(report), type=ChangeReport) == report


def test_signature_changes_are_named_by_who_must_act() -> None:
    def of(*columns: str, nullable: bool = False, outputs: tuple[str, ...] = ("y",)) -> Signature:
        spec = TensorSpec("x", DType.FP32, (-1, len(columns)), columns=columns, nullable=nullable)
        return Signature((spec,), tuple(TensorSpec(n, DType.FP32, (-1,), Meaning.VALUE) for n in outputs))

    breaking, compatible = plan.signature_changes(
        of("a", "b"), of("a", "c", "d", nullable=True, outputs=("y", "z"))
    )
    assert breaking == (
        "input x changes from FP32[N,2] to FP32[N,3]",
        "a new feature must be sent in x: c",
        "a new feature must be sent in x: d",
        "feature b of x is no longer taken",
    )
    assert compatible == ("input x may now be missing", "there is a new output: z FP32[N]")
    assert plan.signature_changes(of("a", "b"), of("b", "a"))[0] == (
        "the features of x are in another order",
    )
    assert plan.signature_changes(of("a"), of("a", outputs=("q",)))[0] == ("output y is no longer given",)
    assert plan.signature_changes(of("a", nullable=True), of("a"))[0] == ("input x may no longer be missing",)


def test_slices_by_chance_are_seldom_called_certain() -> None:
    """With 40 slices and no real change a plain 95 % interval would cry out in most runs."""
    cried = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        table = Table({f"c{i}": rng.random(400) for i in range(10)})
        found = slices.changes(table, rng.choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.8, 0.1]))
        assert len(found) == 40
        cried += any(change.certain for change in found)
    assert cried <= 7  # expected 2


def test_missing_values_and_flags_are_slices() -> None:
    table = Table(
        {
            "n": np.where(np.arange(100) < 35, np.nan, 1.0),
            "b": np.arange(100) < 50,
            "s": np.array(["x"] * 60 + [None] * 40, dtype=object),
            "few": np.arange(100) % 3,
        }
    )
    found = {change.where: change.rows for change in slices.changes(table, np.zeros(100))}
    assert found == {
        "n is missing": 35, "n ≤ 1": 65, "b = True": 50, "b = False": 50, "s = x": 60, "s is missing": 40,
        "few = 0": 34, "few = 1": 33, "few = 2": 33,
    }  # fmt: skip
