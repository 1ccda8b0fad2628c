"""Proof of a conversion: the source's answers and the converted model's, row by row, on the sample.

Called by `bundle.build`, once per candidate; the report is kept beside the version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.bundle import asking
from seaway.core.bundles import Tolerance
from seaway.core.ports import LoadedModel
from seaway.core.tables import Table, plain
from seaway.core.tensors import Array, Meaning, Signature, Tensors

MAX_ROWS: Final = 20_000
WORST_ROWS: Final = 10


class RowDifference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row where the answers differ: its number in the sample (from 0), its values, and both answers."""

    row: int
    output: str
    difference: float
    relative: float
    beyond: bool
    values: dict[str, object]
    source: object
    converted: object


class CandidateParity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one candidate answers beside its source.

    `label_agreement` is the share of equal labels, None where the model gives none; `rows_beyond` counts rows
    outside the tolerance, a flipped label among them; `worst` are the largest differences, labels first.
    """

    candidate: str
    passed: bool
    rows: int
    largest_absolute: float
    largest_relative: float
    label_agreement: float | None
    rows_beyond: int
    worst: tuple[RowDifference, ...] = ()
    failure: str | None = None
    """Why it could not be compared at all, where it could not."""


class ParityReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All candidates that were tried, the chosen one last; `rows` of `sample_rows` were compared."""

    passed: bool
    chosen: str | None
    tolerance: Tolerance
    rows: int
    sample_rows: int
    candidates: tuple[CandidateParity, ...]
    parity_version: int = 1

    def summary(self) -> str:
        """One line for a person, of the chosen candidate."""
        if self.chosen is None:
            return f"refused: none of {len(self.candidates)} conversions answers like the source"
        found = self.candidates[-1]
        labels = "" if found.label_agreement is None else f", labels agree in {found.label_agreement:.2%}"
        return f"proved on {found.rows:,} rows ({found.candidate}): largest difference {found.largest_absolute:.2g}{labels}"


