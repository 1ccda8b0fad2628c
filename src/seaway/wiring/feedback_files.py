"""Files of feedback, CSV or JSON lines, as bodies that the control process takes; for `seaway feedback import`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TextIO

import msgspec

from seaway.core.errors import UserError

LINES: Final = "application/x-ndjson"
_ROWS: Final = 10_000
_BYTES: Final = 4 * 1024 * 1024
_COLUMNS: Final = ("request_id", "row", "outcome", "id", "at")
_KPI: Final = "kpi."
_SLICE: Final = "slice."
# A leading zero says that the digits are a name: as in data files (`bundle.datafiles`).
_NUMBER: Final = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


class Part(NamedTuple):
    """Some rows of a file as one body of JSON lines; `first` is where they begin, in lines or CSV rows from 1."""

    body: bytes
    first: int


def parts(path: Path) -> Iterator[Part]:
    """The file in parts, read as they are asked for. `.csv` is CSV with a header, anything else JSON lines.

    Raises `UserError` (`file_not_found`, `invalid_data`).
    """
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as text:
                yield from _packed(_csv_lines(text, path))
        else:
            with path.open("rb") as data:
                yield from _packed(_json_lines(data, path))
    except OSError as error:
        raise UserError("file_not_found", f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError("invalid_data", f"{path} is not a CSV file in UTF-8: {error}") from error


def _packed(lines: Iterator[tuple[int, bytes]]) -> Iterator[Part]:
    held: list[bytes] = []
    size = first = 0
    for number, line in lines:
        if held and (len(held) >= _ROWS or size + len(line) > _BYTES):
            yield Part(b"\n".join(held), first)
            held, size = [], 0
        first = first if held else number
        held.append(line)
        size += len(line) + 1
    if held:
        yield Part(b"\n".join(held), first)


def _json_lines(data: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(data, 1):
        line = line.strip()
        if number == 1 and line.startswith(b"["):
            raise UserError(
                "invalid_data",
                f"{path} is a JSON array, not JSON lines",
                "write one object on each line: jq -c '.[]' FILE > FILE.jsonl",
            )
        if len(line) > _BYTES:
            raise UserError("invalid_data", f"{path}, line {number} is longer than {_BYTES} bytes")
        if line:
            yield number, line


def _csv_lines(text: TextIO, path: Path) -> Iterator[tuple[int, bytes]]:
    reader = csv.reader(text, strict=True)
    names = next(reader, [])
    _check_header(names, path)
    encoder = msgspec.json.Encoder()
    for number, cells in enumerate(reader, 1):
        if not cells:
            continue
        if len(cells) != len(names):
            raise UserError(
                "invalid_data", f"{path}, row {number} has {len(cells)} cells, the header has {len(names)}"
            )
        yield number, encoder.encode(_row(names, cells))


def _check_header(names: Sequence[str], path: Path) -> None:
    unknown = [n for n in names if n not in _COLUMNS and not n.startswith((_KPI, _SLICE))]
    if unknown or "request_id" not in names or len(set(names)) < len(names):
        cause = (
            f"the column {unknown[0][:60]!r} is not known" if unknown else "columns are missing or doubled"
        )
        raise UserError(
            "invalid_data",
            f"{path}: {cause}",
            f"name the columns {', '.join(_COLUMNS)}, {_KPI}NAME, {_SLICE}NAME; request_id must be there",
        )


def _row(names: Sequence[str], cells: Sequence[str]) -> dict[str, object]:
    """A row of feedback; empty cells say nothing. An outcome, a KPI and `row` that look like numbers are numbers."""
    row: dict[str, object] = {}
    for name, cell in zip(names, cells, strict=True):
        if not cell:
            continue
        if name.startswith(_KPI):
            row.setdefault("kpi", {})[name.removeprefix(_KPI)] = _typed(cell)  # type: ignore[index]
        elif name.startswith(_SLICE):
            row.setdefault("slices", {})[name.removeprefix(_SLICE)] = cell  # type: ignore[index]
        else:
            row[name] = _typed(cell) if name in ("outcome", "row") else cell
    return row


def _typed(cell: str) -> object:
    """Numbers keep their digits: 1 stays a whole number."""
    if not _NUMBER.match(cell):
        return cell
    return int(cell) if cell.lstrip("+-").isdigit() and len(cell) < 19 else float(cell)
