"""What was summarised of a revision's inputs, outputs and confidences; columns compare with the bundle's ReferenceProfile.

Counted by `core.live_summaries`, kept by `monitor`, read by monitors and `seaway profile`. All is counted in integers
(centroids in fixed point), so merging is exact, associative and commutative: equal data give equal bytes in whatever
order and grouping they came.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from seaway.core import distinct
from seaway.core.profiles import CategoricalSummary, NumericSummary, merge_categorical, merge_numeric

FIXED_POINT: Final = 2**16
"""Sums of a centroid are in units of 1/FIXED_POINT: a value is rounded by at most 7.7e-6."""
CLIPPED_AT: Final = 2**15
"""Larger magnitudes enter a centroid as this one, so that 2**32 rows can be summed in 64 bits."""
SUMMARY_VERSION: Final = 1


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts by length in characters, script (`core.scripts`) and, where a detector is installed, language.

    `languages` counts fewer texts than `lengths`: those that were looked at.
    """

    lengths: NumericSummary = NumericSummary()
    scripts: CategoricalSummary = CategoricalSummary()
    languages: CategoricalSummary = CategoricalSummary()


class Centroid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sum of rows of one width, in units of 1/FIXED_POINT. `clipped` counts values beyond CLIPPED_AT; rows that are
    not finite throughout are not in it."""

    rows: int
    clipped: int
    sums: tuple[int, ...]

    def means(self) -> tuple[float, ...]:
        """The centroid."""
        return tuple(total / (self.rows * FIXED_POINT) for total in self.sums) if self.rows else ()


class ColumnSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column, or one tensor of many values a row (`pooled`: then `numeric` counts values instead of rows).

    Numbers are in `numeric`; labels, bools and texts in `categories`, texts also in `texts`. `registers` are those of
    the distinct count (`core.distinct`).
    """

    numeric: NumericSummary | None = None
    categories: CategoricalSummary | None = None
    texts: Texts | None = None
    centroid: Centroid | None = None
    pooled: bool = False
    registers: bytes = b""

    def distinct_count(self) -> int | None:
        """How many distinct values there were: exact for categories, else an estimate; None where it is not counted."""
        if self.categories is not None and not self.categories.overflowed:
            return len(self.categories.categories)
        if not self.registers:
            return None
        counted = self.categories or self.numeric
        most = counted.count - counted.missing if counted is not None else 0
        return min(round(distinct.estimate(self.registers)), most)


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs and outputs by column name, as the ReferenceProfile names them; `rows` is how many rows went into it.

    `confidence` is that of the rows' answers, where the model gives one.
    """

    rows: int = 0
    inputs: dict[str, ColumnSummary] = {}
    outputs: dict[str, ColumnSummary] = {}
    confidence: NumericSummary | None = None
    summary_version: int = SUMMARY_VERSION


def merge(parts: Iterable[Summary]) -> Summary:
    """All of them together; of one revision, since columns of one name must be of one kind."""
    every = list(parts)
    confidences = [one.confidence for one in every if one.confidence is not None]
    return Summary(
        sum(one.rows for one in every),
        _merge_by_name([one.inputs for one in every]),
        _merge_by_name([one.outputs for one in every]),
        merge_numeric(*confidences) if confidences else None,
    )


def encode(summary: Summary) -> bytes:
    """Canonical MessagePack: equal summaries give equal bytes."""
    return msgspec.msgpack.encode(summary, order="sorted")


def _merge_by_name(parts: Sequence[Mapping[str, ColumnSummary]]) -> dict[str, ColumnSummary]:
    columns: dict[str, list[ColumnSummary]] = {}
    for part in parts:
        for name, column in part.items():
            columns.setdefault(name, []).append(column)
    return {name: merge_columns(columns[name]) for name in sorted(columns)}


def merge_columns(parts: Sequence[ColumnSummary]) -> ColumnSummary:
    """The summary of these columns together; of at least one."""
    numbers = [one.numeric for one in parts if one.numeric is not None]
    categories = [one.categories for one in parts if one.categories is not None]
    texts = [one.texts for one in parts if one.texts is not None]
    centroids = [one.centroid for one in parts if one.centroid is not None]
    return ColumnSummary(
        numeric=merge_numeric(*numbers) if numbers else None,
        categories=functools.reduce(merge_categorical, categories) if categories else None,
        texts=_merge_texts(texts) if texts else None,
        centroid=_merge_centroids(centroids) if centroids else None,
        pooled=any(one.pooled for one in parts),
        registers=distinct.merge(*(one.registers for one in parts)),
    )


def _merge_texts(parts: Sequence[Texts]) -> Texts:
    return Texts(
        merge_numeric(*(one.lengths for one in parts)),
        functools.reduce(merge_categorical, (one.scripts for one in parts)),
        functools.reduce(merge_categorical, (one.languages for one in parts)),
    )


def _merge_centroids(parts: Sequence[Centroid]) -> Centroid:
    sums = tuple(map(sum, zip(*(one.sums for one in parts), strict=True)))
    return Centroid(sum(one.rows for one in parts), sum(one.clipped for one in parts), sums)
