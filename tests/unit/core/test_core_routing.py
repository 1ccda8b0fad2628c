"""Single routes: what stands in the table while a rollout runs, and what a share may not do."""

from __future__ import annotations

import msgspec
import pytest

from seaway.core import observed, routing
from seaway.core import reconciliation as core
from seaway.core.bundles import Digest
from seaway.core.deployments import (
    Backend,
    Deployment,
    DeploymentState,
    LimitsSection,
    Phase,
    RecordSection,
    Revision,
)
from seaway.core.rollouts.spec import Flag, Rollout, RolloutCheck, Sticky
from seaway.core.rollouts.state import RolloutPhase, RolloutState
from seaway.core.traffic import FlagRule, Mirror, Route, RoutedRevision, RoutingTable
from seaway.core.user_keys import UserKey

CANARY = Rollout(steps=("10%", "50%", "100%"))


def _digest(number: int) -> Digest:
    return Digest("sha256:" + str(number) * 64)


def _revision(number: int, rollout: Rollout = CANARY) -> Revision:
    spec = Deployment(
        1,
        "a",
        Backend(bundle=f"m:v{number}"),
        limits=LimitsSection(deadline=f"{number}s"),
        record=RecordSection(capture=f"{number}%"),
        rollout=rollout,
    )
    return Revision("a", number, _digest(number), f"m:v{number}", spec, "2026-11-22", "ada")


def _route(**shares: float) -> Route:
    revisions = (
        RoutedRevision(int(name[1:]), _digest(int(name[1:])), f"/bundles/{name[1:]}", f"m:v{name[1:]}", share)
        for name, share in shares.items()
    )
    return Route("a", tuple(revisions))


def _state(
    percent: float = 10.0, step: int = 0, phase: RolloutPhase = RolloutPhase.RUNNING, **fields: object
) -> DeploymentState:
    state = DeploymentState(
        "a",
        1,
        Phase.PROGRESSING,
        desired=2,
        live=1,
        last=2,
        proven=(1,),
        rollout=RolloutState(2, 1, phase, 0.0, step=step, percent=percent),
    )
    return msgspec.structs.replace(state, **fields)


def _worker(slot: int, *ready: int, failed: int | None = None, generation: int = 1) -> observed.WorkerView:
    loaded = tuple(observed.WorkerRevision("a", n, _digest(n), ready=True) for n in ready)
    if failed is not None:
        failure = observed.LoadFailure("digest_mismatch", "it is not there", 1, 0.0)
        loaded = (*loaded, observed.WorkerRevision("a", failed, _digest(failed), False, failure))
    return observed.WorkerView(slot, generation, False, loaded)


def _snapshot(
    state: DeploymentState, current: Route, *workers: observed.WorkerView, rollout: Rollout = CANARY
) -> observed.Snapshot:
    revisions = {("a", 1): _revision(1), ("a", 2): _revision(2, rollout), ("a", 3): _revision(3)}
    bundles: dict[tuple[str, int], str | observed.Broken] = {key: f"/bundles/{key[1]}" for key in revisions}
    table = RoutingTable(1, (current,))
    return observed.Snapshot(0.0, (state,), revisions, bundles, table, workers, {})


def _wanted(
    state: DeploymentState, current: Route, *workers: observed.WorkerView, rollout: Rollout = CANARY
) -> Route:
    (route,) = routing.wanted_routes(_snapshot(state, current, *workers, rollout=rollout))
    return route


def _shares(route: Route) -> dict[int, float]:
    return {r.number: r.percent for r in route.revisions}


BOTH = (_worker(0, 1, 2), _worker(1, 1, 2))


def test_the_candidate_enters_at_nothing_once_it_is_ready_everywhere() -> None:
    waiting = _state(0.0, -1, RolloutPhase.WAITING)
    assert _shares(_wanted(waiting, _route(r1=100), _worker(0, 1, 2), _worker(1, 1))) == {1: 100}
    route = _wanted(waiting, _route(r1=100), *BOTH)
    assert _shares(route) == {1: 100, 2: 0}
    assert (route.record.judged, route.salt) == (False, "a/2")  # who is counted now would count in no step


@pytest.mark.parametrize(
    ("before", "wanted", "second", "after"),
    [
        ({"r1": 90, "r2": 10}, 50, _worker(1, 1, 2), {1: 50, 2: 50}),
        ({"r1": 90, "r2": 10}, 50, _worker(1, 1), {1: 90, 2: 10}),
        ({"r1": 90, "r2": 10}, 50, _worker(1, 1, failed=2), {1: 90, 2: 10}),
        ({"r1": 90, "r2": 10}, 50, _worker(1, 2), {1: 50, 2: 50}),
        ({"r1": 50, "r2": 50}, 10, _worker(1, 1), {1: 90, 2: 10}),
        ({"r1": 50, "r2": 50}, 10, _worker(1, 2, failed=1), {1: 90, 2: 10}),
        ({"r1": 0, "r2": 100}, 30, _worker(1, 2), {1: 0, 2: 100}),
        ({"r1": 100, "r2": 0}, 10, _worker(1, 1, failed=2), {1: 100, 2: 0}),
    ],
)
def test_a_share_rises_only_on_what_is_ready_everywhere_and_falls_at_once(
    before: dict[str, float], wanted: float, second: observed.WorkerView, after: dict[int, float]
) -> None:
    assert _shares(_wanted(_state(wanted), _route(**before), _worker(0, 1, 2), second)) == after


