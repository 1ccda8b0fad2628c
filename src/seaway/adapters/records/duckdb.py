"""SQL over captured requests, by DuckDB (the extra `records`); built by wiring, used as `core.captures.RecordQuery`.

The SQL is the user's own, but may come out of a script: it reads the view `records` and nothing else, no file, no network
and no extension, and it changes nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from seaway.adapters.records.parquet import ParquetSegments
from seaway.core.captures import QueryAnswer, Rows
from seaway.core.errors import PermanentError, UserError

_OPTIONS: Final = {
    "memory_limit": "1GB",
    "threads": "2",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}


class DuckdbRecords:
    """One query's database, in memory; for one thread.

    Raises `UserError("missing_extra")` where DuckDB or pyarrow is not installed.
    """

    def __init__(self, segments: Sequence[str], rows: Rows, since_s: float) -> None:
        """`segments` are the paths of Parquet files, `rows` what no file holds; what came before `since_s` is left out."""
        self._segments = ParquetSegments()
        try:
            self._duckdb: Any = importlib.import_module("duckdb")
        except ImportError as error:
            raise UserError(
                "missing_extra",
                "queries run in DuckDB, which is not installed",
                "pip install 'seaway[records]'",
            ) from error
        self._database: Any = self._duckdb.connect(":memory:", config=dict(_OPTIONS))
        self._database.register("waiting", self._segments.table(rows))
        files = "[" + ", ".join(_quoted(path) for path in segments) + "]"
        parts = ["SELECT * FROM waiting"]
        if segments:
            parts.insert(0, f"SELECT * FROM read_parquet({files}, union_by_name = true)")
            self._database.execute(f"SET allowed_paths = {files}")
        self._database.execute("SET python_enable_replacements = false")
        self._database.execute("SET enable_external_access = false")
        try:
            self._database.execute(
                f"CREATE VIEW records AS SELECT * FROM ({' UNION ALL BY NAME '.join(parts)})"
                f" WHERE received_at >= make_timestamp({round(since_s * 1e6)})"
            )
        except self._duckdb.Error as error:
            raise PermanentError(
                "internal", f"the segments cannot be read together: {_first_line(error)}"
            ) from error
        self._database.execute("SET lock_configuration = true")

    def ask(self, sql: str, limit: int | None) -> QueryAnswer:
        """Raises `UserError("invalid_query")`."""
        try:
            found = self._database.execute(self._single(sql))
            columns = tuple(column[0] for column in found.description)
            rows = found.fetchall() if limit is None else found.fetchmany(limit + 1)
        except self._duckdb.Error as error:
            raise _refused(error) from error
        more = limit is not None and len(rows) > limit
        return QueryAnswer(columns, tuple(rows[:limit] if more else rows), more)

    def export(self, sql: str, path: str) -> int:
        """Raises `UserError("invalid_request")` for another ending, `OSError`."""
        ending = Path(path).suffix.lower()
        if ending not in (".parquet", ".csv"):
            raise UserError("invalid_request", f"{path} ends in neither .parquet nor .csv")
        try:
            table = self._database.sql(self._single(sql).query).to_arrow_table()
        except self._duckdb.Error as error:
            raise _refused(error) from error
        if ending == ".csv":
            importlib.import_module("pyarrow.csv").write_csv(table, path)
        else:
            importlib.import_module("pyarrow.parquet").write_table(table, path, compression="zstd")
        return int(table.num_rows)

    def close(self) -> None:
        self._database.close()

    def _single(self, sql: str) -> Any:
        """The one statement of `sql`, which may only read."""
        statements = self._database.extract_statements(sql)
        if len(statements) != 1:
            raise UserError("invalid_query", f"there are {len(statements)} statements", "write one SELECT")
        kinds = self._duckdb.StatementType
        if statements[0].type not in (kinds.SELECT, kinds.EXPLAIN):
            raise UserError("invalid_query", "a query may only read", "write one SELECT … FROM records")
        return statements[0]


def _refused(error: Exception) -> UserError:
    return UserError(
        "invalid_query",
        f"the query cannot run: {_first_line(error)}",
        'columns with a dot are quoted, such as SELECT "input.x" FROM records; `DESCRIBE records` lists them',
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