def choose_rows(sample: Table, limit: int = MAX_ROWS) -> npt.NDArray[np.int64]:
    """The rows to compare, in order: all, or `limit` of them.

    Where there are more, those that conversions get wrong come first: rows with missing values, with rare
    categories and with the columns' extremes; the rest are evenly spread.
    """
    if sample.rows <= limit:
        return np.arange(sample.rows, dtype=np.int64)
    telling: dict[int, None] = {}
    share = max(1, limit // 2 // max(1, len(sample.names)))
    for column in sample.columns.values():
        if column.dtype == object:
            values = [value if isinstance(value, str) else "" for value in column.tolist()]
            _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
            order = np.argsort(counts[inverse], kind="stable")
        elif column.dtype.kind == "f":
            missing = np.isnan(column.astype(np.float64))
            distance = np.abs(np.where(missing, 0, column.astype(np.float64)))
            order = np.lexsort((-distance, ~missing))
        else:
            order = np.argsort(-np.abs(column.astype(np.float64)), kind="stable")
        telling.update(dict.fromkeys(order[:share].tolist()))
    chosen = set(telling)
    for row in np.linspace(0, sample.rows - 1, limit, dtype=np.int64).tolist():
        if len(chosen) >= limit:
            break
        chosen.add(row)
    return np.array(sorted(chosen)[:limit], dtype=np.int64)


def compare(
    label: str,
    model: LoadedModel,
    signature: Signature,
    sample: Table,
    expected: Tensors,
    numbers: npt.NDArray[np.int64],
    tolerance: Tolerance,
) -> CandidateParity:
    """Run a candidate on `sample` and hold its answers against the source's, `expected`.

    `numbers` are the sample's row numbers in the user's data. Raises what `LoadedModel.predict` raises.
    """
    answers = asking.predict(model, signature, sample)
    beyond = np.zeros(sample.rows, dtype=np.bool_)
    largest_absolute = largest_relative = 0.0
    agreement: float | None = None
    worst: list[RowDifference] = []
    for spec in signature.outputs:
        ours, theirs = answers[spec.name], np.asarray(expected[spec.name])
        if spec.meaning is Meaning.LABEL:
            same = np.array([a == b for a, b in zip(_flat(ours), _flat(theirs), strict=True)], dtype=np.bool_)
            agreement = float(same.mean()) if len(same) else 1.0
            absolute = relative = np.where(same, 0.0, np.inf)
            out = ~same
            if agreement >= tolerance.label_agreement:
                out = np.zeros_like(out)
        else:
            absolute, relative, out = differences(ours, theirs, tolerance)
            largest_absolute = max(largest_absolute, float(absolute.max(initial=0.0)))
            largest_relative = max(largest_relative, float(relative.max(initial=0.0)))
        beyond |= out
        order = np.lexsort((-absolute, ~out))[:WORST_ROWS]
        worst += [
            RowDifference(
                row=int(numbers[at]),
                output=spec.name,
                difference=_finite(absolute[at]),
                relative=_finite(relative[at]),
                beyond=bool(out[at]),
                values=sample.row(at),
                source=_answer(theirs, at),
                converted=_answer(ours, at),
            )
            for at in order.tolist()
            if absolute[at] > 0
        ]
    worst.sort(key=lambda w: (not w.beyond, -w.difference, w.row))
    return CandidateParity(
        candidate=label,
        passed=not beyond.any(),
        rows=sample.rows,
        largest_absolute=_finite(largest_absolute),
        largest_relative=_finite(largest_relative),
        label_agreement=agreement,
        rows_beyond=int(beyond.sum()),
        worst=tuple(worst[:WORST_ROWS]),
    )


def differences(
    ours: Array, theirs: Array, tolerance: Tolerance
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Per row: the largest absolute difference, the largest relative one, and whether any value is out of tolerance.

    The relative one is against the source's value, or against `tolerance.absolute` where that is larger. NaN equals NaN and an infinity equals itself; either against anything else is infinitely far.
    """
    a = np.asarray(ours, dtype=np.float64).reshape(len(ours), -1)
    b = np.asarray(theirs, dtype=np.float64).reshape(len(theirs), -1)
    if a.shape != b.shape:
        far = np.full(len(a), np.inf)
        return far, far, np.ones(len(a), dtype=np.bool_)
    with np.errstate(all="ignore"):
        absolute = np.abs(a - b)
        absolute = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.nan_to_num(absolute, nan=np.inf))
        size = np.nan_to_num(np.abs(b), nan=0.0, posinf=np.finfo(np.float64).max)
        relative = np.where(
            absolute == 0,
            0.0,
            absolute / np.maximum(size, max(tolerance.absolute, np.finfo(np.float64).tiny)),
        )
        out = np.asarray(absolute > tolerance.absolute + tolerance.relative * size)
    return (
        np.max(absolute, axis=1, initial=0.0),
        np.max(relative, axis=1, initial=0.0),
        np.asarray(np.any(out, axis=1), dtype=np.bool_),
    )


def encode_report(report: ParityReport) -> bytes:
    """Canonical JSON of a report."""
    return msgspec.json.encode(report, order="sorted")


def describe(report: ParityReport) -> str:
    """The report in a few lines, worst rows first, for an error or a terminal."""
    lines = []
    for one in report.candidates:
        if one.failure:
            lines.append(f"{one.candidate}: could not be compared: {one.failure}")
            continue
        labels = "" if one.label_agreement is None else f", labels agree in {one.label_agreement:.4%}"
        lines.append(
            f"{one.candidate}: {one.rows_beyond} of {one.rows} rows beyond tolerance; largest difference "
            f"{one.largest_absolute:.3g} absolute, {one.largest_relative:.3g} relative{labels}"
        )
        lines += [
            f"  row {w.row}, {w.output}: source {w.source}, converted {w.converted}, from {_short(w.values)}"
            for w in one.worst[:3]
            if w.beyond
        ]
    return "\n".join(lines)


def _short(values: dict[str, object]) -> str:
    shown = ", ".join(f"{name}={value!r}" for name, value in list(values.items())[:8])
    return shown if len(values) <= 8 else f"{shown}, … ({len(values)} columns)"


def _flat(array: Array) -> Sequence[object]:
    flat: list[object] = np.asarray(array).reshape(-1).tolist()
    return flat


def _answer(array: Array, row: int) -> object:
    value = array[row]
    return [plain(one) for one in value.reshape(-1)] if isinstance(value, np.ndarray) else plain(value)


def _finite(value: float) -> float:
    """JSON has no infinity: the largest float stands for it."""
    return float(min(value, np.finfo(np.float64).max))