def test_a_rollback_takes_all_back_also_from_a_worker_that_loads_anew() -> None:
    back = _state(0.0, 0, RolloutPhase.ROLLED_BACK, desired=1, rollback=True)
    assert _shares(_wanted(back, _route(r1=90, r2=10), _worker(0, 1, 2), _worker(1, 2))) == {1: 100}


@pytest.mark.parametrize(
    ("second", "after"),
    [
        (_worker(1, 1, 2), {1: 100, 2: 0}),
        (_worker(1), {1: 100, 2: 0}),  # it answers nothing yet, whatever the table says
        (_worker(1, 2), {1: 0, 2: 100}),  # it would answer nothing any more
    ],
)
def test_a_rollback_from_the_bake_waits_for_no_worker_that_could_not_answer_before(
    second: observed.WorkerView, after: dict[int, float]
) -> None:
    baked = _state(
        0.0, 2, RolloutPhase.ROLLED_BACK, desired=1, live=2, previous=1, warm_until_s=60.0, rollback=True
    )
    assert _shares(_wanted(baked, _route(r1=0, r2=100), _worker(0, 1, 2), second)) == after


def test_what_supersedes_a_rollout_takes_its_share_away_at_once() -> None:
    by_a_rollout = _state(desired=3, last=3, rollout=RolloutState(3, 1, RolloutPhase.WAITING, 0.0))
    at_once = _state(desired=3, last=3, rollout=None)
    for state in (by_a_rollout, at_once):
        assert _shares(_wanted(state, _route(r1=40, r2=60), *BOTH)) == {1: 100}


def test_answers_of_mirrored_requests_are_kept_where_labels_judge_them_and_only_there() -> None:
    for checks, kept in ((("agreement",), False), (("agreement", "shadow_quality"), True)):
        spec = Rollout(steps=("0%", "100%"), shadow="20%", checks=checks)
        mirror = _wanted(_state(), _route(r1=100, r2=0), *BOTH, rollout=spec).mirror
        assert mirror == Mirror(2, 20.0, answers=kept)


def test_while_a_rollout_runs_the_route_says_how_to_choose_and_to_count() -> None:
    spec = Rollout(
        steps=("10%", "100%"),
        sticky=Sticky(header="X-User-Id"),
        shadow="20%",
        checks=("errors", RolloutCheck("agreement", by="tolerance", tolerance="2%")),
        flags=(
            Flag("candidate", ("yes",), header="X-Beta"),
            Flag("stable", ("acme", "Globex"), cookie="tenant"),
            Flag("candidate", ("DE", "fr"), language=True),
        ),
    )
    route = _wanted(_state(), _route(r1=100, r2=0), *BOTH, rollout=spec)
    user = UserKey(header="x-user-id")
    assert (route.salt, route.sticky, route.fallback) == ("a/2", user, 1)
    assert route.mirror == Mirror(2, 20.0, "tolerance", 0.02)
    assert route.flags == (
        FlagRule(2, ("yes",), UserKey(header="x-beta")),
        FlagRule(1, ("acme", "Globex"), UserKey(cookie="tenant")),
        FlagRule(2, ("de", "fr")),
    )
    assert (route.record.judged, route.record.unit, route.record.scope) == (True, user, 2_000_000)
    again = _state()
    assert again.rollout is not None
    again = msgspec.structs.replace(again, rollout=msgspec.structs.replace(again.rollout, turn=3))
    later = _wanted(again, _route(r1=100, r2=0), *BOTH, rollout=spec)
    assert later.record.scope == 2_000_003  # a user is one unit in each turn
    by_hand = _wanted(_state(3.0, -1), _route(r1=100, r2=0), *BOTH, rollout=spec)
    assert by_hand.record.judged
    assert (route.limits.deadline_s, route.record.capture_percent) == (
        1.0,
        1.0,
    )  # still those of what is live
    before = _wanted(_state(0.0, -1, RolloutPhase.WAITING), _route(r1=100, r2=0), *BOTH, rollout=spec)
    assert [rule.number for rule in before.flags] == [1]  # nobody is sent there before the first step


def test_a_cookie_keeps_callers_too_and_a_fallback_may_be_forgone() -> None:
    spec = msgspec.structs.replace(CANARY, sticky=Sticky(cookie="Uid"), fallback="none")
    route = _wanted(_state(), _route(r1=100, r2=0), *BOTH, rollout=spec)
    assert (route.sticky, route.fallback, route.mirror) == (UserKey(cookie="Uid"), None, None)


