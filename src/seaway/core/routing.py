"""Which routes the table should hold: what is wanted of each endpoint, as far as what is ready allows it.

Pure; `core.reconciliation` writes what `wanted_routes` says, and the analysis of rollouts asks for their `progress`.

No share ever rises on a revision that is not ready on every worker. What carries a share keeps it while a worker loads
it anew: taking it away would move users because of a restart, and whether the candidate is to blame is for the floors
of the rollout to say. A share falls at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from seaway.core import observed
from seaway.core.deployments import DeploymentState
from seaway.core.observed import Snapshot
from seaway.core.rollouts.spec import Rollout, Sticky
from seaway.core.rollouts.state import RolloutState
from seaway.core.sections import percent
from seaway.core.traffic import FlagRule, Mirror, Route, RoutedRevision
from seaway.core.user_keys import UserKey


class Progress(msgspec.Struct, frozen=True):
    """Whether every worker that answers has a rollout's candidate ready, and whether each routes by its wanted share."""

    ready: bool
    settled: bool


def progress(snapshot: Snapshot, state: DeploymentState) -> Progress:
    """How far the workers are with the rollout of `state`, which is one of the snapshot's."""
    rollout, route = state.rollout, snapshot.table.route(state.endpoint)
    candidate = None if rollout is None or route is None else route.revision(rollout.candidate)
    if rollout is None or route is None or candidate is None:
        return Progress(ready=False, settled=False)
    behind = any(worker.generation < snapshot.table.generation for worker in snapshot.serving)
    as_wanted = _held(route) == _wanted_shares(state)
    return Progress(
        ready=observed.ready_everywhere(snapshot, state.endpoint, candidate),
        settled=bool(snapshot.serving) and not behind and as_wanted,
    )


def carrier(route: Route | None, state: DeploymentState) -> RoutedRevision | None:
    """The revision that answers, None where nothing does; of several with a share, the one that was live before."""
    carrying = [] if route is None else [r for r in route.revisions if r.percent > 0]
    live = next((r for r in carrying if r.number == state.live), None)
    return live or max(carrying, key=lambda r: r.percent, default=None)


def replaced(answers: RoutedRevision, state: DeploymentState) -> bool:
    """Whether what carries the traffic was taken back already: a deploy came before the rollback had moved the traffic."""
    return answers.number == state.previous != state.live


def needed(state: DeploymentState) -> set[int]:
    """The revisions that stay loaded: those with a share or about to have one, and the one that was live before."""
    numbers = {state.desired, state.live}
    if state.previous is not None and state.warm_until_s is not None:
        numbers.add(state.previous)
    if (rollout := state.judged_rollout) is not None:
        numbers |= {rollout.stable, rollout.candidate}
    return {number for number in numbers if number is not None}


def wanted_routes(snapshot: Snapshot) -> tuple[Route, ...]:
    """By the names of their endpoints."""
    routes = (_wanted_route(snapshot, state) for state in snapshot.states)
    return tuple(sorted((route for route in routes if route is not None), key=lambda route: route.endpoint))


def _wanted_route(snapshot: Snapshot, state: DeploymentState) -> Route | None:
    if state.desired is None:
        return None
    current = snapshot.table.route(state.endpoint)
    revisions: dict[int, RoutedRevision] = {}
    for number, share in _shares(snapshot, state, current).items():
        revision = snapshot.routed(state.endpoint, number, share)
        if isinstance(revision, RoutedRevision):
            revisions[number] = revision
    if not revisions:
        return None
    for number in needed(state) - revisions.keys():
        revision = snapshot.routed(state.endpoint, number)
        if isinstance(revision, RoutedRevision) and _stays_warm(snapshot, state, revision, current):
            revisions[number] = revision
    ordered = tuple(revisions[number] for number in sorted(revisions))
    settings = max(ordered, key=lambda r: r.percent).number
    if (rollout := state.open_rollout) is not None and rollout.stable in revisions:
        settings = rollout.stable  # the candidate's own hold once it is live
    rules = snapshot.revisions[state.endpoint, settings].spec.record.rules
    route = Route(state.endpoint, ordered, snapshot.limits(state.endpoint, settings), rules)
    if (rollout := state.judged_rollout) is None or rollout.candidate not in revisions:
        return route
    spec = snapshot.revisions[state.endpoint, rollout.candidate].spec.rollout
    return _of_rollout(route, rollout, spec)


def _stays_warm(
    snapshot: Snapshot, state: DeploymentState, revision: RoutedRevision, current: Route | None
) -> bool:
    """Whether the route names a revision without a share: once ready everywhere, and while it loads anew."""
    if observed.ready_everywhere(snapshot, state.endpoint, revision):
        return True
    known = current is not None and current.revision(revision.number) is not None
    return known and (
        _is_candidate(state, revision.number)
        or observed.failure_of(snapshot, state.endpoint, revision) is None
    )


def _is_candidate(state: DeploymentState, number: int) -> bool:
    rollout = state.open_rollout
    return rollout is not None and rollout.candidate == number


