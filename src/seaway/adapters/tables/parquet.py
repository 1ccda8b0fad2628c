"""Parquet files as Tables, by pyarrow (the extra `parquet`); built by wiring, used through `core.ports.TableReader`."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from seaway.core.errors import UserError
from seaway.core.tables import Table
from seaway.core.tensors import Array


class ParquetReader:
    """Reads Parquet files; pyarrow is imported at the first one."""

    magic = b"PAR1"

    def read(self, path: str) -> Table:
        """Raises `UserError` (`missing_extra`, `invalid_data`)."""
        try:
            parquet = importlib.import_module("pyarrow.parquet")
            arrow = importlib.import_module("pyarrow")
        except ImportError as error:
            raise UserError(
                "missing_extra",
                f"{path} is Parquet, and pyarrow is not installed",
                "pip install 'seaway[parquet]'",
            ) from error
        try:
            found = parquet.read_table(path)
        except (arrow.ArrowException, OSError) as error:
            raise UserError("invalid_data", f"{path} is no readable Parquet file: {error}") from error
        if found.num_rows == 0:
            raise UserError("invalid_data", f"{path} has no rows")
        return Table({name: _column(arrow, name, found[name]) for name in found.column_names})


def _column(arrow: Any, name: str, column: Any) -> Array:
    kind = column.type
    if arrow.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
        strings: Array = np.empty(len(column), dtype=object)
        strings[:] = column.to_pylist()
        return strings
    numeric = arrow.types.is_integer(kind) or arrow.types.is_floating(kind) or arrow.types.is_decimal(kind)
    if not (numeric or arrow.types.is_boolean(kind) or arrow.types.is_null(kind)):
        raise UserError(
            "invalid_data", f"column {name!r} is of type {kind}", "numbers, booleans and strings are taken"
        )
    if column.null_count == 0 and arrow.types.is_boolean(kind):
        return np.array(column.to_pylist(), dtype=np.bool_)
    if column.null_count == 0 and arrow.types.is_integer(kind) and kind != arrow.uint64():
        return np.asarray(column.to_numpy(), dtype=np.int64)
    return np.array([np.nan if v is None else v for v in column.to_pylist()], dtype=np.float64)
