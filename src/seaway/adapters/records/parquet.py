"""Segments of captured requests as Parquet, by pyarrow (the extra `records`); built by wiring, used as `core.captures.SegmentFormat`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from seaway.core.captures import CellKind, Removed, Rows
from seaway.core.errors import UserError


class ParquetSegments:
    """Making one imports pyarrow; raises `UserError("missing_extra")` where it is not installed."""

    def __init__(self) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            self._compute: Any = importlib.import_module("pyarrow.compute")
            self._parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise UserError(
                "missing_extra",
                "captured requests are kept as Parquet, and pyarrow is not installed",
                "pip install 'seaway[records]'",
            ) from error

    def table(self, rows: Rows) -> Any:
        """The rows as a `pyarrow.Table`."""
        columns = [self._column(rows.cells[c.name], c.kind) for c in rows.columns]
        return self._arrow.table(columns, names=[c.name for c in rows.columns])

    def write(self, path: str, rows: Rows) -> None:
        self._write(path, self.table(rows))

    def subjects(self, path: str) -> frozenset[str]:
        """Reads that one column."""
        found = self._read(path, ["subject"])["subject"]
        return frozenset(value for value in self._compute.unique(found).to_pylist() if value is not None)

    def without(
        self, source: str, target: str, subjects: frozenset[str], until_s: Mapping[str, float]
    ) -> Removed:
        """Holds the whole segment in memory."""
        table, compute = self._read(source, None), self._compute
        gone = self._arrow.array([False] * table.num_rows)
        at = compute.cast(table["received_at"], self._arrow.int64())
        for subject in subjects:
            its = compute.equal(table["subject"], subject)
            early = compute.less_equal(at, round(until_s[subject] * 1e6))
            gone = compute.or_(gone, compute.fill_null(compute.and_(its, early), False))
        ids = tuple(dict.fromkeys(table.filter(gone)["request_id"].to_pylist()))
        kept = table.filter(compute.invert(gone))
        if 0 < kept.num_rows < table.num_rows:
            self._write(target, kept)
        return Removed(kept.num_rows, table.num_rows - kept.num_rows, ids)

    def _column(self, cells: list[Any], kind: CellKind) -> Any:
        arrow = self._arrow
        if kind is CellKind.TIME:
            return arrow.array([round(cell * 1e6) for cell in cells], arrow.int64()).cast(
                arrow.timestamp("us")
            )
        types = {
            CellKind.FLAG: arrow.bool_(),
            CellKind.INTEGER: arrow.int64(),
            CellKind.SINGLE: arrow.float32(),
            CellKind.DOUBLE: arrow.float64(),
        }
        return arrow.array(cells, types.get(kind, arrow.string()))

    def _write(self, path: str, table: Any) -> None:
        try:
            self._parquet.write_table(table, path, compression="zstd")
        except self._arrow.ArrowException as error:
            raise ValueError(f"{path} cannot be written: {type(error).__name__}") from error

    def _read(self, path: str, columns: list[str] | None) -> Any:
        try:
            return self._parquet.read_table(path, columns=columns, memory_map=False)
        except (self._arrow.ArrowException, KeyError) as error:
            raise ValueError(f"{path} is no segment: {type(error).__name__}") from error
