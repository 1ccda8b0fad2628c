"""The decision of the control loop: from all that is known at one moment to at most one next action.

Pure: `control.loop` observes a Snapshot, calls `next_action`, applies the action and starts again. Every action is
idempotent, so a loop that dies between two lines begins anew from what it then sees. The form follows TF Serving's
`aspired_version_policy.h`: a stateless policy from a snapshot to one optional action.

The order for a new revision: every worker prepares it (loads it and passes a real prediction), then the routing
table is written, then each worker commits it, then it is called live. So a table never names a revision that no
worker has ready, and a revision that cannot be prepared never gets near traffic. What was live already is another
matter: where a worker cannot load it (its files were gone when the worker started), it is prepared again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from seaway.core.bundles import Digest
from seaway.core.deployments import DeploymentState, Phase, Revision
from seaway.core.traffic import Limits, Route, RoutedRevision, RoutingTable

_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_DEATHS: Final = 2


def pause_s(failures: int) -> float:
    """How long to leave alone what has failed so many times (1 or more)."""
    return _PAUSES_S[min(failures, len(_PAUSES_S)) - 1]


class LoadFailure(msgspec.Struct, frozen=True):
    """Why a worker could not load a revision: `code` is one of `errors.CODES`.

    `failures` counts the loads of it that failed there, and `age_s` is how long ago the last one did.
    """

    code: str
    reason: str
    failures: int
    age_s: float

    @property
    def due(self) -> bool:
        """Whether it is time to try again, where trying again makes sense."""
        return self.age_s >= pause_s(self.failures)


class WorkerRevision(msgspec.Struct, frozen=True):
    """A revision in a worker's memory, or on its way there while it is neither ready nor failed."""

    endpoint: str
    number: int
    digest: Digest
    ready: bool
    failure: LoadFailure | None = None


class WorkerView(msgspec.Struct, frozen=True):
    """A worker that answers. `generation` is that of the table it holds."""

    slot: int
    generation: int
    draining: bool
    loaded: tuple[WorkerRevision, ...]

    def find(self, endpoint: str, revision: RoutedRevision) -> WorkerRevision | None:
        return next(
            (
                r
                for r in self.loaded
                if (r.endpoint, r.number, r.digest) == (endpoint, revision.number, revision.digest)
            ),
            None,
        )


class Broken(msgspec.Struct, frozen=True):
    """A bundle that cannot be opened, and why; `code` is one of `errors.CODES`."""

    code: str
    reason: str


class Snapshot(msgspec.Struct, frozen=True):
    """All that the decision may know.

    `revisions` holds at least the desired, live and previous revision of every state and those of the table; `bundles`
    the directory of each one's bundle, or why there is none. `table` is the one last written. Workers that do not
    answer are left out. `deaths` counts the workers that ended while they prepared a revision.
    """

    now_s: float
    states: tuple[DeploymentState, ...]
    revisions: Mapping[tuple[str, int], Revision]
    bundles: Mapping[tuple[str, int], str | Broken]
    table: RoutingTable
    workers: tuple[WorkerView, ...]
    deaths: Mapping[tuple[str, int], int]


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
    workers = tuple(w for w in snapshot.workers if not w.draining)
    for state in snapshot.states:
        action = (
            _failure(snapshot, state, workers)
            or _preparation(snapshot, state, workers)
            or _retry(snapshot, state, workers)
        )
        if action is not None:
            return action
    routes = _wanted_routes(snapshot, workers)
    if routes != snapshot.table.routes:
        newest = max([snapshot.table.generation, *(w.generation for w in snapshot.workers)])
        return WriteTable(RoutingTable(generation=newest + 1, routes=routes))
    action = _bring_up_to_date(snapshot.table, workers)
    if action is not None:
        return action
    for state in snapshot.states:
        if (action := _settlement(snapshot, state, workers)) is not None:
            return action
    return _retirement(snapshot, workers)


