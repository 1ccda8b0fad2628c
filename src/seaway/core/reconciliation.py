"""The decision of the control loop: from all that is known at one moment to at most one next action.

Pure: `control.loop` observes a Snapshot, calls `next_action`, applies the action and starts again. Every action is
idempotent, so a loop that dies between two lines begins anew from what it then sees. The form follows TF Serving's
`aspired_version_policy.h`: a stateless policy from a snapshot to one optional action.

The order for a new revision: every worker prepares it (loads it and passes a real prediction), then the routing
table is written (`core.routing` says how), then each worker commits it, then it is called live. So a table never names
a revision that no worker has ready, and a revision that cannot be prepared never gets near traffic; while its bundle is
being opened, other endpoints go on. What was live already is another matter: where a worker cannot load it (its files
were gone when the worker started), it is prepared again and again; so is a rollout's candidate after its first step,
until the rollout itself gives it up.
"""

from __future__ import annotations

from typing import Final

import msgspec

from seaway.core import observed, routing
from seaway.core.deployments import DeploymentState, Phase
from seaway.core.observed import Broken, LoadFailure, Opening, Snapshot, WorkerView
from seaway.core.rollouts.state import RolloutPhase
from seaway.core.traffic import Limits, RoutedRevision, RoutingTable

_DEATHS: Final = 2


class Prepare(msgspec.Struct, frozen=True):
    """Load and warm a revision on these workers."""

    slots: tuple[int, ...]
    endpoint: str
    revision: RoutedRevision
    limits: Limits


class WriteTable(msgspec.Struct, frozen=True):
    """Make this the table that workers start with."""

    table: RoutingTable


class Commit(msgspec.Struct, frozen=True):
    """Swap the table of these workers; all that it names is ready on each of them."""

    slots: tuple[int, ...]
    table: RoutingTable


class Retire(msgspec.Struct, frozen=True):
    """Drop a revision that neither the table nor any endpoint needs."""

    slot: int
    endpoint: str
    number: int


class MarkLive(msgspec.Struct, frozen=True):
    """Store that the desired revision answers; `generation` is that of the state this was decided on, as below."""

    endpoint: str
    generation: int
    number: int


class MarkFailed(msgspec.Struct, frozen=True):
    """Store that a revision cannot be prepared, and the code of the error that says why.

    `stay` is the one that answers, and the desired one from now on.
    """

    endpoint: str
    generation: int
    number: int
    code: str
    reason: str
    stay: int | None


class MarkDeleted(msgspec.Struct, frozen=True):
    """Store that no worker routes to the endpoint any more."""

    endpoint: str
    generation: int


class EndBake(msgspec.Struct, frozen=True):
    """Store that the previous revision need not stay warm any longer."""

    endpoint: str
    generation: int


Stored = MarkLive | MarkFailed | MarkDeleted | EndBake
"""Actions that change an endpoint's state, with an event."""

Action = Prepare | WriteTable | Commit | Retire | Stored


def next_action(snapshot: Snapshot) -> Action | None:
    """The one thing to do now, or None when all is as desired (or nothing can be done yet)."""
    for state in snapshot.states:
        action = _failure(snapshot, state) or _preparation(snapshot, state) or _retry(snapshot, state)
        if action is not None:
            return action
    if _lost_table(snapshot) and any(snapshot.opening(*key) for key in snapshot.revisions):
        return None
    routes = routing.wanted_routes(snapshot)
    if routes != snapshot.table.routes:
        newest = max([snapshot.table.generation, *(w.generation for w in snapshot.workers)])
        return WriteTable(RoutingTable(generation=newest + 1, routes=routes))
    action = _bring_up_to_date(snapshot.table, snapshot.serving)
    if action is not None:
        return action
    for state in snapshot.states:
        if (action := _settlement(snapshot, state)) is not None:
            return action
    return _retirement(snapshot)


def _lost_table(snapshot: Snapshot) -> bool:
    """Whether the workers route by a newer table than the written one, which was lost.

    What they have is not known then, and a table without the revisions whose bundles are still being opened would take
    those from the workers.
    """
    return any(worker.generation > snapshot.table.generation for worker in snapshot.workers)


def _failure(snapshot: Snapshot, state: DeploymentState) -> Action | None:
    """A desired revision that takes no traffic yet and cannot be opened or prepared has failed."""
    if state.phase is not Phase.PROGRESSING or state.desired is None:
        return None
    route, rollout = snapshot.table.route(state.endpoint), state.open_rollout
    begun = rollout is not None and not rollout.preparing
    known = None if route is None else route.revision(state.desired)
    if known is not None and (known.percent > 0 or begun):
        return None  # it has been ready everywhere: what fails now is tried again, see _retry
    desired = snapshot.routed(state.endpoint, state.desired)
    if isinstance(desired, Opening):
        return None
    deaths = snapshot.deaths.get((state.endpoint, state.desired), 0)
    why: Broken | LoadFailure | None
    if isinstance(desired, Broken):
        why = desired
    elif deaths >= _DEATHS:
        why = Broken(
            "execution_failed", f"{deaths} workers ended while they loaded it or made its first prediction"
        )
    else:
        why = observed.failure_of(snapshot, state.endpoint, desired)
    if why is None:
        return None
    answers = routing.carrier(route, state)
    stay = state.live if answers is None or routing.replaced(answers, state) else answers.number
    return MarkFailed(state.endpoint, state.generation, state.desired, why.code, why.reason, stay)


