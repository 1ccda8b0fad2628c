"""Spools as rows: one for each row of each captured request. Used by `monitor.capture.segments` and for queries of what no segment holds yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from seaway.core.captures import FIXED, Cell, CellKind, ColumnSpec, Rows, unify
from seaway.monitor.capture.spool import Captured, Layed, Spool

Keep = Callable[[Captured], bool]
_FIXED_NAMES: Final = tuple(column.name for column in FIXED)


def rows_of(spools: Iterable[Spool], keep: Keep) -> Rows:
    """The rows of all requests that `keep` says yes to."""
    kept = [
        (spool.layouts[request.layout], request)
        for spool in spools
        for request in spool.requests
        if keep(request)
    ]
    layouts = {id(layout): layout for layout, _ in kept}
    own = unify(layout.columns for layout in layouts.values())
    cells: dict[str, list[Cell]] = {column.name: [] for column in (*FIXED, *own)}
    readers = {key: _Reader(layout, own) for key, layout in layouts.items()}
    for layout, request in kept:
        count = max((len(column) for column in request.cells if column is not None), default=0) or 1
        for name, value in zip(_FIXED_NAMES, _fixed(layout, request), strict=True):
            cells[name] += [value] * count
        cells["row"][-count:] = range(count)
        readers[id(layout)].read(request, cells, count)
    return Rows((*FIXED, *own), cells)


def _fixed(layout: Layed, request: Captured) -> tuple[Cell, ...]:
    omitted = msgspec.json.encode(request.omitted).decode() if request.omitted else None
    return (
        request.request_id,
        0,
        request.rows,
        request.at_s,
        layout.revision,
        layout.digest,
        request.door,
        request.code,
        request.caller,
        request.subject,
        omitted,
    )


class _Reader:
    """Puts the cells of one layout's requests under the columns of all."""

    def __init__(self, layout: Layed, columns: Sequence[ColumnSpec]) -> None:
        kinds = {column.name: column.kind for column in columns}
        self._columns = [(c.name, c.kind is not kinds[c.name], kinds[c.name]) for c in layout.columns]
        names = {column.name for column in layout.columns}
        self._others = [column.name for column in columns if column.name not in names]

    def read(self, request: Captured, cells: dict[str, list[Cell]], count: int) -> None:
        for (name, differs, kind), values in zip(self._columns, request.cells, strict=True):
            into = cells[name]
            if values is None:
                into += [None] * count
                continue
            into += [_as(kind, value) for value in values] if differs else values
            if len(values) < count:
                into += [None] * (count - len(values))
        for name in self._others:
            cells[name] += [None] * count


def _as(kind: CellKind, value: Cell) -> Cell:
    if value is None:
        return None
    return str(value) if kind is CellKind.TEXT else float(value)