def test_in_the_bake_it_is_still_counted_and_the_warm_revision_stands_in() -> None:
    spec = msgspec.structs.replace(
        CANARY, sticky=Sticky(cookie="uid"), shadow="5%", flags=(Flag("stable", ("x",), header="h"),)
    )
    baking = msgspec.structs.replace(
        _state(100.0, 2, RolloutPhase.BAKING), phase=Phase.LIVE, live=2, previous=1, warm_until_s=60.0
    )
    route = _wanted(baking, _route(r1=0, r2=100), *BOTH, rollout=spec)
    assert _shares(route) == {1: 0, 2: 100}
    assert (route.record.judged, route.record.scope, route.fallback) == (True, 2_000_000, 1)
    assert (route.salt, route.sticky, route.flags, route.mirror) == ("", None, (), None)
    assert route.limits.deadline_s == 2.0


def test_after_its_end_nothing_of_a_rollout_is_left_in_the_route() -> None:
    over = msgspec.structs.replace(
        _state(100.0, 2, RolloutPhase.PROMOTED), phase=Phase.LIVE, live=2, previous=1, warm_until_s=None
    )
    route = _wanted(over, _route(r1=0, r2=100), *BOTH)
    assert _shares(route) == {2: 100}
    assert (route.record.judged, route.salt, route.fallback) == (False, "", None)


def _progress(state: DeploymentState, current: Route, *workers: observed.WorkerView) -> tuple[bool, bool]:
    found = routing.progress(_snapshot(state, current, *workers), state)
    return found.ready, found.settled


def test_it_is_settled_once_every_worker_routes_as_wanted() -> None:
    as_wanted = _route(r1=90, r2=10)
    assert _progress(_state(), as_wanted, *BOTH) == (True, True)
    assert _progress(_state(), _route(r1=100, r2=0), *BOTH) == (True, False)
    assert _progress(_state(), as_wanted, _worker(0, 1, 2), _worker(1, 1, 2, generation=0)) == (True, False)
    assert _progress(_state(), as_wanted, _worker(0, 1, 2), _worker(1, 1)) == (False, True)
    assert _progress(_state(), as_wanted) == (False, False)
    draining = msgspec.structs.replace(_worker(1, generation=0), draining=True)
    assert _progress(_state(), as_wanted, _worker(0, 1, 2), draining) == (True, True)
    waiting = _state(0.0, -1, RolloutPhase.WAITING)
    assert _progress(waiting, _route(r1=100), *BOTH) == (False, False)
    assert _progress(waiting, _route(r1=100, r2=0), *BOTH) == (True, True)


def test_the_bake_of_a_rollout_is_ended_by_its_own_decision() -> None:
    baking = msgspec.structs.replace(
        _state(100.0, 2, RolloutPhase.BAKING), phase=Phase.LIVE, live=2, previous=1, warm_until_s=-1.0
    )
    snapshot = _snapshot(baking, _route(r1=0, r2=100), *BOTH)
    table = RoutingTable(1, routing.wanted_routes(snapshot))
    snapshot = msgspec.structs.replace(snapshot, table=table)
    assert core.next_action(snapshot) is None
    assert baking.rollout is not None
    done = msgspec.structs.replace(baking.rollout, phase=RolloutPhase.PROMOTED)
    promoted = msgspec.structs.replace(baking, rollout=done)
    over = msgspec.structs.replace(snapshot, states=(promoted,))
    over = msgspec.structs.replace(over, table=RoutingTable(1, routing.wanted_routes(over)))
    assert core.next_action(over) == core.EndBake("a", 1)


def test_a_candidate_that_one_worker_cannot_load_fails_before_its_first_step_and_is_reloaded_after_it() -> (
    None
):
    due = observed.LoadFailure("digest_mismatch", "it is not there", 1, 100.0)
    lacking = observed.WorkerView(
        1,
        1,
        False,
        (
            observed.WorkerRevision("a", 1, _digest(1), True),
            observed.WorkerRevision("a", 2, _digest(2), False, due),
        ),
    )
    waiting = _state(0.0, -1, RolloutPhase.WAITING)
    failed = core.next_action(_snapshot(waiting, _route(r1=100, r2=0), _worker(0, 1, 2), lacking))
    assert isinstance(failed, core.MarkFailed) and (failed.number, failed.stay) == (2, 1)
    again = core.next_action(_snapshot(_state(), _route(r1=90, r2=10), _worker(0, 1, 2), lacking))
    assert isinstance(again, core.Prepare) and (again.slots, again.revision.number) == ((1,), 2)


def test_what_went_back_is_dropped_from_memory() -> None:
    back = msgspec.structs.replace(
        _state(0.0, 0, RolloutPhase.ROLLED_BACK), desired=1, rollback=True, phase=Phase.LIVE
    )
    snapshot = _snapshot(back, _route(r1=100), *BOTH)
    snapshot = msgspec.structs.replace(snapshot, table=RoutingTable(1, routing.wanted_routes(snapshot)))
    assert core.next_action(snapshot) == core.Retire(0, "a", 2)