def _routed(snapshot: Snapshot, endpoint: str, number: int, share: float) -> RoutedRevision | Broken:
    """A revision as workers need it. One that the table names outlives its bundle: it was whole when it was loaded."""
    revision = snapshot.revisions[endpoint, number]
    bundle = snapshot.bundles.get((endpoint, number), Broken("internal", "the bundle was not opened"))
    if isinstance(bundle, Broken):
        route = snapshot.table.route(endpoint)
        known = None if route is None else route.revision(number)
        return bundle if known is None else msgspec.structs.replace(known, percent=share)
    return RoutedRevision(
        number=number,
        digest=revision.digest,
        bundle=bundle,
        ref=revision.ref,
        percent=share,
        isolated=revision.spec.serve.isolation == "process",
    )


def _ready_everywhere(endpoint: str, revision: RoutedRevision, workers: Iterable[WorkerView]) -> bool:
    found = [worker.find(endpoint, revision) for worker in workers]
    return bool(found) and all(r is not None and r.ready for r in found)


def _failure_of(endpoint: str, revision: RoutedRevision, workers: Iterable[WorkerView]) -> LoadFailure | None:
    found = (worker.find(endpoint, revision) for worker in workers)
    return next((r.failure for r in found if r is not None and r.failure is not None), None)


def _carrying(route: Route | None) -> RoutedRevision | None:
    return None if route is None else next((r for r in route.revisions if r.percent == 100), None)


def _failure(snapshot: Snapshot, state: DeploymentState, workers: tuple[WorkerView, ...]) -> Action | None:
    """A desired revision that takes no traffic yet and cannot be opened or prepared has failed."""
    if state.phase is not Phase.PROGRESSING or state.desired is None:
        return None
    carrying = _carrying(snapshot.table.route(state.endpoint))
    if carrying is not None and carrying.number == state.desired:
        return None  # it has been ready everywhere: what fails now is tried again, see _retry
    stay = state.live if carrying is None else carrying.number
    desired = _routed(snapshot, state.endpoint, state.desired, 100.0)
    deaths = snapshot.deaths.get((state.endpoint, state.desired), 0)
    why: Broken | LoadFailure | None
    if isinstance(desired, Broken):
        why = desired
    elif deaths >= _DEATHS:
        why = Broken(
            "execution_failed", f"{deaths} workers ended while they loaded it or made its first prediction"
        )
    else:
        why = _failure_of(state.endpoint, desired, workers)
    if why is None:
        return None
    return MarkFailed(state.endpoint, state.generation, state.desired, why.code, why.reason, stay)


def _preparation(
    snapshot: Snapshot, state: DeploymentState, workers: tuple[WorkerView, ...]
) -> Action | None:
    if state.desired is None:
        return None
    desired = _routed(snapshot, state.endpoint, state.desired, 100.0)
    if isinstance(desired, Broken):
        return None
    slots = tuple(w.slot for w in workers if w.find(state.endpoint, desired) is None)
    return (
        Prepare(slots, state.endpoint, desired, _limits(snapshot, state.endpoint, desired)) if slots else None
    )


def _retry(snapshot: Snapshot, state: DeploymentState, workers: tuple[WorkerView, ...]) -> Action | None:
    """Prepare again, after a pause, what answers or answered but failed to load in a worker.

    All such revisions were ready everywhere once, so the fault is more likely the machine's than theirs; and there
    is nothing better to fall back to. The pause keeps a worker from doing nothing but failing.
    """
    carrying = _carrying(snapshot.table.route(state.endpoint))
    tried = {n for n in _warm_numbers(state) if n != state.desired}
    if carrying is not None:
        tried.add(carrying.number)
    for number in sorted(tried):
        revision = _routed(snapshot, state.endpoint, number, 0.0)
        if isinstance(revision, Broken):
            continue
        found = ((w.slot, w.find(state.endpoint, revision)) for w in workers)
        slots = tuple(slot for slot, r in found if r is not None and r.failure is not None and r.failure.due)
        if slots:
            return Prepare(slots, state.endpoint, revision, _limits(snapshot, state.endpoint, revision))
    return None


