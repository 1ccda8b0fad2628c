"""The use cases of rollouts: what a person may do with one (promote, pause, resume, abort, approve, traffic), and how it fares.

Called by the API and by verbs. As in `control.deployments`: each takes the principal first, is authorised first, and leaves
exactly one event; what a move means is said by `moves`, and `analysis` goes on from what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, assert_never

from seaway.control import auth, changes
from seaway.control.commits import ABSENT, Commits, not_found
from seaway.control.rollouts import evidence_files, moves, views, waiting
from seaway.control.views import Accepted
from seaway.core.deployments import DeploymentState, Phase, Revision
from seaway.core.errors import UserError
from seaway.core.events import ROLLOUT_ENDS, Event, EventKind
from seaway.core.ports import Clock, StateStore
from seaway.core.rollouts.judgement import Judgement

ACTIONS: Final = {kind: auth.Action(word) for kind, word in views.WORDS.items()}
"""What a principal must be allowed to do for each move."""
_TOLD: Final = ROLLOUT_ENDS | {
    EventKind.DEPLOY_REQUESTED,
    EventKind.ROLLOUT_STARTED,
    EventKind.ROLLOUT_STEPPED,
    EventKind.ROLLOUT_PAUSED,
    EventKind.ROLLOUT_RESUMED,
    EventKind.ROLLOUT_APPROVED,
    EventKind.TRAFFIC_SET,
    EventKind.REVISION_LIVE,
    EventKind.REVISION_FAILED,
}


class Rollouts:
    """The use cases over one state store. Methods block and are thread-safe; `wake` is called after each change."""

    def __init__(self, store: StateStore, clock: Clock, wake: Callable[[], None], evidence: Path) -> None:
        """`evidence` is HOME/rollouts, where `analysis` keeps what it saw."""
        self._store = store
        self._clock = clock
        self._commits = Commits(store, clock, wake)
        self._evidence = evidence

    def move(
        self, principal: auth.Principal, endpoint: str, move: views.Move, key: str | None = None
    ) -> Accepted:
        """Record what a person does with the rollout; the control loop and the analysis go on from there.

        `key` makes the call idempotent. Raises `UserError` (`endpoint_not_found`, `no_rollout` and what `moves` says).
        """
        action = ACTIONS[type(move)]
        with self._commits.refusals(principal, action, endpoint):
            promise = changes.promise(principal, key, [action, endpoint, move])
            if (done := self._commits.done(promise)) is not None:
                return done

            def plan(state: DeploymentState | None) -> changes.Plan:
                if state is None or state.phase in ABSENT:
                    raise not_found(endpoint)
                rollout = state.rollout
                candidate = None if rollout is None else self._store.revision(endpoint, rollout.candidate)
                if candidate is None:
                    raise UserError("no_rollout", *_none(endpoint))
                judged = evidence_files.latest(self._evidence, endpoint, candidate.number)
                return _planned(move, state, candidate, judged, principal.name, self._clock.now_s())

            return self._commits.commit(endpoint, promise, plan)

    def status(self, principal: auth.Principal, endpoint: str) -> views.RolloutStatus:
        """The last rollout of an endpoint. Raises `UserError` (`endpoint_not_found`, `rollout_not_found`)."""
        found = self.last(principal, endpoint)
        if found is None:
            raise UserError("rollout_not_found", *_none(endpoint))
        return found

    def last(self, principal: auth.Principal, endpoint: str) -> views.RolloutStatus | None:
        """The same, None where it has had none. Raises `UserError("endpoint_not_found")`."""
        auth.authorize(principal, auth.Action.READ, f"endpoints/{endpoint}")
        state = self._store.state(endpoint)
        if state is None or state.phase is Phase.DELETED:
            raise not_found(endpoint)
        rollout = state.rollout
        if rollout is None:
            return None
        candidate, stable = (self._store.revision(endpoint, n) for n in (rollout.candidate, rollout.stable))
        assert candidate is not None and stable is not None  # revisions are never removed
        now_s, spec = self._clock.now_s(), candidate.spec.rollout
        judgement = evidence_files.latest(self._evidence, endpoint, rollout.candidate)
        return views.RolloutStatus(
            endpoint=endpoint,
            state=rollout,
            spec=spec,
            candidate=_arm(candidate),
            stable=_arm(stable),
            waiting=waiting.waiting(rollout, spec, judgement, now_s, state.warm_until_s),
            now_s=now_s,
            frozen=rollout.open and spec.frozen(now_s),
            judgement=judgement,
        )

    def record(self, principal: auth.Principal, endpoint: str, number: int) -> views.RolloutRecord:
        """What happened in the rollout of revision `number`, and what each look saw.

        Raises `UserError` (`endpoint_not_found`, `revision_not_found`, `rollout_not_found`).
        """
        auth.authorize(principal, auth.Action.READ, f"endpoints/{endpoint}")
        if not self._store.revisions(endpoint):
            raise not_found(endpoint)
        candidate = self._store.revision(endpoint, number)
        if candidate is None:
            raise UserError("revision_not_found", f"{endpoint} has no revision {number}")
        events = _of(self._commits.log(endpoint), number)
        begun = next((event for event in events if event.kind is EventKind.ROLLOUT_STARTED), None)
        if begun is None:
            raise UserError(
                "rollout_not_found",
                f"revision {number} of {endpoint} has had no rollout",
                f"it was the first one, or was to have all the traffic at once; see: seaway history {endpoint}",
            )
        stable = begun.details.get("stable", "")
        against = self._store.revision(endpoint, int(stable)) if stable.isdigit() else None
        state = self._store.state(endpoint)
        rollout = None if state is None else state.rollout
        return views.RolloutRecord(
            endpoint=endpoint,
            candidate=_arm(candidate),
            stable=None if against is None else _arm(against),
            spec=candidate.spec.rollout,
            state=rollout if rollout is not None and rollout.candidate == number else None,
            events=events,
            looks=self._looks(endpoint, number),
        )

    def _looks(self, endpoint: str, number: int) -> tuple[Judgement, ...]:
        """Those that are kept, and the newest one, which has words for every check."""
        kept = evidence_files.looks(self._evidence, endpoint, number)
        newest = evidence_files.latest(self._evidence, endpoint, number)
        if newest is None:
            return kept
        return (*(look for look in kept if look.looks < newest.looks), newest)


def _planned(
    move: views.Move,
    state: DeploymentState,
    candidate: Revision,
    judged: Judgement | None,
    by: str,
    now_s: float,
) -> changes.Plan:
    match move:
        case views.Promote(full=full):
            return moves.promote(state, candidate, by, now_s, move.reason, full=full, judged=judged)
        case views.Pause():
            return moves.pause(state, candidate, by, now_s, move.reason)
        case views.Resume():
            return moves.resume(state, candidate, by, now_s, move.reason)
        case views.Abort():
            return moves.abort(state, candidate, by, now_s, move.reason)
        case views.Approve():
            return moves.approve(state, candidate, by, now_s, move.reason)
        case views.Traffic(percent=percent):
            return moves.traffic(state, candidate, by, now_s, move.reason, percent=percent, judged=judged)
        case _:
            assert_never(move)


def _of(events: Iterator[Event], number: int) -> tuple[Event, ...]:
    """Those of one rollout; after a return to the stable revision, up to the moment at which that had all traffic."""
    found: list[Event] = []
    returning = False
    for event in events:
        if returning:
            if event.kind is EventKind.REVISION_LIVE:
                return (*found, event)
            if event.kind is EventKind.DEPLOY_REQUESTED:
                break
        elif event.revision == number and event.kind in _TOLD:
            found.append(event)
            if event.kind in (EventKind.ROLLOUT_PROMOTED, EventKind.ROLLOUT_SUPERSEDED):
                break
            returning = event.kind in ROLLOUT_ENDS
    return tuple(found)


def _arm(revision: Revision) -> views.Arm:
    return views.Arm(revision.number, revision.digest, revision.ref)


def _none(endpoint: str) -> tuple[str, str]:
    """What is wrong where the last deploy went live without a rollout, and how one begins."""
    return (
        f"{endpoint} has no rollout",
        "one begins with a deploy over a live revision whose file has rollout.steps, such as [5%, 100%]; "
        f"earlier ones: seaway history {endpoint}",
    )
