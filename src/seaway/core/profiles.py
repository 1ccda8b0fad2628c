"""ReferenceProfile: a deterministic, mergeable summary of the data a version expects and the answers it gives.

Made by `bundle.build`, kept in the bundle, compared with live windows by monitors. All is counted in integers,
so merging is exact, associative and commutative, and equal data give equal bytes in whatever order it came.
"""

from __future__ import annotations

import bisect
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core.errors import UserError
from seaway.core.tensors import Array

PROFILE_VERSION: Final = 1
BINS_PER_OCTAVE: Final = 8
"""A bin spans a factor of 2**(1/8), about 9 %."""
SMALLEST: Final = 2.0**-40
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
    zero = np.abs(finite) < SMALLEST
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


def bin_of(magnitude: float) -> int:
    """The bin of one magnitude that is not zero, as in a NumericSummary."""
    fraction, exponent = math.frexp(magnitude)
    return (exponent - 1) * BINS_PER_OCTAVE + bisect.bisect_right(_EDGES, fraction) - 1


def _bins(magnitudes: npt.NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    if not len(magnitudes):
        return ()
    # frexp is exact, so a value falls into the same bin on every machine; log2 of numpy is not
    fraction, exponent = np.frexp(magnitudes)
    inner = np.searchsorted(EDGES, fraction, side="right") - 1
    index = (exponent.astype(np.int64) - 1) * BINS_PER_OCTAVE + inner
    found, counts = np.unique(index, return_counts=True)
    return tuple((int(i), int(n)) for i, n in zip(found, counts, strict=True))


EDGES: Final = np.array([math.ldexp(2.0 ** (i / BINS_PER_OCTAVE), -1) for i in range(BINS_PER_OCTAVE)])
"""Where the bins of an octave begin, as fractions of frexp (0.5 <= fraction < 1)."""
_EDGES: Final[list[float]] = EDGES.tolist()


def _categorical(
    count: int, missing: int, counts: Mapping[str, int], other: int, *, overflowed: bool
) -> CategoricalSummary:
    if overflowed or len(counts) > MAX_CATEGORIES:
        return CategoricalSummary(count, missing, (), other + sum(counts.values()), overflowed=True)
    return CategoricalSummary(count, missing, tuple(sorted(counts.items())))


def merge_numeric(*parts: NumericSummary) -> NumericSummary:
    """The summary of all these columns together."""
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    return NumericSummary(
        sum(part.count for part in parts),
        sum(part.missing for part in parts),
        sum(part.infinite for part in parts),
        sum(part.zero for part in parts),
        _add(part.positive for part in parts),
        _add(part.negative for part in parts),
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


def quantile(summary: NumericSummary, q: float) -> float | None:
    """The q-quantile (0 < q <= 1) of the finite values: the ceil(q * n)-th smallest; None where there are none.

    Within a factor of 2**(1/16) of the exact one (4.4 %), since it is the middle of the bin that holds that value;
    magnitudes below `SMALLEST` are 0. The lowest and the highest value are exact.
    """
    total = summary.count - summary.missing - summary.infinite
    if total <= 0:
        return None
    rank = max(1, math.ceil(q * total))
    low = -math.inf if summary.low is None else summary.low
    high = math.inf if summary.high is None else summary.high
    if rank == 1 and math.isfinite(low):
        return low
    if rank == total and math.isfinite(high):
        return high
    seen = 0
    for value, count in _ascending(summary):
        seen += count
        if seen >= rank:
            return min(max(value, low), high)
    raise AssertionError("unreachable")


def _ascending(summary: NumericSummary) -> Iterator[tuple[float, int]]:
    """The middle (geometric) of each bin that is not empty, and its count, from the lowest on."""
    for index, count in reversed(summary.negative):
        yield -_middle(index), count
    yield 0.0, summary.zero
    for index, count in summary.positive:
        yield _middle(index), count


def _middle(index: int) -> float:
    octave, inner = divmod(index, BINS_PER_OCTAVE)
    # the last octave of float64 ends above the largest number: half of it fits
    return min(math.ldexp(2.0 ** ((inner + 0.5) / BINS_PER_OCTAVE) / 2, octave) * 2, sys.float_info.max)


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


def _add(parts: Iterable[tuple[tuple[int, int], ...]]) -> tuple[tuple[int, int], ...]:
    counts: dict[int, int] = {}
    for part in parts:
        for index, n in part:
            counts[index] = counts.get(index, 0) + n
    return tuple(sorted(counts.items()))