def _limits(snapshot: Snapshot, endpoint: str, revision: RoutedRevision) -> Limits:
    return snapshot.revisions[endpoint, revision.number].spec.parsed_limits


def _wanted_routes(snapshot: Snapshot, workers: tuple[WorkerView, ...]) -> tuple[Route, ...]:
    routes = (_wanted_route(snapshot, state, workers) for state in snapshot.states)
    return tuple(sorted((route for route in routes if route is not None), key=lambda route: route.endpoint))


def _wanted_route(
    snapshot: Snapshot, state: DeploymentState, workers: tuple[WorkerView, ...]
) -> Route | None:
    """The desired revision once every worker has it ready, until then what is routed now; warm ones stay at 0 %."""
    if state.desired is None:
        return None
    current = snapshot.table.route(state.endpoint)
    carrying = _carrying(current)
    desired = _routed(snapshot, state.endpoint, state.desired, 100.0)
    if isinstance(desired, RoutedRevision) and (
        (carrying is not None and carrying.number == desired.number)
        or _ready_everywhere(state.endpoint, desired, workers)
    ):
        carrying = desired
    if carrying is None:
        return None
    revisions = {carrying.number: carrying}
    for number in _warm_numbers(state):
        warm = _routed(snapshot, state.endpoint, number, 0.0)
        if number not in revisions and isinstance(warm, RoutedRevision):
            known = current is not None and current.revision(number) is not None
            failed = _failure_of(state.endpoint, warm, workers) is not None
            if _ready_everywhere(state.endpoint, warm, workers) or (known and not failed):
                revisions[number] = warm
    ordered = tuple(revisions[number] for number in sorted(revisions))
    rules = snapshot.revisions[state.endpoint, carrying.number].spec.record.rules
    return Route(state.endpoint, ordered, _limits(snapshot, state.endpoint, carrying), rules)


def _warm_numbers(state: DeploymentState) -> tuple[int, ...]:
    """Revisions that stay loaded without traffic: the live one while another takes over, and the baking one."""
    warm = [state.live] if state.live is not None and state.live != state.desired else []
    if state.previous is not None and state.warm_until_s is not None:
        warm.append(state.previous)
    return tuple(warm)


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


def _settlement(snapshot: Snapshot, state: DeploymentState, workers: tuple[WorkerView, ...]) -> Action | None:
    """Store what has become true: live, deleted, baked. No worker that can follow the table is behind it here."""
    carrying = _carrying(snapshot.table.route(state.endpoint))
    if state.phase is Phase.DELETING and carrying is None:
        return MarkDeleted(state.endpoint, state.generation)
    if state.phase is Phase.PROGRESSING and carrying is not None and carrying.number == state.desired:
        current = [w for w in workers if w.generation >= snapshot.table.generation]
        if any(_ready_everywhere(state.endpoint, carrying, [w]) for w in current):
            return MarkLive(state.endpoint, state.generation, carrying.number)
    if state.warm_until_s is not None and snapshot.now_s >= state.warm_until_s:
        return EndBake(state.endpoint, state.generation)
    return None


def _retirement(snapshot: Snapshot, workers: tuple[WorkerView, ...]) -> Action | None:
    needed = {
        (route.endpoint, r.number, r.digest) for route in snapshot.table.routes for r in route.revisions
    }
    for state in snapshot.states:
        for number in (state.desired, *_warm_numbers(state)):
            if number is not None:
                needed.add((state.endpoint, number, snapshot.revisions[state.endpoint, number].digest))
    for worker in workers:
        if worker.generation < snapshot.table.generation:
            continue  # it may still route to what the newer table has dropped
        for loaded in worker.loaded:
            if (loaded.endpoint, loaded.number, loaded.digest) not in needed:
                return Retire(worker.slot, loaded.endpoint, loaded.number)
    return None