def _wanted_shares(state: DeploymentState) -> dict[int, float]:
    """What was asked for, whatever is ready: the revisions with a share, which sum to 100."""
    if (rollout := state.open_rollout) is not None:
        wanted = {rollout.stable: 100 - rollout.percent, rollout.candidate: rollout.percent}
    else:
        wanted = {} if state.desired is None else {state.desired: 100.0}
    return {number: share for number, share in wanted.items() if share > 0}


def _held(route: Route | None) -> dict[int, float]:
    return {} if route is None else {r.number: r.percent for r in route.revisions if r.percent > 0}


def _shares(snapshot: Snapshot, state: DeploymentState, current: Route | None) -> dict[int, float]:
    """The wanted shares where every rise is allowed; else what is held, without what nobody wants any more."""
    wanted, held = _wanted_shares(state), _held(current)
    if all(_may_carry(snapshot, state, n, current) for n, share in wanted.items() if share > held.get(n, 0)):
        return wanted
    if (rollout := state.open_rollout) is not None:
        if held.keys() <= {rollout.stable, rollout.candidate} and held:
            return held
        if _may_carry(snapshot, state, rollout.stable, current):
            return {rollout.stable: 100.0}
    answers = carrier(current, state)
    if answers is None:
        return {}
    if (
        state.live is not None
        and replaced(answers, state)
        and _may_carry(snapshot, state, state.live, current)
    ):
        return {state.live: 100.0}
    return {answers.number: 100.0}


def _may_carry(snapshot: Snapshot, state: DeploymentState, number: int, current: Route | None) -> bool:
    """Whether the share of a revision may rise.

    What is new must be ready everywhere. What answers already, and is no candidate, takes back what others had. A
    rollback to a warm revision waits for no worker that could not answer before it either.
    """
    revision = snapshot.routed(state.endpoint, number)
    if not isinstance(revision, RoutedRevision):
        return False
    if observed.ready_everywhere(snapshot, state.endpoint, revision):
        return True
    if current is None or _is_candidate(state, number):
        return False
    held = _held(current)
    if number in held:
        return True
    carrying = [r for r in current.revisions if r.number in held]
    return (
        state.rollback
        and current.revision(number) is not None
        and any(worker.has_ready(state.endpoint, revision) for worker in snapshot.serving)
        and all(
            worker.has_ready(state.endpoint, revision)
            or not any(worker.has_ready(state.endpoint, r) for r in carrying)
            for worker in snapshot.serving
        )
    )


def _of_rollout(route: Route, rollout: RolloutState, spec: Rollout) -> Route:
    """What the data plane must know to choose, to compare and to count while a rollout is judged."""
    key = _user_key(spec.sticky)
    kept = spec.fallback == "stable" and route.revision(rollout.stable) is not None
    route = msgspec.structs.replace(
        route,
        record=msgspec.structs.replace(
            route.record, judged=not rollout.preparing, unit=key, scope=_scope(rollout)
        ),
        fallback=rollout.stable if kept else None,
    )
    if not rollout.open:
        return route
    return msgspec.structs.replace(
        route,
        salt=salt_of(route.endpoint, rollout),
        sticky=key,
        flags=tuple(rule for rule in _flags(rollout, spec) if route.revision(rule.number) is not None),
        mirror=_mirror(rollout, spec),
    )


def salt_of(endpoint: str, rollout: RolloutState) -> str:
    """Under which requests are drawn: to the candidate, and to be mirrored."""
    return f"{endpoint}/{rollout.candidate}"


def _scope(rollout: RolloutState) -> int:
    """Names a turn of a rollout, later ones by larger numbers.

    A user is one unit in each: with one for the whole rollout, regular users would be used up before the first step, and
    no later step could ever pass.
    """
    return rollout.candidate * 1_000_000 + rollout.turn


def _user_key(sticky: Sticky | None) -> UserKey | None:
    if sticky is None:
        return None
    return UserKey(None if sticky.header is None else sticky.header.lower(), sticky.cookie)


def _flags(rollout: RolloutState, spec: Rollout) -> Iterator[FlagRule]:
    """Nobody is sent to the candidate before the first step."""
    for flag in spec.flags:
        if flag.to == "candidate" and rollout.preparing:
            continue
        number = rollout.candidate if flag.to == "candidate" else rollout.stable
        if flag.language:
            yield FlagRule(number, tuple(value.lower() for value in flag.equals))
        else:
            header = None if flag.header is None else flag.header.lower()
            yield FlagRule(number, flag.equals, UserKey(header, flag.cookie))


def _mirror(rollout: RolloutState, spec: Rollout) -> Mirror | None:
    """Only while somebody else answers."""
    if spec.shadow_percent == 0 or rollout.percent >= 100:
        return None
    agreement = next((check for check in spec.all_checks if check.check == "agreement"), None)
    tolerance = (
        None if agreement is None or agreement.tolerance is None else percent(agreement.tolerance) / 100
    )
    return Mirror(
        rollout.candidate,
        spec.shadow_percent,
        None if agreement is None else agreement.by,
        tolerance,
        answers=any(check.check == "shadow_quality" for check in spec.all_checks),
    )
