"""How the history of endpoints looks in a terminal: events, or what was live at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from seaway.cli import output
from seaway.core.events import Event, EventKind, LiveAt

SAID: Final = {
    EventKind.DEPLOY_REQUESTED: "deploy",
    EventKind.ROLLBACK_REQUESTED: "rollback",
    EventKind.DELETE_REQUESTED: "delete",
    EventKind.REVISION_LIVE: "live",
    EventKind.REVISION_FAILED: "failed",
    EventKind.REVISION_COOLED: "retired",
    EventKind.ENDPOINT_DELETED: "deleted",
    EventKind.ACTION_REFUSED: "refused",
    EventKind.DATA_ERASED: "data erased",
    EventKind.ROLLOUT_STARTED: "rollout",
    EventKind.ROLLOUT_STEPPED: "step",
    EventKind.ROLLOUT_PAUSED: "paused",
    EventKind.ROLLOUT_RESUMED: "resumed",
    EventKind.ROLLOUT_APPROVED: "approved",
    EventKind.ROLLOUT_PROMOTED: "promoted",
    EventKind.ROLLOUT_ROLLED_BACK: "rolled back",
    EventKind.ROLLOUT_ABORTED: "aborted",
    EventKind.ROLLOUT_SUPERSEDED: "superseded",
    EventKind.TRAFFIC_SET: "traffic set",
}
"""Each kind of event in a word or two."""
_MOVES: Final = {
    EventKind.ROLLOUT_STEPPED,
    EventKind.ROLLOUT_PAUSED,
    EventKind.ROLLOUT_RESUMED,
    EventKind.ROLLOUT_APPROVED,
    EventKind.ROLLOUT_ROLLED_BACK,
    EventKind.ROLLOUT_ABORTED,
    EventKind.TRAFFIC_SET,
}
_COLUMNS: Final = ("when (UTC)", "who", "endpoint", "what", "revision", "version", "digest", "details")


def print_history(
    found: Sequence[Event] | Sequence[LiveAt], at: str | None, endpoint: str | None = None
) -> None:
    """Events, one per line, of one `endpoint` or of all; or what was live."""
    if at is not None:
        if not found:
            output.say(f"nothing was live at {output.plain(at)}")
            return
        live = [
            (e.endpoint, e.revision, e.ref, e.digest, e.since, e.by) for e in found if isinstance(e, LiveAt)
        ]
        output.table(f"live at {at}", ("endpoint", "revision", "version", "digest", "since", "by"), live)
        return
    rows = [_row(event) for event in found if isinstance(event, Event)]
    shown = [place for place, name in enumerate(_COLUMNS) if name != "endpoint" or endpoint is None]
    output.table(
        None, [_COLUMNS[place] for place in shown], [[row[place] for place in shown] for row in rows]
    )


def moment(at: str) -> str:
    """The time of an event as tables show it: UTC, to the second."""
    return at[:19].replace("T", " ")


def _row(event: Event) -> tuple[object, ...]:
    return (
        moment(event.at),
        event.principal,
        event.endpoint,
        SAID[event.kind],
        event.revision,
        event.ref,
        None if event.digest is None else event.digest[:19],
        _details(event),
    )


def _details(event: Event) -> str:
    details = event.details
    match event.kind:
        case EventKind.ACTION_REFUSED:
            return event.message.partition(": ")[0]  # the reasons stand in the gate's report, and in --json
        case EventKind.REVISION_FAILED:
            return event.message
        case EventKind.ROLLOUT_STARTED:
            return f"against {details.get('stable', '')}: {details.get('steps', '')}"
        case EventKind.ROLLOUT_PROMOTED:
            return details.get("why", "")
        case EventKind.ROLLOUT_SUPERSEDED:
            return ""
        case kind if kind in _MOVES:
            why = details.get("cause") or details.get("reason") or details.get("why")
            share = f"{details.get('percent', '')} %"
            return share if why is None else f"{share}: {why.partition('; ')[0].partition(' (')[0]}"
        case _:
            return ", ".join(f"{key}: {value}" for key, value in details.items())
