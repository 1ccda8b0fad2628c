"""The use case behind `seaway explain` and `GET /requests/ID`: what is known of one request."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.errors import UserError
from seaway.core.provenance import Explained, Kept, OutcomesOf
from seaway.monitor import readable
from seaway.monitor.provenance import files as provenance_files
from seaway.monitor.provenance import layout as form
from seaway.wire import identity

_SHOWN: Final = 60


def explain(records: Path, request_id: str, outcomes: OutcomesOf | None = None) -> Explained:
    """All that is kept of the requests of this id. Blocking.

    `records` is HOME/records; without `outcomes` none are told. Raises `UserError` (`invalid_request` where no request can
    have this id, `record_not_found`) and `PermanentError("records_unreadable")`.
    """
    given = request_id.encode("utf-8", "replace")
    if identity.request_id(given) is None:
        raise UserError(
            "invalid_request",
            f"{request_id[:_SHOWN]!r} is no request id",
            "it is in the header x-request-id of every answer",
        )
    readable.check(records, records / form.DIRECTORY)
    found = provenance_files.find(records, given)
    kept = provenance_files.kept(records)
    if not found:
        raise UserError("record_not_found", f"nothing is kept of request {request_id}", _why(kept))
    if outcomes is not None:
        found = [msgspec.structs.replace(one, outcomes=outcomes(one.by, request_id)) for one in found]
    return Explained(tuple(found), kept)


def _why(kept: Kept) -> str:
    """Since when records are kept, and at what rate."""
    if kept.complete_since_s is None:
        return "no request was recorded yet; one is kept within two seconds of its end"
    drawn = "all" if kept.rate >= 1.0 else f"{kept.rate:.2%} (and every one that failed)"
    return (
        f"requests are kept since {_time(kept.complete_since_s)}, {drawn} of those recorded; "
        f"one is kept within two seconds of its end{_lost(kept)}"
    )


def _lost(kept: Kept) -> str:
    """What no count shows."""
    if kept.killed_at_s is None:
        return ""
    if kept.killed == 1:
        return f". A worker was killed at about {_time(kept.killed_at_s)}: its last two seconds are not kept"
    return (
        f". {kept.killed} workers were killed, the last at about {_time(kept.killed_at_s)}: "
        "the last two seconds of each are not kept"
    )


def _time(at_s: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at_s, tz=datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
