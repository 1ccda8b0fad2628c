"""What users will notice when a new version replaces the live one; printed by `deploy --plan`.

Both versions answer the new version's golden rows. Nothing here decides: the gate does.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core import tables
from seaway.core.bundles import OpenedBundle
from seaway.core.errors import SeawayError, UserError
from seaway.core.ports import Clock, Runtime
from seaway.core.tables import Table
from seaway.core.tensors import Array, Signature, TensorSpec, describe
from seaway.validate import against, answers, bootstrap, metrics, probes, slices
from seaway.validate.answers import Answers, Labels, Values
from seaway.validate.bootstrap import CONFIDENCE
from seaway.validate.metrics import Floats
from seaway.validate.slices import SliceChange
from seaway.validate.subject import Deadlines, Subject

_MOST_MOVERS: Final = 5


class MetricChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One golden metric of both versions; `low` and `high` bound new minus old at `confidence`, paired by row."""

    metric: str
    old: float | None
    new: float | None
    difference: float | None
    low: float | None
    high: float | None
    higher_is_better: bool
    confidence: float = CONFIDENCE


class MovedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A golden row (counted from 0) whose answer moves; `moved` is what `movement` says."""

    row: int
    values: dict[str, str | int | float | bool | None]
    old: str | float
    new: str | float
    truth: str | float
    moved: float


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds for one row alone, probed here and now, one version after the other; each over `n` calls."""

    old_p50_ms: float
    new_p50_ms: float
    old_p99_ms: float
    new_p99_ms: float
    n: int


class ChangeReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Old against new on the new version's golden rows.

    `rows` is 0 where the two could not be compared; `notes` then says why. `metrics` begins with the one that
    decides the gate. `breaking` lists what clients must change; `compatible` what they may use or will not notice.
    The slices named are the best and the worst of `slices_examined`; their intervals are widened for that many looks.
    """

    old_ref: str
    new_ref: str
    old_digest: str
    new_digest: str
    rows: int
    changed_rows: int
    metrics: tuple[MetricChange, ...]
    slices_examined: int
    gains: SliceChange | None
    loses: SliceChange | None
    moved: tuple[MovedRow, ...]
    timing: Timing | None
    old_size_bytes: int
    new_size_bytes: int
    breaking: tuple[str, ...]
    compatible: tuple[str, ...]
    notes: tuple[str, ...]
    report_version: int = 1

    @property
    def changed_percent(self) -> float:
        return 100 * self.changed_rows / self.rows if self.rows else 0.0


def plan_change(
    old: OpenedBundle,
    new: OpenedBundle,
    runtime: Runtime,
    clock: Clock,
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - a frozen value
) -> ChangeReport:
    """Compare two versions as their users would. Blocking, some seconds.

    A version that cannot be loaded or asked becomes a note, so that the rest of the plan is still told.
    """
    breaking, compatible = signature_changes(old.manifest.signature, new.manifest.signature)
    report = ChangeReport(
        old_ref=old.ref,
        new_ref=new.ref,
        old_digest=old.digest,
        new_digest=new.digest,
        rows=0,
        changed_rows=0,
        metrics=(),
        slices_examined=0,
        gains=None,
        loses=None,
        moved=(),
        timing=None,
        old_size_bytes=old.size_bytes,
        new_size_bytes=new.size_bytes,
        breaking=breaking,
        compatible=compatible,
        notes=(),
    )
    before, after = (
        Subject(old, runtime, clock, deadlines),
        Subject(new, runtime, clock, deadlines),
    )
    try:
        for step in (_compare, _time):
            try:
                report = step(report, before, after)
            except SeawayError as error:
                notes = (*report.notes, f"{error.code}: {error.message}")
                report = msgspec.structs.replace(report, notes=notes)
    finally:
        before.close()
        after.close()
    return report


def signature_changes(old: Signature, new: Signature) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What clients must change, and what they need not; one sentence each."""
    breaking: list[str] = []
    compatible: list[str] = []
    for spec in new.inputs:
        before = old.input(spec.name)
        if before is None:
            breaking.append(f"a new input must be sent: {spec.name} {describe(spec)}")
        else:
            _input_changes(before, spec, breaking, compatible)
    breaking += [
        f"input {spec.name} is no longer taken" for spec in old.inputs if new.input(spec.name) is None
    ]
    for spec in old.outputs:
        after = new.output(spec.name)
        if after is None:
            breaking.append(f"output {spec.name} is no longer given")
        elif (after.dtype, after.shape) != (spec.dtype, spec.shape):
            breaking.append(f"output {spec.name} changes from {describe(spec)} to {describe(after)}")
    compatible += [
        f"there is a new output: {spec.name} {describe(spec)}"
        for spec in new.outputs
        if old.output(spec.name) is None
    ]
    return tuple(breaking), tuple(compatible)


