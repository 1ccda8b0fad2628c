"""Counters of one tensor's columns in fixed memory, fed in blocks of rows: numbers, categories, texts, large tensors.

Made and fed by `core.live_summaries`. None is thread-safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core import distinct, scripts
from seaway.core.live_numbers import LiveNumbers
from seaway.core.profiles import MAX_CATEGORIES, CategoricalSummary
from seaway.core.summaries import CLIPPED_AT, FIXED_POINT, Centroid, ColumnSummary, Texts
from seaway.core.tensors import Array

LARGEST_CATEGORY: Final = 128
"""A longer text is no category: it makes its column overflow, so that memory stays bounded."""
LARGEST_CENTROID: Final = 4096
"""Of tensors with more values a row no centroid is kept, and only `DRAWN` of them are looked at."""
DRAWN: Final = 1024
_SMALL_LABELS: Final = 1024
SHORTEST_SPOKEN: Final = 20
"""A shorter text, such as a category, has no language that could be told; and telling it costs a library's 100 MB."""
_LANGUAGES_A_BLOCK: Final = 32
"""Detecting a language takes long, so that only so many texts of a block are looked at."""


class LiveColumns(Protocol):
    """Counts the columns of one tensor."""

    def add(self, block: Array) -> None:
        """Count a block `(rows, values in a row)`, not empty."""

    def add_missing(self, rows: int) -> None:
        """Count rows in which the tensor was left out."""

    def columns(self) -> dict[str, ColumnSummary]:
        """What was counted, by column name."""


class NumberColumns:
    """A column of numbers for each value of a row. `hidden` ones keep no exact value, so neither lowest nor highest."""

    def __init__(self, names: Sequence[str], hidden: Sequence[bool]) -> None:
        self._names = names
        self._hidden = hidden
        self._numbers = LiveNumbers(len(names))
        self.add = self._numbers.add
        self.add_missing = self._numbers.add_missing

    def columns(self) -> dict[str, ColumnSummary]:
        """See `LiveColumns`."""
        found = {}
        for place, (name, hidden) in enumerate(zip(self._names, self._hidden, strict=True)):
            numeric = self._numbers.summary(place)
            if hidden:
                numeric = msgspec.structs.replace(numeric, low=None, high=None)
            found[name] = ColumnSummary(numeric=numeric, registers=self._numbers.registers(place))
        return found


class Categories:
    """Counts by category, at most MAX_CATEGORIES of them; `hidden` ones are never told apart, `mask` goes over all others."""

    def __init__(self, *, hidden: bool = False, mask: Callable[[str], str] | None = None) -> None:
        self._mask = mask
        self._counts: dict[str, int] = {}
        self._overflowed = hidden
        self._count = self._missing = 0

    def add(self, counts: Mapping[str, int], missing: int = 0) -> None:
        """Count values by their text."""
        self._count += sum(counts.values()) + missing
        self._missing += missing
        if self._overflowed:
            return
        own, mask = self._counts, self._mask
        for kind, count in counts.items():
            shown = kind if mask is None else mask(kind)
            own[shown] = own.get(shown, 0) + count
        if len(own) > MAX_CATEGORIES or any(len(kind) > LARGEST_CATEGORY for kind in counts):
            own.clear()
            self._overflowed = True

    def summary(self) -> CategoricalSummary:
        """As `profiles.summarise_categories` gives it."""
        if self._overflowed and self._count > self._missing:
            other = self._count - self._missing
            return CategoricalSummary(self._count, self._missing, (), other, overflowed=True)
        return CategoricalSummary(self._count, self._missing, tuple(sorted(self._counts.items())))


class CategoryColumns:
    """A column of labels or bools for each value of a row."""

    def __init__(
        self, names: Sequence[str], hidden: Sequence[bool], mask: Callable[[str], str] | None = None
    ) -> None:
        self._names = names
        self._categories = [Categories(hidden=one, mask=mask) for one in hidden]
        self._distinct = distinct.LiveDistinct(len(names))

    def add(self, block: Array) -> None:
        """See `LiveColumns`."""
        for place, categories in enumerate(self._categories):
            counts, missing = _count_labels(block[:, place])
            categories.add(counts, missing)
            if counts:
                self._distinct.add(distinct.hash_texts(counts)[np.newaxis], place)

    def add_missing(self, rows: int) -> None:
        """See `LiveColumns`."""
        for categories in self._categories:
            categories.add({}, rows)

    def columns(self) -> dict[str, ColumnSummary]:
        """See `LiveColumns`."""
        return {
            name: ColumnSummary(categories=categories.summary(), registers=self._distinct.registers(place))
            for place, (name, categories) in enumerate(zip(self._names, self._categories, strict=True))
        }


