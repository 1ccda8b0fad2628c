"""ReferenceProfile: a deterministic, mergeable summary of the data a version expects and the answers it gives.

Made by `bundle.build`, kept in the bundle, compared with live windows by monitors. All is counted in integers,
so merging is exact, associative and commutative, and equal data give equal bytes in whatever order it came.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core.errors import UserError
from seaway.core.tensors import Array

PROFILE_VERSION: Final = 1
BINS_PER_OCTAVE: Final = 8
"""A bin spans a factor of 2**(1/8), about 9 %."""
_SMALLEST: Final = 2.0**-40
"""Magnitudes below it count as zero."""
MAX_CATEGORIES: Final = 100


class NumericSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of one numeric column. `count` includes the missing and the infinite.

    Bin i of `positive` holds 2**(i/8) <= x < 2**((i+1)/8), of `negative` the same of -x; bins are sparse and
    sorted. `low` and `high` bound the finite values and are None where there are none.
    """

    count: int = 0
    missing: int = 0
    infinite: int = 0
    zero: int = 0
    positive: tuple[tuple[int, int], ...] = ()
    negative: tuple[tuple[int, int], ...] = ()
    low: float | None = None
    high: float | None = None


class CategoricalSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of one column of categories, sorted by category.

    `overflowed` says that there were more than MAX_CATEGORIES kinds: then single ones are no longer told apart,
    `categories` is empty and `other` counts all values. (Keeping the most frequent ones would make the result
    depend on the order of merging.)
    """

    count: int = 0
    missing: int = 0
    categories: tuple[tuple[str, int], ...] = ()
    other: int = 0
    overflowed: bool = False


class ReferenceProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Summaries of inputs and outputs by column name; `rows` is the number of rows in them."""

    rows: int = 0
    numeric: dict[str, NumericSummary] = {}
    categorical: dict[str, CategoricalSummary] = {}
    output_numeric: dict[str, NumericSummary] = {}
    output_categorical: dict[str, CategoricalSummary] = {}
    profile_version: int = PROFILE_VERSION


def profile(
    inputs: Mapping[str, Array], outputs: Mapping[str, Array], categories: Iterable[str] = ()
) -> ReferenceProfile:
    """The summary of columns of equal length `(rows,)`.

    String and bool columns are categories, and so are the numeric ones named in `categories` (such as labels).
    """
    named = frozenset(categories)
    lengths = {len(column) for column in (*inputs.values(), *outputs.values())}
    numeric, categorical = _split(inputs, named)
    output_numeric, output_categorical = _split(outputs, named)
    return ReferenceProfile(max(lengths, default=0), numeric, categorical, output_numeric, output_categorical)


def merge(a: ReferenceProfile, b: ReferenceProfile) -> ReferenceProfile:
    """The profile of both data sets together. Raises `UserError("manifest_invalid")` for other versions."""
    for one in (a, b):
        if one.profile_version != PROFILE_VERSION:
            raise UserError(
                "manifest_invalid", f"a profile of version {one.profile_version} cannot be merged"
            )
    return ReferenceProfile(
        a.rows + b.rows,
        _merge_numeric_all(a.numeric, b.numeric),
        _merge_categorical_all(a.categorical, b.categorical),
        _merge_numeric_all(a.output_numeric, b.output_numeric),
        _merge_categorical_all(a.output_categorical, b.output_categorical),
    )


def encode_profile(value: ReferenceProfile) -> bytes:
    """Canonical JSON: equal profiles give equal bytes."""
    return msgspec.json.encode(value, order="sorted") + b"\n"


def summarise_numbers(column: Array) -> NumericSummary:
    """The summary of numbers `(rows,)`; NaN is missing."""
    values = np.asarray(column, dtype=np.float64)
    missing = np.isnan(values)
    infinite = np.isinf(values)
    finite = values[~(missing | infinite)]
    zero = np.abs(finite) < _SMALLEST
    return NumericSummary(
        count=len(values),
        missing=int(missing.sum()),
        infinite=int(infinite.sum()),
        zero=int(zero.sum()),
        positive=_bins(finite[(finite > 0) & ~zero]),
        negative=_bins(-finite[(finite < 0) & ~zero]),
        low=float(finite.min()) + 0.0 if len(finite) else None,  # + 0.0 turns -0.0 into 0.0
        high=float(finite.max()) + 0.0 if len(finite) else None,
    )