def _input_changes(before: TensorSpec, after: TensorSpec, breaking: list[str], compatible: list[str]) -> None:
    if (after.dtype, after.shape) != (before.dtype, before.shape):
        widened = after.shape == before.shape and after.dtype.holds(before.dtype)
        line = f"input {after.name} changes from {describe(before)} to {describe(after)}"
        if widened:
            compatible.append(f"{line}; what clients send today is still taken")
        else:
            breaking.append(line)
    if before.columns != after.columns and before.columns and after.columns:
        breaking += [
            f"a new feature must be sent in {after.name}: {name}"
            for name in after.columns
            if name not in before.columns
        ]
        breaking += [
            f"feature {name} of {after.name} is no longer taken"
            for name in before.columns
            if name not in after.columns
        ]
        if set(before.columns) == set(after.columns):
            breaking.append(f"the features of {after.name} are in another order")
    if before.nullable and not after.nullable:
        breaking.append(f"input {after.name} may no longer be missing")
    elif after.nullable and not before.nullable:
        compatible.append(f"input {after.name} may now be missing")


def _compare(report: ChangeReport, before: Subject, after: Subject) -> ChangeReport:
    golden = after.manifest.golden
    if golden is None:
        raise UserError("invalid_data", f"{after.bundle.ref} has no golden set, so answers are not compared")
    table, truth = after.golden().without(golden.target), after.truth()
    old_answers, new_answers = answers.in_common(before.answer(table), after.answer(table))
    changed, far = movement(old_answers, new_answers, after)
    report = msgspec.structs.replace(
        report,
        rows=table.rows,
        changed_rows=int(changed.sum()),
        moved=_movers(table, truth, (old_answers, new_answers), changed, far),
    )
    old, new = answers.judge(old_answers, truth), answers.judge(new_answers, truth)
    found = bootstrap.differences(old, new)
    first = against.primary_metric(after.manifest.requirements, found).name
    before_values, after_values = metrics.values(old), metrics.values(new)
    examined = slices.changes(table, slices.gain(old, new))
    return msgspec.structs.replace(
        report,
        metrics=tuple(
            MetricChange(
                metric=name,
                old=_finite(before_values[name]),
                new=_finite(after_values[name]),
                difference=_finite(found[name].value),
                low=found[name].low,
                high=found[name].high,
                higher_is_better=metrics.METRICS[name].higher_is_better,
            )
            for name in sorted(found, key=lambda name: name != first)
        ),
        slices_examined=len(examined),
        gains=max((s for s in examined if s.gain > 0), key=lambda s: s.gain, default=None),
        loses=min((s for s in examined if s.gain < 0), key=lambda s: s.gain, default=None),
    )


def movement(old: Answers, new: Answers, after: Subject) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Per row: whether the answer changes (another label, or a value beyond the tolerance), and how far it moves.

    A value moves by its difference, a label by the chance that went from some classes to others (total variation),
    or by 1 where the model gives no chances.
    """
    if isinstance(old, Values) and isinstance(new, Values):
        far = np.nan_to_num(np.abs(new.predicted - old.predicted), nan=np.inf)
        tolerance = after.manifest.tolerance
        slack = tolerance.absolute + tolerance.relative * np.abs(old.predicted)
        return far > slack, far
    if isinstance(old, Labels) and isinstance(new, Labels):
        changed = old.predicted != new.predicted
        if old.scores is None or new.scores is None:
            return changed, changed.astype(np.float64)
        return changed, 0.5 * np.abs(old.scores - new.scores).sum(axis=1)
    raise UserError("invalid_data", "one version answers with labels and the other with numbers")


def _movers(
    table: Table,
    truth: Array,
    pair: tuple[Answers, Answers],
    changed: npt.NDArray[np.bool_],
    far: Floats,
) -> tuple[MovedRow, ...]:
    """The rows that move most: those whose answer changes first."""
    old, new = (answers.texts(one) for one in pair)
    order = np.lexsort((np.arange(len(far)), -far, ~changed))[:_MOST_MOVERS]
    return tuple(
        MovedRow(
            row=int(row),
            values={name: _cell(value) for name, value in table.row(int(row)).items()},
            old=old[row],
            new=new[row],
            truth=_truth(truth[row]),
            moved=float(far[row]) if math.isfinite(far[row]) else 0.0,
        )
        for row in order
        if far[row] > 0
    )


def _time(report: ChangeReport, before: Subject, after: Subject) -> ChangeReport:
    old, new = (
        {m.metric: m for m in probes.latency(subject).measurements if m.value is not None}
        for subject in (before, after)
    )
    return msgspec.structs.replace(
        report,
        timing=Timing(
            old_p50_ms=old["latency_p50_ms"].value or 0.0,
            new_p50_ms=new["latency_p50_ms"].value or 0.0,
            old_p99_ms=old["latency_p99_ms"].value or 0.0,
            new_p99_ms=new["latency_p99_ms"].value or 0.0,
            n=min(old["latency_p50_ms"].n, new["latency_p50_ms"].n),
        ),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: object) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _truth(value: object) -> str | float:
    plain = tables.plain(value)
    return plain if isinstance(plain, float) else answers.label_text(plain)
