"""Captured requests as tensors again: the way back of `monitor.capture.columns`, for whoever asks a model the same once more.

The columns are looked up by what they are called, so another version whose inputs are grouped otherwise can be asked too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from seaway.core.captures import Cell
from seaway.core.tensors import Array, DType, TensorSpec

INPUT: Final = "input"
OUTPUT: Final = "output"


class _Part(msgspec.Struct, frozen=True):
    """One tensor and the columns that hold it."""

    spec: TensorSpec
    names: tuple[str, ...]


class Restoring:
    """Puts the columns of one side together for some specs; made once for many requests."""

    def __init__(self, side: str, specs: Sequence[TensorSpec], columns: Collection[str]) -> None:
        """`columns` are those that there are, such as `input.price`."""
        self.missing: tuple[str, ...] = ()
        """Columns that are needed and not there, without their side."""
        self._parts: list[_Part] = []
        missing = []
        for spec in specs:
            found = [_find(side, spec, name, columns) for name in _wanted(spec)]
            gone = [name for name, label in zip(_wanted(spec), found, strict=True) if label is None]
            if not gone:
                self._parts.append(_Part(spec, tuple(label for label in found if label is not None)))
            elif not spec.optional:
                missing += gone
        self.missing = tuple(missing)

    def tensors(self, cells: Mapping[str, Sequence[Cell]], rows: int) -> dict[str, Array] | None:
        """The tensors of one request from its cells by column, each `(rows,)`; None where one of them was not kept, since
        it was too large or the request did not fit. An optional one that is not there is left out."""
        found: dict[str, Array] = {}
        for part in self._parts:
            own = [cells[name][:rows] for name in part.names]
            if part.spec.dtype is not DType.BYTES and all(cell is None for one in own for cell in one):
                if part.spec.optional:
                    continue
                if rows:
                    return None
            try:
                array = _array(part.spec, own, rows)
            except (ValueError, TypeError, OverflowError, msgspec.DecodeError):
                return None
            if not part.spec.accepts(array.shape):
                return None
            found[part.spec.name] = array
        return found


def _wanted(spec: TensorSpec) -> tuple[str, ...]:
    """The names of its columns, as `monitor.capture.columns` divides it."""
    named = spec.shape[:1] == (-1,) and spec.columns and len(spec.shape) == 2
    return spec.columns if named else (spec.name,)


def _find(side: str, spec: TensorSpec, name: str, columns: Collection[str]) -> str | None:
    """Where two tensors have a column of one name, it is told apart by its tensor's."""
    labels = (f"{side}.{spec.name}.{name}", f"{side}.{name}")
    return next((label for label in labels if label in columns), None)


def _array(spec: TensorSpec, own: Sequence[Sequence[Cell]], rows: int) -> Array:
    if len(own) > 1 or spec.columns:
        return _typed(spec, [list(row) for row in zip(*own, strict=True)]).reshape(rows, len(own))
    cells = own[0]
    if spec.shape[:1] != (-1,):
        return _typed(spec, _decoded(cells[0]))
    if all(axis == 1 for axis in spec.shape[1:]):
        return _typed(spec, list(cells)).reshape(rows, *spec.shape[1:])
    return _typed(spec, [_decoded(cell) for cell in cells])


def _decoded(cell: Cell) -> object:
    if not isinstance(cell, str):
        raise ValueError("no JSON was kept")
    found: object = msgspec.json.decode(cell)
    return found


def _typed(spec: TensorSpec, values: object) -> Array:
    """As the spec wants it; a missing number is NaN, a missing text "", as where JSON leaves it out.

    Raises `ValueError` where the values are of another kind, so that no text is taken for a number nor 1.5 for 1.
    """
    array = np.array(values, dtype=object)
    kinds = {type(value) for value in array.reshape(-1).tolist() if value is not None}
    if spec.dtype is DType.BYTES:
        if kinds - {str}:
            raise ValueError("not a text")
        flat = ["" if value is None else value for value in array.reshape(-1).tolist()]
        return np.array([*flat, None], dtype=object)[:-1].reshape(array.shape)
    if kinds - {bool, int, float}:
        raise ValueError("not a number")
    if spec.dtype.is_float:
        return array.astype(np.float64).astype(spec.dtype.numpy)
    whole = array.astype(np.float64) if float in kinds else None
    if whole is not None and not (whole == np.rint(whole)).all():
        raise ValueError("not a whole number")
    return array.astype(spec.dtype.numpy)
