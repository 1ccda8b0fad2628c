"""Tables of named columns, and how their columns become a Signature's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from seaway.core.errors import UserError
from seaway.core.tensors import Array, DType, Signature, Tensors, TensorSpec


class Table:
    """Columns of equal length, by name and in order.

    A column is float64, int64 or bool, or an object array of `str | None`. Missing numbers are NaN (so a column
    with a missing integer is float64), missing strings None. Not changed after it is made.
    """

    __slots__ = ("columns", "rows")

    def __init__(self, columns: Mapping[str, Array]) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise UserError("invalid_data", f"the columns differ in length: {lengths}")
        self.columns: dict[str, Array] = dict(columns)
        self.rows: int = next(iter(lengths.values()), 0)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def take(self, index: Array | slice) -> Table:
        """The rows at `index`: an int or bool array, or a slice."""
        return Table({name: column[index] for name, column in self.columns.items()})

    def without(self, name: str) -> Table:
        return Table({key: column for key, column in self.columns.items() if key != name})

    def row(self, index: int) -> dict[str, object]:
        """One row as plain Python values; missing is None."""
        return {name: plain(column[index]) for name, column in self.columns.items()}


def plain(value: object) -> object:
    """A numpy scalar as a plain Python value; NaN becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    return value


def table_to_tensors(table: Table, signature: Signature) -> Tensors:
    """The Signature's input tensors from a table.

    Columns map by name onto the inputs (`(batch,)` and `(batch, 1)`) or onto the named columns of one
    `(batch, k)` input; where no name fits and there is one `(batch, k)` input, the first k columns in order do,
    if there are exactly k. Columns that no input needs are left out, save in that last case. Optional inputs are
    never fed from a table. Raises `UserError` (`missing_input`, `wrong_shape`, `invalid_value`).
    """
    needed = [spec for spec in signature.inputs if not spec.optional]
    if len(needed) == 1:
        spec = needed[0]
        width = spec.shape[1] if len(spec.shape) == 2 else None
        if spec.columns and all(name in table.columns for name in spec.columns):
            return {spec.name: _stack(spec, [table.columns[name] for name in spec.columns], spec.columns)}
        if width is not None and spec.name not in table.columns:
            names = [*table.columns]
            overlap = [name for name in spec.columns if name in table.columns]
            if overlap:
                missing = [name for name in spec.columns if name not in table.columns]
                raise UserError(
                    "missing_input", f"the data lacks the columns {missing[:10]}", f"it has {names[:30]}"
                )
            if width not in (-1, len(names)):
                raise UserError(
                    "wrong_shape",
                    f"input {spec.name!r} takes {width} columns, the data has {len(names)}",
                    f"name the columns {list(spec.columns)[:30]}" if spec.columns else None,
                )
            return {spec.name: _stack(spec, list(table.columns.values()), names)}
    tensors: dict[str, Array] = {}
    for spec in needed:
        column = table.columns.get(spec.name)
        if column is None:
            raise UserError(
                "missing_input",
                f"the data lacks the column {spec.name!r}",
                f"it has {list(table.columns)[:30]}",
            )
        if len(spec.shape) == 1:
            tensors[spec.name] = column_to_array(spec, column, spec.name)
        elif len(spec.shape) == 2 and spec.shape[1] in (1, -1):
            tensors[spec.name] = column_to_array(spec, column, spec.name).reshape(-1, 1)
        else:
            raise UserError(
                "wrong_shape", f"a table cannot feed input {spec.name!r} of shape {list(spec.shape)}"
            )
    return tensors


def text_columns(signature: Signature, names: Sequence[str]) -> frozenset[str]:
    """Of a table's column names, those that `table_to_tensors` feeds to a BYTES input."""
    texts = [spec for spec in signature.inputs if spec.dtype is DType.BYTES]
    wanted = {name for spec in texts for name in (spec.name, *spec.columns)} & set(names)
    if not wanted and texts and len(signature.inputs) == 1 and len(texts[0].shape) == 2:
        return frozenset(names)  # its columns map in order
    return frozenset(wanted)


def _stack(spec: TensorSpec, columns: Sequence[Array], names: Sequence[str]) -> Array:
    arrays = [column_to_array(spec, column, name) for column, name in zip(columns, names, strict=True)]
    return np.stack(arrays, axis=1) if arrays else np.empty((0, 0), dtype=spec.dtype.numpy)


def column_to_array(spec: TensorSpec, column: Array, name: str) -> Array:
    """One column in the datatype of `spec`, shape `(batch,)`.

    Raises `UserError("invalid_value")` with the first row that does not fit. Floats may lose precision to FP32
    or FP16, but never become infinite; integers must fit exactly.
    """
    missing = _missing(column)
    if missing.any() and not (spec.nullable or (spec.dtype.is_float and column.dtype.kind == "f")):
        row = int(np.argmax(missing))
        raise UserError(
            "invalid_value", f"column {name!r}, row {row}: no value, and input {spec.name!r} needs one"
        )
    if spec.dtype is DType.BYTES:
        out = np.empty(len(column), dtype=object)
        out[:] = [
            "" if gone else _text(value)
            for value, gone in zip(column.tolist(), missing.tolist(), strict=True)
        ]
        return out
    if column.dtype == object:
        row = int(np.argmax(~missing)) if (~missing).any() else 0
        if (~missing).any():
            raise UserError(
                "invalid_value", f"column {name!r}, row {row}: {column[row]!r} is no {spec.dtype.value}"
            )
        column = np.full(len(column), np.nan)
    target = spec.dtype.numpy
    with np.errstate(all="ignore"):
        converted = column.astype(target)
        if spec.dtype.is_float:
            lost = np.isinf(converted) & np.isfinite(column.astype(np.float64))
        else:
            lost = converted.astype(np.float64) != column.astype(np.float64)
    if lost.any():
        row = int(np.argmax(lost))
        raise UserError(
            "invalid_value", f"column {name!r}, row {row}: {column[row]!r} does not fit {spec.dtype.value}"
        )
    return converted


def _missing(column: Array) -> npt.NDArray[np.bool_]:
    if column.dtype == object:
        return np.array([value is None for value in column.tolist()], dtype=np.bool_)
    if column.dtype.kind == "f":
        return np.isnan(column)
    return np.zeros(len(column), dtype=np.bool_)


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)
