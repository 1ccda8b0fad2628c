"""What `seaway records` asks for: questions to captured requests. Needs no server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from seaway.core import sections
from seaway.core.bundles import parse_name
from seaway.core.captures import QueryAnswer, RecordQuery
from seaway.core.errors import SeawayError, UserError
from seaway.monitor import readable
from seaway.monitor.capture import files as capture_files
from seaway.monitor.capture import segments
from seaway.wiring import adapters, control_access
from seaway.wiring.home import Home

NEWEST: Final = "SELECT * FROM records ORDER BY received_at DESC, request_id, row"


class Found(msgspec.Struct, frozen=True):
    """An answer, and what it could not be made from: damaged segments by file name, torn records, and workers
    that were killed while they captured (`segments.View`)."""

    answer: QueryAnswer
    damaged: tuple[str, ...]
    torn: int
    unended: int


class Exported(msgspec.Struct, frozen=True):
    """What was written, and what is not in it."""

    path: str
    rows: int
    damaged: tuple[str, ...]
    torn: int
    unended: int


def ask(home: Home, endpoint: str, sql: str, since_s: float, limit: int | None) -> Found:
    """Run one SELECT over the view `records`. Raises `UserError` (`endpoint_not_found`, `nothing_captured`, `invalid_query`,
    `missing_extra`)."""
    with _open(home, endpoint, since_s) as (query, view):
        return Found(query.ask(sql, limit), view.damaged, view.torn, view.unended)


def export(home: Home, endpoint: str, sql: str, since_s: float, path: Path) -> Exported:
    """Write all that a SELECT finds to a `.parquet` or `.csv` file. Raises as `ask`, and `invalid_request`."""
    with _open(home, endpoint, since_s) as (query, view):
        rows = query.export(sql, str(path))
        return Exported(str(path), rows, view.damaged, view.torn, view.unended)


@contextlib.contextmanager
def _open(home: Home, endpoint: str, since_s: float) -> Iterator[tuple[RecordQuery, segments.View]]:
    _known(home, endpoint)
    with segments.view(home.paths.records, endpoint, since_s) as view:
        query = adapters.record_query([str(segment.path) for segment in view.segments], view.rows, since_s)
        with contextlib.closing(query):
            yield query, view


def _known(home: Home, endpoint: str) -> None:
    parse_name(endpoint)
    place = capture_files.directory(home.paths.records, endpoint)
    readable.check(home.paths.records, place.parent, place)
    if not place.is_dir():
        raise _nothing(home, endpoint)


def _nothing(home: Home, endpoint: str) -> UserError:
    """Why nothing was captured, as far as the control plane tells."""
    keep = "`record: {capture: 10%}` in its endpoint file keeps a tenth of what is answered from then on"
    try:
        found = control_access.endpoint_status(home, endpoint)
    except SeawayError:
        return UserError("nothing_captured", f"nothing was captured of {endpoint}", keep)
    if found is None:
        none = f"there is no endpoint {endpoint!r}, and nothing was captured of one of that name"
        return UserError("endpoint_not_found", none, "see: seaway status")
    live = found.live_revision
    share = "0%" if live is None else live.spec.record.capture
    if sections.percent(share) == 0:
        return UserError("nothing_captured", f"nothing was captured of {endpoint}: its capture is off", keep)
    return UserError(
        "nothing_captured",
        f"nothing was captured of {endpoint} yet: it keeps {share} of its requests",
        "a request can be read about two seconds after its end",
    )