def summarise_categories(values: Sequence[object]) -> CategoricalSummary:
    """The summary of categories; None and NaN are missing, everything else counts by its text."""
    counts: dict[str, int] = {}
    missing = 0
    for value in values:
        if value is None or value != value:
            missing += 1
        else:
            text = str(value)
            counts[text] = counts.get(text, 0) + 1
    return _categorical(len(values), missing, counts, 0, overflowed=False)


def _split(
    columns: Mapping[str, Array], named: frozenset[str]
) -> tuple[dict[str, NumericSummary], dict[str, CategoricalSummary]]:
    numeric: dict[str, NumericSummary] = {}
    categorical: dict[str, CategoricalSummary] = {}
    for name, column in columns.items():
        if column.dtype.kind in "Ob" or name in named:
            categorical[name] = summarise_categories(column.tolist())
        else:
            numeric[name] = summarise_numbers(column)
    return numeric, categorical


def _bins(magnitudes: npt.NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    if not len(magnitudes):
        return ()
    # frexp is exact, so a value falls into the same bin on every machine; log2 of numpy is not
    fraction, exponent = np.frexp(magnitudes)
    inner = np.searchsorted(_EDGES, fraction, side="right") - 1
    index = (exponent.astype(np.int64) - 1) * BINS_PER_OCTAVE + inner
    found, counts = np.unique(index, return_counts=True)
    return tuple((int(i), int(n)) for i, n in zip(found, counts, strict=True))


_EDGES: Final = np.array([math.ldexp(2.0 ** (i / BINS_PER_OCTAVE), -1) for i in range(BINS_PER_OCTAVE)])


def _categorical(
    count: int, missing: int, counts: Mapping[str, int], other: int, *, overflowed: bool
) -> CategoricalSummary:
    if overflowed or len(counts) > MAX_CATEGORIES:
        return CategoricalSummary(count, missing, (), other + sum(counts.values()), overflowed=True)
    return CategoricalSummary(count, missing, tuple(sorted(counts.items())))


def merge_numeric(a: NumericSummary, b: NumericSummary) -> NumericSummary:
    """The summary of both columns together."""
    lows = [x for x in (a.low, b.low) if x is not None]
    highs = [x for x in (a.high, b.high) if x is not None]
    return NumericSummary(
        a.count + b.count,
        a.missing + b.missing,
        a.infinite + b.infinite,
        a.zero + b.zero,
        _add(a.positive, b.positive),
        _add(a.negative, b.negative),
        min(lows, default=None),
        max(highs, default=None),
    )


def merge_categorical(a: CategoricalSummary, b: CategoricalSummary) -> CategoricalSummary:
    """The summary of both columns together."""
    counts = dict(a.categories)
    for name, n in b.categories:
        counts[name] = counts.get(name, 0) + n
    overflowed = a.overflowed or b.overflowed
    return _categorical(
        a.count + b.count, a.missing + b.missing, counts, a.other + b.other, overflowed=overflowed
    )


def _merge_numeric_all(
    a: Mapping[str, NumericSummary], b: Mapping[str, NumericSummary]
) -> dict[str, NumericSummary]:
    empty = NumericSummary()
    return {name: merge_numeric(a.get(name, empty), b.get(name, empty)) for name in sorted({*a, *b})}


def _merge_categorical_all(
    a: Mapping[str, CategoricalSummary], b: Mapping[str, CategoricalSummary]
) -> dict[str, CategoricalSummary]:
    empty = CategoricalSummary()
    return {name: merge_categorical(a.get(name, empty), b.get(name, empty)) for name in sorted({*a, *b})}


def _add(a: tuple[tuple[int, int], ...], b: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    counts = dict(a)
    for index, n in b:
        counts[index] = counts.get(index, 0) + n
    return tuple(sorted(counts.items()))