def _preparation(snapshot: Snapshot, state: DeploymentState) -> Action | None:
    """What is wanted and lacks in a worker: the desired revision, and the live one until then."""
    for number in dict.fromkeys((state.live, state.desired)):
        if number is None or state.desired is None:
            continue
        revision = snapshot.routed(state.endpoint, number)
        if not isinstance(revision, RoutedRevision) or snapshot.opening(state.endpoint, number):
            continue
        slots = tuple(w.slot for w in snapshot.serving if w.find(state.endpoint, revision) is None)
        if slots:
            return _prepare(snapshot, slots, state.endpoint, revision)
    return None


def _retry(snapshot: Snapshot, state: DeploymentState) -> Action | None:
    """Prepare again, after a pause, what answers or answered but failed to load in a worker.

    All such revisions were ready everywhere once, so the fault is more likely the machine's than theirs; and there
    is nothing better to fall back to. The pause keeps a worker from doing nothing but failing.
    """
    route = snapshot.table.route(state.endpoint)
    answers = routing.carrier(route, state)
    tried = routing.needed(state) | ({answers.number} if answers is not None else set())
    if state.desired is not None and (route is None or route.revision(state.desired) is None):
        tried.discard(state.desired)  # new: a failure of it is for _failure
    for number in sorted(tried):
        revision = snapshot.routed(state.endpoint, number)
        if not isinstance(revision, RoutedRevision) or snapshot.opening(state.endpoint, number):
            continue
        found = ((w.slot, w.find(state.endpoint, revision)) for w in snapshot.serving)
        slots = tuple(slot for slot, r in found if r is not None and r.failure is not None and r.failure.due)
        if slots:
            return _prepare(snapshot, slots, state.endpoint, revision)
    return None


def _prepare(snapshot: Snapshot, slots: tuple[int, ...], endpoint: str, revision: RoutedRevision) -> Prepare:
    return Prepare(slots, endpoint, revision, snapshot.limits(endpoint, revision.number))


def _bring_up_to_date(table: RoutingTable, workers: tuple[WorkerView, ...]) -> Action | None:
    """Commit to the workers that are behind; one that lacks a revision of the table prepares it first.

    One on which a revision of the table failed follows all the same: a new revision enters no table before it is
    ready everywhere, so this one was live before that worker started. Its endpoint answers `not_ready` there, and
    must not keep the others from moving on.
    """
    behind = [w for w in workers if w.generation < table.generation]
    able = []
    for worker in behind:
        found = [
            (route, r, worker.find(route.endpoint, r)) for route in table.routes for r in route.revisions
        ]
        for route, revision, loaded in found:
            if loaded is None:
                return Prepare((worker.slot,), route.endpoint, revision, route.limits)
        if all(loaded is not None and (loaded.ready or loaded.failure is not None) for _, _, loaded in found):
            able.append(worker.slot)
    return Commit(tuple(able), table) if able else None


def _settlement(snapshot: Snapshot, state: DeploymentState) -> Action | None:
    """Store what has become true: live, deleted, baked. No worker that can follow the table is behind it here."""
    route, rollout = snapshot.table.route(state.endpoint), state.rollout
    if state.phase is Phase.DELETING and route is None:
        return MarkDeleted(state.endpoint, state.generation)
    if state.phase is Phase.PROGRESSING and route is not None:
        carrying = next((r for r in route.revisions if r.number == state.desired and r.percent == 100), None)
        current = [w for w in snapshot.serving if w.generation >= snapshot.table.generation]
        if carrying is not None and any(w.has_ready(state.endpoint, carrying) for w in current):
            return MarkLive(state.endpoint, state.generation, carrying.number)
    baking = rollout is not None and rollout.phase is RolloutPhase.BAKING  # its own decision ends it
    if state.warm_until_s is not None and snapshot.now_s >= state.warm_until_s and not baking:
        return EndBake(state.endpoint, state.generation)
    return None


def _retirement(snapshot: Snapshot) -> Action | None:
    needed = {
        (route.endpoint, r.number, r.digest) for route in snapshot.table.routes for r in route.revisions
    }
    for state in snapshot.states:
        for number in routing.needed(state):
            needed.add((state.endpoint, number, snapshot.revisions[state.endpoint, number].digest))
    for worker in snapshot.serving:
        if worker.generation < snapshot.table.generation:
            continue  # it may still route to what the newer table has dropped
        for loaded in worker.loaded:
            if (loaded.endpoint, loaded.number, loaded.digest) not in needed:
                return Retire(worker.slot, loaded.endpoint, loaded.number)
    return None
