"""How verbs wait for a rollout: for its beginning, its end, or what a person did with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal

from seaway.cli import history_view
from seaway.cli.patience import Patience
from seaway.core.deployments import Phase
from seaway.core.errors import TemporaryError, UserError
from seaway.core.events import ROLLOUT_ENDS, Event, EventKind

if TYPE_CHECKING:
    from seaway.control.rollouts import views as rollouts
    from seaway.control.views import Accepted
    from seaway.wiring.control_access import Control

TAKEN_BACK: Final = ROLLOUT_ENDS - {EventKind.ROLLOUT_PROMOTED}
_AWAY_S: Final = 60.0
_AGAIN_S: Final = 0.2
_BEGUN: Final = frozenset(
    {EventKind.ROLLOUT_STEPPED, EventKind.ROLLOUT_PAUSED, EventKind.TRAFFIC_SET, EventKind.REVISION_LIVE}
)


def events(
    control: Control, after: int, beat: Callable[[], None], now_s: Callable[[], float], *, again: bool
) -> Iterator[Event]:
    """The events after a number; `again` asks on where the control process went away, until it is away for a minute."""
    lost_s: float | None = None
    while True:
        try:
            for event in control.follow(after, beat):
                after, lost_s = event.seq, None
                yield event
        except TemporaryError as error:
            if not again or error.code != "control_unavailable":
                raise
        if not again:
            return
        lost_s = now_s() if lost_s is None else lost_s
        if now_s() - lost_s >= _AWAY_S:
            return
        time.sleep(_AGAIN_S)


class Rolling:
    """Judges the events of one candidate's rollout as `deploy` waits: until its first step, or `to_end`."""

    def __init__(
        self,
        control: Control,
        accepted: Accepted,
        tell: Callable[[str], None],
        to_end: bool,
        *,
        begun: bool = False,
    ) -> None:
        """`begun` says that the rollout's first event is behind it."""
        self._control = control
        self._accepted = accepted
        self._tell = tell
        self._to_end = to_end
        self._begun = begun

    def over(self, event: Event) -> bool:
        """Whether the verb is done with this event. Raises `UserError("rollout_rolled_back")`."""
        if event.revision != self._accepted.revision:
            return False
        if event.kind in TAKEN_BACK:
            raise taken_back(event)
        if event.kind is EventKind.ROLLOUT_STARTED:
            self._begun = True
            return not self._to_end and self._later()
        if not self._begun:
            return event.kind is EventKind.REVISION_LIVE
        if self._to_end:
            if event.message:
                self._tell(f"{event.endpoint}: {event.message}")
            return event.kind is EventKind.ROLLOUT_PROMOTED
        return event.kind in _BEGUN

    def _later(self) -> bool:
        """Whether its first step has to wait for a time that is not now."""
        found = self._control.rollout(self._accepted.endpoint)
        return found.state.candidate == self._accepted.revision and found.waiting.next_s is not None


def under_way(control: Control, accepted: Accepted) -> Literal["rollout", "switch"] | None:
    """What a deploy that had nothing to do can wait for: the end of the rollout that its revision is in, or that it is live.

    None where it is live, and where no server runs. Raises `UserError("rollout_rolled_back")` where it was taken back just now.
    """
    if not control.running:
        return None
    found = next((e for e in control.status().endpoints if e.endpoint == accepted.endpoint), None)
    if found is None:
        return None
    rollout = found.rollout
    if rollout is not None and rollout.candidate == accepted.revision:
        if rollout.judged:
            return "rollout"
        ends = [e for e in control.history(accepted.endpoint) if e.kind in TAKEN_BACK]
        if ends and ends[-1].revision == accepted.revision and found.desired != accepted.revision:
            raise taken_back(ends[-1])
    waits = found.phase is Phase.PROGRESSING and found.desired == accepted.revision
    return "switch" if waits else None


def taken_back(event: Event) -> UserError:
    """The error of a rollout that did not end with its candidate."""
    what = history_view.SAID[event.kind]
    said = event.details.get("why") or event.message
    why = f": {said}" if said else ""
    return UserError(
        "rollout_rolled_back",
        f"the rollout of revision {event.revision} of {event.endpoint} was {what}{why}",
        f"why, check by check: seaway explain {event.endpoint}/{event.revision}",
    )


def superseded(accepted: Accepted, event: Event) -> UserError:
    """The error of a change whose place a later one took."""
    what = f"{history_view.SAID[event.kind]} of {event.ref}" if event.ref else history_view.SAID[event.kind]
    return UserError(
        "generation_conflict",
        f"{accepted.message}: it was superseded by the {what} of {event.principal} at {event.at}",
        f"seaway history {accepted.endpoint}",
    )


def follow_move(
    control: Control,
    accepted: Accepted,
    move: rollouts.Move,
    progress: Callable[[str], None],
    now_s: Callable[[], float],
) -> None:
    """Wait until an abort, or a promotion to all the traffic, took effect; other moves are done when they are stored.

    Raises `rollout_rolled_back` where a promotion was overtaken by a rollback, `generation_conflict` where a person did
    something else meanwhile, `control_unavailable` where the control process went away, and what `cli.patience` says.
    """
    from seaway.control.rollouts import views

    back, full = isinstance(move, views.Abort), isinstance(move, views.Promote) and move.full
    if accepted.deferred or not accepted.changed or not (back or full):
        return
    progress(f"{accepted.endpoint}: {accepted.message}")
    patience = Patience(control, accepted, progress, now_s)
    for event in control.follow(accepted.after, patience.look):
        if event.endpoint != accepted.endpoint:
            continue
        if full and event.kind in TAKEN_BACK and event.revision == accepted.revision:
            raise taken_back(event)
        if event.kind is EventKind.REVISION_LIVE and (event.revision == accepted.revision) is full:
            return
        if event.kind is EventKind.DELETE_REQUESTED or (full and event.kind is EventKind.TRAFFIC_SET):
            raise superseded(accepted, event)
    raise TemporaryError(
        "control_unavailable",
        f"{accepted.message}; it is stored, but the control process went away before it took effect",
        "seaway status",
    )
