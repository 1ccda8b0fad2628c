"""What a replay reads: captured requests of an endpoint, and the bundles of the revisions that answered them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import msgspec

from seaway.core.bundles import ModelRef, OpenedBundle, Version
from seaway.core.captures import FIXED, Cell
from seaway.core.deployments import Revision
from seaway.core.errors import UserError
from seaway.wiring import captures
from seaway.wiring.home import Home

MOST_ROWS: Final = 100_000
"""Captured rows that one replay reads: they are held in memory."""
_FIXED: Final = frozenset(column.name for column in FIXED)
_NEWEST: Final = (
    "SELECT * FROM records WHERE code IN ('200', 'OK') "
    "QUALIFY dense_rank() OVER (ORDER BY received_at DESC, request_id) <= {limit} "
    "ORDER BY received_at DESC, request_id, row"
)


class Recorded(msgspec.Struct, frozen=True):
    """One captured request."""

    request_id: str
    at_s: float
    rows: int
    revision: int
    digest: str
    omitted: frozenset[str]
    cells: Mapping[str, Sequence[Cell]]


def captured(home: Home, endpoint: str, since_s: float, limit: int) -> tuple[list[Recorded], tuple[str, ...]]:
    """The requests that were answered well, the newest first, and what the reader should know."""
    sql = _NEWEST.format(limit=limit)
    found = captures.ask(home, endpoint, sql, since_s, MOST_ROWS)
    warnings = []
    if found.damaged:
        warnings.append(f"left out, since damaged: {', '.join(found.damaged)}")
    if found.torn:
        warnings.append(f"{found.torn} records could not be read (cut short by a kill, or damaged)")
    requests = list(_requests(found.answer.columns, found.answer.rows))
    if found.answer.more:
        requests = requests[:-1]  # the last may be cut
        warnings.append(f"only the newest {len(requests)} requests: together they have {MOST_ROWS:,} rows")
    if not requests:
        raise UserError(
            "not_replayable",
            f"no request that {endpoint} answered well was captured since then",
            "a longer --since; or `record: {capture: 10%}` in the endpoint file, and some traffic",
        )
    return requests, tuple(warnings)


def _requests(columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> Iterator[Recorded]:
    place = {name: index for index, name in enumerate(columns)}
    payload = [name for name in columns if name not in _FIXED]
    at, named = place["received_at"], place["request_id"]
    for (received, request_id), group in groupby(rows, lambda row: (row[at], row[named])):
        own = list(group)
        first = own[0]
        count = first[place["rows"]]
        if not isinstance(received, datetime.datetime) or not isinstance(count, int):
            continue
        omitted = first[place["omitted"]]
        keys: dict[str, object] = msgspec.json.decode(omitted) if isinstance(omitted, str) else {}
        number = first[place["revision"]]
        yield Recorded(
            str(request_id),
            received.replace(tzinfo=datetime.UTC).timestamp(),
            count,
            number if isinstance(number, int) else 0,
            str(first[place["digest"]]),
            frozenset(keys),
            {name: _cells([row[place[name]] for row in own]) for name in payload},
        )


def _cells(values: Sequence[object]) -> list[Cell]:
    return [value if isinstance(value, bool | int | float | str) else None for value in values]


class Bundles:
    """The bundles of recorded revisions, each opened once."""

    def __init__(self, home: Home, revisions: Sequence[Revision]) -> None:
        self._home = home
        self._refs: dict[str, str] = {revision.digest: revision.ref for revision in revisions}
        self._opened: dict[str, OpenedBundle | None] = {}

    def of(self, digest: str) -> OpenedBundle | None:
        """That of a recorded digest; None where it is no longer in the store."""
        if digest not in self._opened:
            ref = self._refs.get(digest)
            self._opened[digest] = None if ref is None else self._open(ref, digest)
        return self._opened[digest]

    def open(self, version: Version) -> OpenedBundle:
        """A version of the store."""
        return self._home.bundles.open(version)

    def _open(self, ref: str, digest: str) -> OpenedBundle | None:
        try:
            wanted = ModelRef.parse(f"{ModelRef.parse(ref).name}@{digest}")
            return self._home.bundles.open(self._home.bundles.resolve(wanted))
        except UserError:
            return None