def _count_labels(values: Array) -> tuple[dict[str, int], int]:
    """Labels by their text, and how many are missing (None, NaN)."""
    if values.dtype == object:
        texts = Counter(values.tolist())
        missing = texts.pop(None, 0)
        return {str(kind): count for kind, count in texts.items()}, missing
    if values.dtype.kind == "f":
        kept = values[~np.isnan(values.astype(np.float64, copy=False))]
        kinds, counts = np.unique(kept, return_counts=True)
    elif values.dtype.kind in "iu" and len(values) and values.min() >= 0 and values.max() < _SMALL_LABELS:
        kept = values
        every = np.bincount(values.astype(np.intp, copy=False))
        kinds = np.flatnonzero(every).astype(values.dtype)
        counts = every[kinds]
    else:
        kept = values
        kinds, counts = np.unique(values, return_counts=True)
    named = {str(kind): count for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True)}
    return named, len(values) - len(kept)


class TextColumns:
    """A column of texts for each value of a row, or all of them as one column. `nullable`: an empty text is missing."""

    def __init__(
        self,
        names: Sequence[str],
        hidden: Sequence[bool],
        *,
        nullable: bool,
        mask: Callable[[str], str] | None = None,
        language: Callable[[str], str] | None = None,
    ) -> None:
        self._names = names
        self._nullable = nullable
        self._language = language
        self._categories = [Categories(hidden=one, mask=mask) for one in hidden]
        self._scripts = [Categories() for _ in names]
        self._languages = [Categories() for _ in names]
        self._lengths = [LiveNumbers(1, count_distinct=False) for _ in names]
        self._distinct = distinct.LiveDistinct(len(names))

    def add(self, block: Array) -> None:
        """See `LiveColumns`."""
        if len(self._names) != block.shape[1]:
            block = block.reshape(-1, 1)
        for place in range(len(self._names)):
            self._add(place, block[:, place].tolist())

    def _add(self, place: int, texts: list[str | None]) -> None:
        # str, since numpy's own texts are texts too, but no value that can be stored
        kept = [str(text) for text in texts if text is not None and (text or not self._nullable)]
        counts = Counter(kept)
        self._categories[place].add(counts, len(texts) - len(kept))
        if not kept:
            return
        lengths = np.fromiter(map(len, kept), dtype=np.float64, count=len(kept))
        self._lengths[place].add(lengths.reshape(-1, 1))
        self._scripts[place].add(Counter(map(scripts.script_of, kept)))
        self._distinct.add(distinct.hash_texts(counts)[np.newaxis], place)
        if self._language is None:
            return
        spoken = [text for text in kept if len(text) >= SHORTEST_SPOKEN]
        if spoken:
            step = -(-len(spoken) // _LANGUAGES_A_BLOCK)
            self._languages[place].add(Counter(map(self._language, spoken[::step])))

    def add_missing(self, rows: int) -> None:
        """See `LiveColumns`."""
        for categories in self._categories:
            categories.add({}, rows)

    def columns(self) -> dict[str, ColumnSummary]:
        """See `LiveColumns`."""
        return {
            name: ColumnSummary(
                categories=self._categories[place].summary(),
                texts=Texts(
                    self._lengths[place].summary(0),
                    self._scripts[place].summary(),
                    self._languages[place].summary(),
                ),
                registers=self._distinct.registers(place),
            )
            for place, name in enumerate(self._names)
        }


class PooledValues:
    """All values of a tensor as one column, and its centroid where a row has a fixed `width` of at most LARGEST_CENTROID.

    Of wider rows it looks at DRAWN values each, at places drawn anew for every block.
    """

    def __init__(self, name: str, width: int | None, *, hidden: bool) -> None:
        self._name = name
        self._hidden = hidden
        self._numbers = LiveNumbers(1, count_distinct=False)
        keeps = width is not None and 0 < width <= LARGEST_CENTROID
        self._sums = np.zeros(width if keeps and width else 0, dtype=np.int64)
        self._rows = self._clipped = 0
        self._draw = np.random.default_rng(0)

    def add(self, block: Array) -> None:
        """See `LiveColumns`."""
        if block.shape[1] > LARGEST_CENTROID:
            block = block[:, self._draw.choice(block.shape[1], DRAWN, replace=False)]
        self._numbers.add(block.reshape(-1, 1))
        if len(self._sums):
            self._add_centroid(block.astype(np.float64, copy=False))

    def _add_centroid(self, values: npt.NDArray[np.float64]) -> None:
        whole = np.isfinite(values).all(axis=1)
        if not whole.all():
            values = values[whole]
        self._rows += len(values)
        self._clipped += int((np.abs(values) > CLIPPED_AT).sum())
        fixed = np.rint(np.clip(values, -CLIPPED_AT, CLIPPED_AT) * FIXED_POINT)
        self._sums += fixed.astype(np.int64).sum(axis=0)

    def add_missing(self, rows: int) -> None:
        """See `LiveColumns`."""
        self._numbers.add_missing(rows)

    def columns(self) -> dict[str, ColumnSummary]:
        """See `LiveColumns`."""
        numeric = self._numbers.summary(0)
        centroid = None
        if len(self._sums) and not self._hidden:
            centroid = Centroid(self._rows, self._clipped, tuple(self._sums.tolist()))
        if self._hidden:
            numeric = msgspec.structs.replace(numeric, low=None, high=None)
        return {self._name: ColumnSummary(numeric=numeric, centroid=centroid, pooled=True)}
