"""Numeric columns counted as they come, in fixed memory: the same counts as `profiles.summarise_numbers`, quicker.

One pass over a block, without a branch: the bits of a float, plus a correction looked up by its leading mantissa bits,
hold its bin in their upper part, and all columns are counted at once. Used by `core.live_summaries`.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from seaway.core import distinct
from seaway.core.profiles import BINS_PER_OCTAVE, EDGES, NumericSummary, merge_numeric, summarise_numbers
from seaway.core.tensors import Array

_LOWEST: Final = -40
_HIGHEST: Final = 64
"""The dense bins hold magnitudes from 2**_LOWEST (`profiles.SMALLEST`) to 2**_HIGHEST; larger ones have their own."""
_BINS: Final = (_HIGHEST - _LOWEST) * BINS_PER_OCTAVE
_ZERO: Final = 0
_POSITIVE: Final = 1
_NEGATIVE: Final = _POSITIVE + _BINS
_ELSE: Final = _NEGATIVE + _BINS
"""NaN, infinity and what is beyond the dense bins."""
_WIDTH: Final = _ELSE + 1
_FAR_BINS: Final = (1024 - _HIGHEST) * BINS_PER_OCTAVE
_VALUES_AT_ONCE: Final = 32_768
"""More would need temporary arrays that fall out of the cache, and that the allocator gives back each time."""
_FIRST: Final = _LOWEST * BINS_PER_OCTAVE
_FIRST_FAR: Final = _HIGHEST * BINS_PER_OCTAVE
_CELL_BITS: Final = 8
"""Mantissa bits by which the correction is looked up: no cell has more than one edge of a bin in it."""


Words: TypeAlias = npt.NDArray[np.unsignedinteger]


class _Layout:
    """How the floats of one width become columns of the dense bins."""

    def __init__(self, mantissa_bits: int, exponent_bits: int, word: type[np.uint32 | np.uint64]) -> None:
        self.cell_shift: np.unsignedinteger = word(mantissa_bits - _CELL_BITS)
        self.cell_mask: np.unsignedinteger = word(2**_CELL_BITS - 1)
        self.shift: np.unsignedinteger = word(mantissa_bits - 3)
        self.corrections: Words = np.array(_corrections(mantissa_bits), dtype=np.int64).astype(
            word
        )  # wraps around
        # sign, exponent and three bits of the bin, as `bits + correction` has them at its top
        octave = np.arange(2**exponent_bits).repeat(BINS_PER_OCTAVE) - (2 ** (exponent_bits - 1) - 1)
        dense = octave * BINS_PER_OCTAVE + np.tile(np.arange(BINS_PER_OCTAVE), 2**exponent_bits) - _FIRST
        inside = (octave >= _LOWEST) & (octave < _HIGHEST)
        one_sign = np.where(inside, dense + _POSITIVE, np.where(octave < _LOWEST, _ZERO, _ELSE))
        self.places: npt.NDArray[np.intp] = np.concatenate(
            [one_sign, np.where(inside, one_sign + _BINS, one_sign)]
        ).astype(np.intp)
        self.word = word

    def places_of(self, bits: Words) -> npt.NDArray[np.intp]:
        """The column of the dense bins that each float, given by its bits, is counted in."""
        cells = np.right_shift(bits, self.cell_shift)
        cells &= self.cell_mask
        codes = self.corrections.take(cells)
        codes += bits
        codes >>= self.shift
        places: npt.NDArray[np.intp] = self.places.take(codes)
        return places


def _corrections(mantissa_bits: int) -> list[int]:
    """What to add to a mantissa, by cell, so that its upper three bits are its bin."""
    one = 2 ** (mantissa_bits - 3)
    edges = [math.ceil(math.ldexp(2 * edge - 1, mantissa_bits)) for edge in EDGES.tolist()]
    found = []
    for cell in range(2**_CELL_BITS):
        begin = cell << (mantissa_bits - _CELL_BITS)
        end = begin + (1 << (mantissa_bits - _CELL_BITS))
        inner = sum(edge <= begin for edge in edges) - 1
        inside = [edge for edge in edges if begin < edge < end]
        found.append((inner + 1) * one - inside[0] if inside else inner * one - begin)
    return found


_SINGLE: Final = _Layout(23, 8, np.uint32)
_DOUBLE: Final = _Layout(52, 11, np.uint64)


class LiveNumbers:
    """Counts of `columns` numeric columns. Takes 18 KiB a column, 138 KiB where magnitudes of 2**64 and more come.

    Not thread-safe.
    """

    def __init__(self, columns: int, *, count_distinct: bool = True) -> None:
        self._counts = np.zeros((columns, _WIDTH), dtype=np.int64)
        self._bases = (np.arange(columns) * _WIDTH)[:, np.newaxis]
        self._rows = np.zeros(columns, dtype=np.int64)
        self._missing = np.zeros(columns, dtype=np.int64)
        self._infinite = np.zeros(columns, dtype=np.int64)
        self._low = np.full(columns, np.inf)
        self._high = np.full(columns, -np.inf)
        self._far: dict[int, npt.NDArray[np.int64]] = {}
        self._distinct = distinct.LiveDistinct(columns) if count_distinct else None

    def add(self, block: Array) -> None:
        """Count a block `(rows, columns)` of any number type."""
        step = max(1, _VALUES_AT_ONCE // len(self._rows))
        for start in range(0, len(block), step):
            self._add(block[start : start + step])

    def _add(self, block: Array) -> None:
        layout, values = _as_floats(block)
        bits: Words = values.view(layout.word)
        places = layout.places_of(bits)
        places += self._bases
        np.add.at(self._counts.reshape(-1), places.reshape(-1), 1)
        self._rows += len(block)
        low, high = values.min(axis=1).astype(np.float64), values.max(axis=1).astype(np.float64)
        odd = np.flatnonzero(self._counts[:, _ELSE])
        if len(odd):
            self._counts[:, _ELSE] = 0
            for column in odd.tolist():
                low[column], high[column] = self._add_odd(column, values[column])
        np.minimum(self._low, low, out=self._low)
        np.maximum(self._high, high, out=self._high)
        if self._distinct is None:
            return
        # 64-bit integers are told apart by their own bits: a float64 holds no more than 53 of them
        whole = block.dtype.kind in "iu" and block.dtype.itemsize == 8
        words = np.ascontiguousarray(block.T).view(np.uint64) if whole else bits
        if not len(odd):
            self._distinct.add(_hash(words))
            return
        for column, present in enumerate(~np.isnan(values)):
            self._distinct.add(_hash(words[column][present])[np.newaxis], column)

    def add_missing(self, rows: int) -> None:
        """Count rows in which every column is missing."""
        self._rows += rows
        self._missing += rows

    def _add_odd(self, column: int, values: npt.NDArray[np.floating]) -> tuple[float, float]:
        """Count what the dense bins cannot hold: NaN, infinity, very large magnitudes; the lowest and highest finite."""
        beyond = summarise_numbers(values[~(np.abs(values) < 2.0**_HIGHEST)])
        self._missing[column] += beyond.missing
        self._infinite[column] += beyond.infinite
        for sign, bins in enumerate((beyond.positive, beyond.negative)):
            for index, count in bins:
                far = self._far.setdefault(column, np.zeros(2 * _FAR_BINS, dtype=np.int64))
                far[sign * _FAR_BINS + index - _FIRST_FAR] += count
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if len(finite) else (math.inf, -math.inf)

    def summary(self, column: int) -> NumericSummary:
        """What was counted of one column."""
        counts = self._counts[column]
        low, high = float(self._low[column]), float(self._high[column])
        near = NumericSummary(
            count=int(self._rows[column]),
            missing=int(self._missing[column]),
            infinite=int(self._infinite[column]),
            zero=int(counts[_ZERO]),
            positive=_sparse(counts[_POSITIVE:_NEGATIVE], _FIRST),
            negative=_sparse(counts[_NEGATIVE:_ELSE], _FIRST),
            low=low + 0.0 if low <= high else None,  # + 0.0 turns -0.0 into 0.0
            high=high + 0.0 if low <= high else None,
        )
        far = self._far.get(column)
        if far is None:
            return near
        above = NumericSummary(
            positive=_sparse(far[:_FAR_BINS], _FIRST_FAR), negative=_sparse(far[_FAR_BINS:], _FIRST_FAR)
        )
        return merge_numeric(near, above)

    def registers(self, column: int) -> bytes:
        """The state of one column's distinct count, see `core.distinct`; b"" where it is not counted."""
        return b"" if self._distinct is None else self._distinct.registers(column)

    @property
    def size_bytes(self) -> int:
        """Memory of the counters."""
        arrays = (self._counts, self._bases, self._rows, self._missing, self._infinite, self._low, self._high)
        own = sum(array.nbytes for array in arrays) + sum(far.nbytes for far in self._far.values())
        return own + (0 if self._distinct is None else self._distinct.size_bytes)


def _as_floats(block: Array) -> tuple[_Layout, npt.NDArray[np.floating]]:
    """The block as `(columns, rows)`, float32 where that holds every value of its type, else float64; -0.0 is 0.0."""
    single = block.dtype == np.float32 or block.dtype.itemsize <= 2
    kind: type[np.floating] = np.float32 if single else np.float64
    values = np.empty((block.shape[1], block.shape[0]), dtype=kind)
    np.add(block.T, kind(0), out=values, casting="unsafe")
    return _SINGLE if single else _DOUBLE, values


def _hash(words: Array) -> npt.NDArray[np.uint32]:
    return distinct.hash_words(words) if words.dtype == np.uint32 else distinct.hash_long_words(words)  # type: ignore[arg-type]


def _sparse(counts: npt.NDArray[np.int64], first: int) -> tuple[tuple[int, int], ...]:
    filled = np.flatnonzero(counts)
    return tuple(zip((filled + first).tolist(), counts[filled].tolist(), strict=True))
