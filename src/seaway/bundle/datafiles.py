"""Data files as Tables: CSV, JSON lines and Parquet in; the deterministic JSON lines of a bundle in and out.

Called for `--sample`, `--golden` and `--data`, and by `bundle.build` and the gate for what bundles hold.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np

from seaway.bundle import frames
from seaway.core.errors import UserError
from seaway.core.ports import TableReader
from seaway.core.tables import Table, text_columns
from seaway.core.tensors import Array, Signature

MAX_FILE_BYTES: Final = 2 << 30
# A leading zero (01234) says that the digits are a name, such as a postal code, and not a number.
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})\Z")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
_NOT_A_NUMBER: Final = frozenset({"nan", "na", "null", "none"})


TextColumns: TypeAlias = Callable[[Sequence[str]], Collection[str]]
"""Of a CSV header's names, those whose cells are text as they stand, whatever they look like."""


class DataFile:
    """A data file that is read now and parsed once it is known what its columns feed."""

    def __init__(self, data: bytes, where: str, reader: TableReader | None = None) -> None:
        self._data = data
        self._where = where
        self._reader = reader

    @classmethod
    def open(cls, path: Path, readers: Sequence[TableReader] = ()) -> DataFile:
        """As `read_table`, without what parsing raises."""
        data = _bytes_of(path)
        reader = next((r for r in readers if data.startswith(r.magic)), None)
        return cls(b"" if reader else data, str(path), reader)  # a reader reads the file itself

    def table(self, signature: Signature | None = None, besides: str | None = None) -> Table:
        """The table. Where the Signature is known, cells that feed a BYTES input are text as they stand.

        `besides` names the column that feeds no input: a golden set's target.
        """
        if self._reader is not None:
            return self._reader.read(self._where)
        return parse_table(
            self._data,
            self._where,
            lambda names: (
                () if signature is None else text_columns(signature, [n for n in names if n != besides])
            ),
        )


def read_table(path: Path, readers: Sequence[TableReader] = ()) -> Table:
    """The table in a file. `readers` read the binary formats, which they recognise by the file's first bytes.

    Text is JSON lines where it begins with `{`, else CSV. Raises `UserError` (`file_not_found`, `too_large`,
    `invalid_data` with the line, `missing_extra`).
    """
    return DataFile.open(path, readers).table()


def _bytes_of(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError("too_large", f"{path} has {size:,} bytes; {MAX_FILE_BYTES:,} are allowed")
        return path.read_bytes()
    except OSError as error:
        raise UserError("file_not_found", f"{path} cannot be read: {error.strerror}") from error


def parse_table(data: bytes, where: str, texts: TextColumns = lambda _: ()) -> Table:
    """The table in the bytes of a CSV or JSON-lines text; `where` names them in errors."""
    text = _text(data, where)
    if not text.strip():
        raise UserError("invalid_data", f"{where} is empty")
    return read_jsonl(data, where) if text.lstrip().startswith("{") else read_csv(text, where, texts)


def read_csv(text: str, where: str, texts: TextColumns = lambda _: ()) -> Table:
    """The table in a CSV text with a header line. The separator is a comma, or a semicolon or tab if the header says so.

    A column is int64, float64 or bool where every cell is, else strings, and so are the columns that `texts` names;
    an empty cell is a missing value (and so is NA, NaN, null or None in a column of numbers).
    """
    header_line = text.lstrip("\r\n").partition("\n")[0]
    delimiter = next((d for d in (",", ";", "\t") if d in header_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        header = [name.strip() for name in next((row for row in reader if row), [])]
        _check_header(header, where)
        for row in reader:
            if not row and len(header) > 1:
                continue
            if len(row or [""]) != len(header):
                raise UserError(
                    "invalid_data",
                    f"{where}, line {reader.line_num}: {len(row)} cells, and the header has {len(header)}",
                )
            rows.append(row or [""])
    except csv.Error as error:
        raise UserError("invalid_data", f"{where}, line {reader.line_num}: {error}") from error
    if not rows:
        raise UserError("invalid_data", f"{where} has a header and no rows")
    as_text = texts(header)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    return Table({n: _texts(cells) if n in as_text else _csv_column(cells) for n, cells in columns.items()})


def read_jsonl(data: bytes, where: str) -> Table:
    """The table in JSON lines: an object per line, null or an absent key is a missing value."""
    decoder = msgspec.json.Decoder(dict[str, str | int | float | bool | None])
    records: list[tuple[int, dict[str, str | int | float | bool | None]]] = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            records.append((number, decoder.decode(line)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UserError("invalid_data", f"{where}, line {number}: {error}") from error
    if not records:
        raise UserError("invalid_data", f"{where} is empty")
    names = list(dict.fromkeys(name for _, record in records for name in record))
    if not names:
        raise UserError("invalid_data", f"{where} has no columns")
    first = records[0][0]
    return Table(
        {name: frames.column_of(name, [r.get(name) for _, r in records], line=first) for name in names}
    )


def write_jsonl(table: Table) -> bytes:
    """A Table as JSON lines: equal tables give equal bytes, and float64 comes back exactly.

    Raises `UserError("invalid_data")` for an infinite number, which JSON cannot hold.
    """
    for name, column in table.columns.items():
        if column.dtype.kind == "f" and np.isinf(column).any():
            row = int(np.argmax(np.isinf(column)))
            raise UserError("invalid_data", f"column {name!r}, row {row}: an infinite number cannot be kept")
    columns = [column.tolist() for column in table.columns.values()]
    lines = bytearray()
    for values in zip(*columns, strict=True):
        plain = (None if isinstance(v, float) and v != v else v for v in values)
        lines += msgspec.json.encode(dict(zip(table.names, plain, strict=True))) + b"\n"
    return bytes(lines)


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            "invalid_data",
            f"{where}, line {line}: byte {data[error.start]:#04x} is not UTF-8",
            "save it as UTF-8",
        ) from error


def _check_header(header: Sequence[str], where: str) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError("invalid_data", f"{where}, line 1: the header names {twice[:5]} twice")
    if not all(header):
        raise UserError("invalid_data", f"{where}, line 1: column {header.index('') + 1} has no name")


def _csv_column(cells: Sequence[str]) -> Array:
    stripped = [cell.strip() for cell in cells]
    for fits, convert, dtype in _KINDS:
        gaps = [not cell or (dtype is np.float64 and cell.lower() in _NOT_A_NUMBER) for cell in stripped]
        if any(gaps) and dtype is not np.float64:
            continue  # integers and booleans have no way to be missing
        if all(gap or fits(cell) for gap, cell in zip(gaps, stripped, strict=True)):
            values = [np.nan if gap else convert(cell) for gap, cell in zip(gaps, stripped, strict=True)]
            return np.array(values, dtype=dtype)
    return _texts(cells)


def _texts(cells: Sequence[str]) -> Array:
    return frames.strings([cell if cell.strip() else None for cell in cells])


_KINDS: Final[tuple[tuple[Callable[[str], object], Callable[[str], float], type[np.generic]], ...]] = (
    (_INTEGER.match, int, np.int64),
    (lambda cell: cell.lower() in ("true", "false"), lambda cell: cell.lower() == "true", np.bool_),
    (_NUMBER.match, float, np.float64),
)
