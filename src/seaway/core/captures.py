"""Captured requests as rows of typed columns: what the spools hold, what a segment is written from and queried as.

Made by `monitor.capture.sink`, written and read by the adapters for Parquet and DuckDB, which know nothing of spools.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

Cell: TypeAlias = bool | int | float | str | None


class CellKind(enum.StrEnum):
    """The type of a column. TIME cells are seconds since 1970 (float), JSON cells are text that holds JSON."""

    FLAG = "flag"
    INTEGER = "integer"
    SINGLE = "single"
    DOUBLE = "double"
    TEXT = "text"
    JSON = "json"
    TIME = "time"


class ColumnSpec(msgspec.Struct, frozen=True, array_like=True):
    """One column by name, such as `input.price` or `output.label`."""

    name: str
    kind: CellKind


FIXED: Final = (
    ColumnSpec("request_id", CellKind.TEXT),
    ColumnSpec("row", CellKind.INTEGER),
    ColumnSpec("rows", CellKind.INTEGER),
    ColumnSpec("received_at", CellKind.TIME),
    ColumnSpec("revision", CellKind.INTEGER),
    ColumnSpec("digest", CellKind.TEXT),
    ColumnSpec("door", CellKind.TEXT),
    ColumnSpec("code", CellKind.TEXT),
    ColumnSpec("caller", CellKind.TEXT),
    ColumnSpec("subject", CellKind.TEXT),
    ColumnSpec("omitted", CellKind.JSON),
)
"""The columns that every segment begins with. `omitted` tells of tensors that were too large, or not what the Signature says."""


class Rows(msgspec.Struct, frozen=True):
    """Columns of equal length, in order."""

    columns: tuple[ColumnSpec, ...]
    cells: dict[str, list[Cell]]

    @property
    def count(self) -> int:
        return len(self.cells[self.columns[0].name]) if self.columns else 0


class Removed(msgspec.Struct, frozen=True):
    """What is left of a segment without some subjects, and whose requests went."""

    kept: int
    rows: int
    request_ids: tuple[str, ...]


class SegmentFormat(Protocol):
    """One file format of segments. Methods block; raise `OSError`, and `ValueError` for a file that is none of the format.

    They write to a path that nobody reads yet; the caller syncs and renames.
    """

    def write(self, path: str, rows: Rows) -> None: ...

    def subjects(self, path: str) -> frozenset[str]:
        """All values of the column `subject`."""

    def without(
        self, source: str, target: str, subjects: frozenset[str], until_s: Mapping[str, float]
    ) -> Removed:
        """Write `source` to `target` but for the rows of `subjects` that came no later than `until_s` of theirs.

        Nothing is written where all rows stay, or all go.
        """


class QueryAnswer(msgspec.Struct, frozen=True):
    """What a query found. `more` says that rows beyond the limit were left out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    more: bool


class RecordQuery(Protocol):
    """Answers SQL over segments. Blocking; a method raises `UserError("invalid_query")` for SQL that cannot run."""

    def ask(self, sql: str, limit: int | None) -> QueryAnswer: ...

    def export(self, sql: str, path: str) -> int:
        """Write all that a query finds to a `.parquet` or `.csv` file; the number of rows."""

    def close(self) -> None:
        """Idempotent."""


def unify(schemas: Iterable[Sequence[ColumnSpec]]) -> tuple[ColumnSpec, ...]:
    """All columns of several schemas by name, in order of first appearance, each of a kind that holds all its values."""
    found: dict[str, CellKind] = {}
    for schema in schemas:
        for column in schema:
            found[column.name] = _wider(found.get(column.name, column.kind), column.kind)
    return tuple(ColumnSpec(name, kind) for name, kind in found.items())


def _wider(a: CellKind, b: CellKind) -> CellKind:
    if a is b:
        return a
    numbers = {CellKind.INTEGER, CellKind.SINGLE, CellKind.DOUBLE}
    return CellKind.DOUBLE if {a, b} <= numbers else CellKind.TEXT
