"""Tables from what a Python session holds: a data frame, an array, rows or columns; pandas itself is not imported.

Called by `bundle.build`'s callers in the Python API and by converters' tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from seaway.core.errors import UserError
from seaway.core.tables import Table
from seaway.core.tensors import Array

_MISSING_TYPES: Final = frozenset({"NAType", "NaTType"})


def table_from(data: object) -> Table:
    """A Table from a Table, a data frame (pandas, polars), an array `(rows, k)` or `(rows,)`, rows or columns.

    An array's columns are called x0, x1, …; rows are dicts, or sequences of equal length.
    Raises `UserError("invalid_data")` where a column is neither numbers, booleans nor strings.
    """
    if isinstance(data, Table):
        return data
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        frame: Any = data
        return Table({str(name): column_from(str(name), frame[name].to_numpy()) for name in frame.columns})
    if isinstance(data, Mapping):
        return Table({str(name): column_from(str(name), values) for name, values in data.items()})
    if hasattr(data, "toarray"):
        data = data.toarray()
    if isinstance(data, Sequence) and data and isinstance(data[0], Mapping):
        return _from_records(data)
    array = np.asarray(data)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2:
        raise UserError(
            "invalid_data", f"an array of shape {list(array.shape)} is no table: two axes are needed"
        )
    return Table({f"x{i}": column_from(f"x{i}", array[:, i]) for i in range(array.shape[1])})


def _from_records(rows: Sequence[Mapping[str, object]]) -> Table:
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    return Table({name: column_from(name, [row.get(name) for row in rows]) for name in names})


def column_from(name: str, values: object) -> Array:
    """One column of a Table from an array or a sequence. Raises `UserError("invalid_data")` naming the column."""
    to_numpy = getattr(values, "to_numpy", None)
    array = values if isinstance(values, np.ndarray) else to_numpy() if to_numpy else None
    if array is None:
        found = list(values) if isinstance(values, Iterable) else [values]
        array = np.empty(len(found), dtype=object)
        array[:] = found
    if array.ndim != 1:
        raise UserError("invalid_data", f"column {name!r} has {array.ndim} axes, not one")
    if array.dtype.kind == "b":
        return np.asarray(array, dtype=np.bool_)
    if array.dtype.kind in "iu":
        fits = array.dtype != np.uint64 or not (array > np.iinfo(np.int64).max).any()
        return np.asarray(array, dtype=np.int64 if fits else np.float64)
    if array.dtype.kind == "f":
        return np.asarray(array, dtype=np.float64)
    if array.dtype.kind in "OUT":
        return column_of(name, [_plain(value) for value in array.tolist()])
    raise UserError(
        "invalid_data",
        f"column {name!r} is of type {array.dtype}",
        "turn it into numbers, booleans or strings first, as the model takes it",
    )


def column_of(name: str, values: Sequence[object], *, line: int | None = None) -> Array:
    """A column from plain values and None: bool, int, float or str. `line` is the file's line of the first value.

    Integers beyond 64 bits and integers beside missing values become float64. Raises `UserError("invalid_data")`
    with the first value that does not go with those before it.
    """
    kinds = {type(value) for value in values}
    missing = type(None) in kinds
    kinds.discard(type(None))
    if kinds == {str}:
        return strings(values)
    if kinds == {bool} and not missing:
        return np.array(values, dtype=np.bool_)
    if kinds == {int} and not missing:
        small = all(-(2**63) <= value < 2**63 for value in values if isinstance(value, int))
        return np.array(values, dtype=np.int64 if small else np.float64)
    if kinds <= {int, float} or kinds == {bool}:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    first = type(next(value for value in values if value is not None))
    row = next(
        i for i, v in enumerate(values) if v is not None and type(v) is not first and not _numbers(first, v)
    )
    where = f"row {row}" if line is None else f"line {line + row}"
    raise UserError(
        "invalid_data",
        f"column {name!r}, {where}: {values[row]!r} is of type {type(values[row]).__name__}, "
        f"and the column began with {first.__name__}",
    )


def strings(values: Sequence[object]) -> Array:
    """An object array of these values."""
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


def _numbers(first: type, value: object) -> bool:
    return first in (int, float) and type(value) in (int, float)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__name__ in _MISSING_TYPES or (isinstance(value, float) and value != value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else _odd(value)


def _odd(value: object) -> object:
    raise UserError(
        "invalid_data",
        f"a value is of type {type(value).__name__}",
        "numbers, booleans and strings are taken",
    )
