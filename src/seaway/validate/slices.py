"""Where a new version gains and where it loses: slices of the golden rows, by value or by quarter of a column."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core import tables
from seaway.core.tables import Table
from seaway.core.tensors import Array
from seaway.validate import bootstrap
from seaway.validate.metrics import ClassAnswers, Floats, Judged, ValueAnswers

FEWEST_ROWS: Final = 30
_MOST_VALUES: Final = 20
_FEW_INTEGERS: Final = 12
_QUARTERS: Final = (0.25, 0.5, 0.75)


class SliceChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one slice fares: `gain` is the rise in accuracy, or the fall of the mean absolute error.

    `low` and `high` bound the gain at 95 % over all slices that were looked at together (Bonferroni); `certain`
    says that 0 lies outside.
    """

    column: str
    where: str
    rows: int
    gain: float
    low: float
    high: float
    certain: bool


def gain(old: Judged, new: Judged) -> Floats:
    """Per row, what the new version does better: right instead of wrong (+1), or by how much less it errs."""
    if isinstance(old, ClassAnswers) and isinstance(new, ClassAnswers):
        gained: Floats = np.subtract(new.predicted == new.truth, old.predicted == old.truth, dtype=np.float64)
        return gained
    if isinstance(old, ValueAnswers) and isinstance(new, ValueAnswers):
        return np.abs(old.predicted - old.truth) - np.abs(new.predicted - new.truth)
    raise ValueError("labels and numbers cannot be compared")


def changes(table: Table, per_row: Floats) -> tuple[SliceChange, ...]:
    """Every slice of at least 30 rows that is not the whole, with its mean gain. Rows without a gain (NaN) are left out."""
    known = np.isfinite(per_row)
    found = [
        (column, where, inside & known)
        for column, where, inside in _slices(table)
        if FEWEST_ROWS <= int((inside & known).sum()) < table.rows
    ]
    if not found:
        return ()
    z = bootstrap.normal_quantile(1 - (1 - bootstrap.CONFIDENCE) / len(found))
    return tuple(_change(column, where, per_row[inside], z) for column, where, inside in found)


def _change(column: str, where: str, gains: Floats, z: float) -> SliceChange:
    mean = float(gains.mean())
    half = z * float(gains.std(ddof=1)) / math.sqrt(len(gains))
    low, high = mean - half, mean + half
    return SliceChange(column, where, len(gains), mean, low, high, low > 0 or high < 0)


def _slices(table: Table) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    for name, column in table.columns.items():
        if _is_category(column):
            yield from _by_value(name, column)
        else:
            yield from _by_quarter(name, column.astype(np.float64))


def _is_category(column: Array) -> bool:
    if column.dtype.kind == "i":
        return len(np.unique(column)) <= _FEW_INTEGERS
    return column.dtype.kind in "Ob"


def _by_value(name: str, column: Array) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """The most frequent values, each a slice; missing is a value."""
    texts = np.array([_shown(value) for value in column.tolist()], dtype=object)
    counted: dict[str, int] = {}
    for text in texts.tolist():
        counted[text] = counted.get(text, 0) + 1
    for text in sorted(counted, key=lambda t: (-counted[t], t))[:_MOST_VALUES]:
        yield name, f"{name} {text}", texts == text


def _shown(value: object) -> str:
    return "is missing" if tables.plain(value) is None else f"= {value}"


def _by_quarter(name: str, column: Floats) -> Iterator[tuple[str, str, npt.NDArray[np.bool_]]]:
    """Quarters between the quartiles (fewer where these coincide), and the rows without a value."""
    gone = np.isnan(column)
    if gone.any():
        yield name, f"{name} is missing", gone
    if gone.all():
        return
    cuts = [float(q) for q in np.unique(np.quantile(column[~gone], _QUARTERS))]
    edges = [-math.inf, *cuts, math.inf]
    for low, high in itertools.pairwise(edges):
        inside = (column > low) & (column <= high) & ~gone
        if low == -math.inf:
            where = f"{name} ≤ {high:.4g}"
        elif high == math.inf:
            where = f"{name} > {low:.4g}"
        else:
            where = f"{low:.4g} < {name} ≤ {high:.4g}"
        yield name, where, inside
