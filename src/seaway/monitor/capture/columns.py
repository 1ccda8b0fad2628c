"""Turns the tensors of a request into columns of cells, redacted: what `monitor.capture.sink` writes of a request.

A tensor with one value in each row is a typed column, one with named columns is several, any other a column of JSON, and one
that is too large only leaves its shape, datatype and digest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from seaway.core.captures import Cell, CellKind, ColumnSpec
from seaway.core.records import Answered
from seaway.core.tensors import Array, DType, Signature, Tensors, TensorSpec
from seaway.monitor.capture.redaction import Redaction

MOST_VALUES: Final = 64 * 1024
"""Values of a tensor that are kept; of a larger one only what it is."""
MOST_TEXT: Final = 64 * 1024
"""Characters of a tensor of text that are kept: searching so many for patterns takes the interpreter a few milliseconds."""

_KINDS: Final[dict[DType, CellKind]] = {
    DType.BOOL: CellKind.FLAG,
    DType.FP16: CellKind.SINGLE,
    DType.FP32: CellKind.SINGLE,
    DType.FP64: CellKind.DOUBLE,
    DType.UINT64: CellKind.DOUBLE,  # half of its values fit no signed integer
    DType.BYTES: CellKind.TEXT,
}


class Omitted(msgspec.Struct, frozen=True):
    """A tensor that was too large to keep, or not what the Signature says.

    `blake2b` (16 bytes, hexadecimal) tells equal ones from others.
    """

    shape: tuple[int, ...]
    dtype: str
    blake2b: str


class _Part(msgspec.Struct, frozen=True):
    """One tensor and its columns; `places` are the kept ones of its named columns."""

    spec: TensorSpec
    label: str
    output: bool
    by_row: bool
    names: tuple[str, ...]
    places: tuple[int, ...] | None
    json: bool


class Layout:
    """The columns of one revision's requests, and how they are filled; for one thread."""

    def __init__(self, signature: Signature, redaction: Redaction) -> None:
        self._redaction = redaction
        self._parts: list[_Part] = []
        columns: list[ColumnSpec] = []
        for side, specs in (("input", signature.inputs), ("output", signature.outputs)):
            twice = Counter(name for spec in specs for name in (spec.columns or (spec.name,)))
            for spec in specs:
                if redaction.hides(spec.name, f"{side}.{spec.name}"):
                    continue
                part, found = _part(side, spec, redaction, twice)
                self._parts.append(part)
                columns += found
        self.columns = tuple(columns)

    def cells(self, request: Answered) -> tuple[list[list[Cell] | None], dict[str, Omitted]]:
        """The cells of each column of `(rows,)`, or of `(1,)` where a value is the whole request's; None for one not there."""
        filled: list[list[Cell] | None] = []
        omitted: dict[str, Omitted] = {}
        outputs: Tensors = request.outputs or {}
        for part in self._parts:
            array = (outputs if part.output else request.tensors).get(part.spec.name)
            if array is None:
                filled += [None] * len(part.names)
            elif not _fits(part.spec, array) or _too_large(array):
                omitted[part.label] = _omit(array)
                filled += [None] * len(part.names)
            else:
                filled += self._fill(part, array)
        return filled, omitted

    def _fill(self, part: _Part, array: Array) -> Sequence[list[Cell] | None]:
        if part.spec.dtype is DType.BYTES:
            array = self._masked(array)
        elif part.spec.dtype is DType.UINT64:
            array = array.astype(np.float64)
        if not part.by_row:
            return [[_json(array.tolist())]]
        if part.json:
            return [[_json(row) for row in array.tolist()]]
        if part.places is None:
            return [array.reshape(len(array)).tolist()]
        columns: list[list[Cell]] = array.T.tolist()
        return columns if len(part.places) == len(columns) else [columns[place] for place in part.places]

    def _masked(self, array: Array) -> Array:
        mask = self._redaction.mask
        values = [None if v is None else mask(_sendable(str(v))) for v in array.reshape(-1).tolist()]
        return np.array(values, dtype=object).reshape(array.shape)


def _part(
    side: str, spec: TensorSpec, redaction: Redaction, twice: Counter[str]
) -> tuple[_Part, list[ColumnSpec]]:
    label = f"{side}.{spec.name}"
    kind = _KINDS.get(spec.dtype, CellKind.INTEGER)
    by_row = spec.shape[:1] == (-1,)
    if by_row and spec.columns and len(spec.shape) == 2:
        places = [i for i, name in enumerate(spec.columns) if not redaction.hides(name, f"{side}.{name}")]
        names = tuple(
            f"{side}.{spec.columns[i]}" if twice[spec.columns[i]] == 1 else f"{label}.{spec.columns[i]}"
            for i in places
        )
        part = _Part(spec, label, side == "output", True, names, tuple(places), False)
        return part, [ColumnSpec(name, kind) for name in names]
    single = by_row and all(axis == 1 for axis in spec.shape[1:])
    part = _Part(spec, label, side == "output", by_row, (label,), None, not single)
    return part, [ColumnSpec(label, kind if single else CellKind.JSON)]


def _fits(spec: TensorSpec, array: Array) -> bool:
    """Whether it is what the Signature says; a refused request may hold anything."""
    return array.dtype == spec.dtype.numpy and array.ndim > 0 and spec.accepts(array.shape)


def _too_large(array: Array) -> bool:
    if array.size > MOST_VALUES:
        return True
    text = array.dtype == np.dtype(object)
    return text and sum(len(str(value)) for value in array.reshape(-1).tolist()) > MOST_TEXT


def _omit(array: Array) -> Omitted:
    digest = hashlib.blake2b(digest_size=16)
    if array.dtype == np.dtype(object):
        for value in array.reshape(-1).tolist():
            data = str(value).encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
    else:
        digest.update(np.ascontiguousarray(array).data)
    return Omitted(array.shape, str(array.dtype), digest.hexdigest())


def _sendable(text: str) -> str:
    """Without lone surrogates, which neither msgpack nor JSON can carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _json(value: object) -> str:
    """JSON text; what JSON cannot carry (NaN, infinity) is null."""
    return msgspec.json.encode(value).decode()
