"""What happened, who did it and when: an append-only log, and the questions that it answers.

`control` appends an event in the transaction of each change; `history` and the event stream read them.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable
from typing import Final

import msgspec

from seaway.core.bundles import Digest
from seaway.core.errors import UserError


class EventKind(enum.StrEnum):
    """What can happen to an endpoint."""

    DEPLOY_REQUESTED = "deploy_requested"
    ROLLBACK_REQUESTED = "rollback_requested"
    DELETE_REQUESTED = "delete_requested"
    REVISION_LIVE = "revision_live"
    REVISION_FAILED = "revision_failed"
    REVISION_COOLED = "revision_cooled"
    ENDPOINT_DELETED = "endpoint_deleted"
    ACTION_REFUSED = "action_refused"
    DATA_ERASED = "data_erased"
    ROLLOUT_STARTED = "rollout_started"
    ROLLOUT_STEPPED = "rollout_stepped"
    ROLLOUT_PAUSED = "rollout_paused"
    ROLLOUT_RESUMED = "rollout_resumed"
    ROLLOUT_APPROVED = "rollout_approved"
    ROLLOUT_PROMOTED = "rollout_promoted"
    ROLLOUT_ROLLED_BACK = "rollout_rolled_back"
    ROLLOUT_ABORTED = "rollout_aborted"
    ROLLOUT_SUPERSEDED = "rollout_superseded"
    TRAFFIC_SET = "traffic_set"


ROLLOUT_ENDS: Final = frozenset(
    {
        EventKind.ROLLOUT_PROMOTED,
        EventKind.ROLLOUT_ROLLED_BACK,
        EventKind.ROLLOUT_ABORTED,
        EventKind.ROLLOUT_SUPERSEDED,
    }
)
"""How a rollout ends."""


class NewEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event before the store gives it its number. `at` is UTC, ISO 8601 with microseconds, so it sorts as text."""

    at: str
    kind: EventKind
    principal: str
    endpoint: str | None = None
    revision: int | None = None
    digest: Digest | None = None
    ref: str | None = None
    message: str = ""
    details: dict[str, str] = {}


class Event(NewEvent, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An event in the log; `seq` grows by one with each and has no holes."""

    seq: int


def numbered(event: NewEvent, seq: int) -> Event:
    """The event with its number."""
    return Event(seq=seq, **{name: getattr(event, name) for name in NewEvent.__struct_fields__})


def timestamp(at_s: float) -> str:
    """Seconds since 1970 as the text that events carry."""
    moment = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> str:
    """An ISO 8601 time with its offset (or a bare date or time, read as UTC), as the text that events carry.

    Raises `UserError("invalid_request")`.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return timestamp(moment.timestamp())
    except (ValueError, OverflowError) as error:  # no time, or one before year 1 or after year 9999 in UTC
        raise UserError(
            "invalid_request", f"{text[:80]!r} is no time", "such as 2026-11-22T09:00:00Z"
        ) from error


class LiveAt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What answered for an endpoint at a time; `since` is when it became live and `by` who asked for it."""

    endpoint: str
    revision: int
    digest: Digest
    ref: str
    since: str
    by: str


def live_at(events: Iterable[Event], at: str) -> tuple[LiveAt, ...]:
    """What was live at `at` (see `parse_time`), by endpoint name; events in the order of their numbers."""
    live: dict[str, LiveAt] = {}
    asked: dict[tuple[str, int], str] = {}
    for event in events:
        if event.at > at or event.endpoint is None:
            continue
        match event.kind:
            case EventKind.DEPLOY_REQUESTED | EventKind.ROLLBACK_REQUESTED if event.revision is not None:
                asked[event.endpoint, event.revision] = event.principal
            case EventKind.REVISION_LIVE if event.revision is not None and event.digest is not None:
                live[event.endpoint] = LiveAt(
                    endpoint=event.endpoint,
                    revision=event.revision,
                    digest=event.digest,
                    ref=event.ref or "",
                    since=event.at,
                    by=asked.get((event.endpoint, event.revision), event.principal),
                )
            case EventKind.ENDPOINT_DELETED:
                live.pop(event.endpoint, None)
            case _:
                pass
    return tuple(live[name] for name in sorted(live))
