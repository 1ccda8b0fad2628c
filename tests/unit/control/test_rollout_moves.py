"""What the decision and people make of a rollout: each move from state to state, its event, and who wins a race."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from control_fakes import OWNER, digest_of

from seaway.control import changes, gating
from seaway.control.rollouts import moves
from seaway.core.bundles import Version
from seaway.core.checks import GateReport, Verdict
from seaway.core.deployments import Backend, Deployment, DeploymentState, Phase, Revision
from seaway.core.errors import SeawayError, TemporaryError, UserError
from seaway.core.events import EventKind
from seaway.core.ports import Change
from seaway.core.reconciliation import MarkFailed, MarkLive
from seaway.core.rollouts import decision
from seaway.core.rollouts.spec import Freeze, Rollout, Step
from seaway.core.rollouts.state import Ground, Grounds, RolloutPhase, RolloutState, Taken
from seaway.testing.state_store import MemoryStateStore, make_event

NOW_S = 5_000.0
SAW = Ground("errors", Verdict.PASSED, "errors: candidate 0 % errors"), Ground("latency", Verdict.PASSED)
STEP_ON = decision.TakeStep(1, Grounds("passed", SAW))
SPEC = Rollout(steps=("5%", Step("25%", approve=True), "50%", "100%"))


def revision(number: int = 2, rollout: Rollout = SPEC) -> Revision:
    spec = Deployment(1, "prices", Backend(bundle=f"prices:v{number}"), rollout=rollout)
    return Revision("prices", number, digest_of("prices", number), f"prices:v{number}", spec, "now", "ada")


def at(
    step: int = 0, percent: float = 5.0, phase: RolloutPhase = RolloutPhase.RUNNING, **fields: object
) -> DeploymentState:
    rollout = RolloutState(2, 1, phase, 4_000.0, step=step, percent=percent, since_s=4_900.0)
    rollout = msgspec.structs.replace(rollout, **fields)
    return DeploymentState(
        "prices", 7, Phase.PROGRESSING, desired=2, live=1, last=2, proven=(1,), rollout=rollout
    )


BAKING = msgspec.structs.replace(
    at(3, 100.0, RolloutPhase.BAKING),
    phase=Phase.LIVE,
    live=2,
    previous=1,
    warm_until_s=6_000.0,
    proven=(1, 2),
)


def of(plan: changes.Plan) -> RolloutState:
    assert plan.state.rollout is not None
    return plan.state.rollout


def kinds(plan: changes.Plan) -> list[EventKind]:
    return [event.kind for event in plan.events]


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(SeawayError) as caught:
        call()
    return caught.value.code


def test_a_step_is_stored_with_its_event() -> None:
    plan = moves.apply(STEP_ON, at(), revision(), NOW_S)
    assert plan.state.generation == 8
    assert (of(plan).step, of(plan).percent, of(plan).since_s) == (1, 25.0, None)
    (event,) = plan.events
    assert (event.kind, event.principal, event.revision) == (EventKind.ROLLOUT_STEPPED, "seaway", 2)
    assert event.details == {
        "stable": "1",
        "step": "1",
        "percent": "25",
        "why": "errors and latency passed",
        "passed": "errors, latency",
        "evidence.errors": "errors: candidate 0 % errors",
    }
    assert event.message == "revision 2 takes 25 % (step 2 of 4): errors and latency passed"


def test_that_it_settled_is_stored_without_an_event() -> None:
    plan = moves.apply(decision.Settle(), at(since_s=None), revision(), NOW_S)
    assert (of(plan).since_s, plan.events, plan.state.generation) == (NOW_S, (), 8)


@pytest.mark.parametrize(
    "state", [at(), at(phase=RolloutPhase.PAUSED), at(-1, 0.0, RolloutPhase.WAITING), BAKING]
)
def test_a_rollback_is_latched_from_every_state(state: DeploymentState) -> None:
    plan = moves.apply(decision.RollBack("too many errors", "errors"), state, revision(), NOW_S)
    new = plan.state
    assert (new.phase, new.desired, new.rollback, new.failed) == (Phase.PROGRESSING, 1, True, 2)
    assert new.reason == "too many errors"
    assert (of(plan).phase, of(plan).cause, of(plan).percent) == (RolloutPhase.ROLLED_BACK, "errors", 0.0)
    assert (of(plan).ended_s, of(plan).by) == (NOW_S, "seaway")
    assert 2 not in new.proven  # no later rollback goes to what failed
    (event,) = plan.events
    assert event.kind is EventKind.ROLLOUT_ROLLED_BACK
    assert event.details["cause"] == "errors" and event.details["why"] == "too many errors"
    assert event.details["percent"] == f"{state.rollout.percent:g}"  # type: ignore[union-attr]


def test_the_end_of_the_bake_is_the_promotion() -> None:
    plan = moves.apply(decision.Finish(), BAKING, revision(), NOW_S)
    assert (of(plan).phase, of(plan).ended_s) == (RolloutPhase.PROMOTED, NOW_S)
    assert (plan.state.live, plan.state.desired, plan.state.phase) == (2, 2, Phase.LIVE)
    assert kinds(plan) == [EventKind.ROLLOUT_PROMOTED]


def test_a_promotion_tells_what_it_stood_on() -> None:
    way = (
        Taken(5.0, 0.0, 4_000.0, "seaway", Grounds("ready")),
        Taken(100.0, 5.0, 4_900.0, "seaway", STEP_ON.grounds),
    )
    state = msgspec.structs.replace(BAKING, rollout=msgspec.structs.replace(BAKING.rollout, taken=way))
    plan = moves.apply(decision.Finish(), state, revision(), NOW_S)
    why = "at 5 % errors and latency passed; no alarm came in its bake of 10m"
    assert plan.message == f"revision 2 is promoted: {why}"
    assert of(plan).why == plan.events[0].details["why"] == why
    assert plan.events[0].details["evidence.errors"] == "errors: candidate 0 % errors"
    assert plan.events[0].details["passed"] == "errors, latency"


def test_each_share_is_kept_with_its_grounds() -> None:
    first = moves.apply(STEP_ON, at(), revision(), NOW_S).state
    plan = moves.promote(first, revision(), "ada", NOW_S, "the fair", full=True)
    assert [(one.percent, one.before, one.by) for one in of(plan).taken] == [
        (25.0, 5.0, "seaway"),
        (100.0, 25.0, "ada"),
    ]
    details = plan.events[0].details
    assert details["reason"] == "the fair" and details["not_passed"] == "errors, latency"
    assert details["why"].startswith("ada went on by hand though errors and latency were undecided")
    assert "without the approval that the step asks for" in details["why"]
    assert "leaving out the step to 50 %" in details["why"]
    lower = moves.traffic(first, revision(), "ada", NOW_S, None, percent=1.0)
    assert lower.events[0].details["why"] == "ada set it by hand"
    assert of(lower).taken[-1].percent == 1.0


def test_a_share_by_hand_accepts_nothing_and_says_what_had_failed() -> None:
    paused = moves.apply(decision.Pause("slower", "latency"), at(), revision(), NOW_S)
    plan = moves.traffic(paused.state, revision(), "ada", NOW_S, None, percent=25.0)
    assert (of(plan).cause, of(plan).accepted) == ("latency", ())
    (event,) = plan.events
    assert "accepted" not in event.details and event.details["not_passed"] == "errors, latency"
    assert event.message.startswith(
        "revision 2 takes 25 % (was 5 %) and stays there: ada went on by hand though"
    )
    promoted = moves.promote(paused.state, revision(), "ada", NOW_S, None, full=False)
    assert promoted.events[0].details["accepted"] == "latency" == of(promoted).accepted[0]


def test_who_resumes_accepts_what_paused_it() -> None:
    paused = moves.apply(decision.Pause("predictions moved", "predictions"), at(), revision(), NOW_S)
    assert (of(paused).phase, of(paused).why) == (RolloutPhase.PAUSED, "predictions moved")
    assert paused.events[0].details["cause"] == "predictions"
    plan = moves.resume(paused.state, revision(), "ada", NOW_S, "the season has begun")
    assert (of(plan).phase, of(plan).accepted, of(plan).why) == (RolloutPhase.RUNNING, ("predictions",), None)
    assert of(plan).since_s is None  # the time of the step begins anew, also that after which it is undecided
    assert plan.events[0].details["reason"] == "the season has begun"
    assert "what predictions found is accepted" in plan.message
    again = moves.resume(plan.state, revision(), "ada", NOW_S, None)
    assert (again.events, again.state) == ((), plan.state)


def test_pause_is_idempotent_and_before_the_first_step_it_waits_on() -> None:
    plan = moves.pause(at(-1, 0.0, RolloutPhase.WAITING), revision(), "ada", NOW_S, None)
    assert of(plan).why == "ada paused it"
    assert moves.pause(plan.state, revision(), "ada", NOW_S, "again").events == ()
    resumed = moves.resume(plan.state, revision(), "ada", NOW_S, None)
    assert (of(resumed).phase, of(resumed).accepted) == (RolloutPhase.WAITING, ())


def test_t2_a_person_promotes_by_a_step_or_to_the_end() -> None:
    plan = moves.promote(at(), revision(), "ada", NOW_S, "urgent", full=False)
    assert (of(plan).step, of(plan).percent) == (1, 25.0)
    assert (plan.events[0].principal, plan.events[0].details["reason"]) == ("ada", "urgent")
    full = moves.promote(
        at(phase=RolloutPhase.PAUSED, cause="predictions"), revision(), "ada", NOW_S, None, full=True
    )
    assert (of(full).step, of(full).percent, of(full).phase) == (3, 100.0, RolloutPhase.RUNNING)
    assert of(full).accepted == ("predictions",)
    assert moves.promote(full.state, revision(), "ada", NOW_S, None, full=False).events == ()


def test_a_promotion_in_a_freeze_is_told_and_recorded() -> None:
    frozen = msgspec.structs.replace(SPEC, freeze=(Freeze(days=("thu",)),))
    plan = moves.promote(at(), revision(rollout=frozen), "ada", NOW_S, None, full=False)
    assert "freeze" in plan.warnings[0] and "freeze" in plan.events[0].details["warnings"]
    assert moves.apply(STEP_ON, at(), revision(rollout=frozen), NOW_S).warnings == ()


def test_no_share_for_what_no_worker_has_ready() -> None:
    waiting = at(-1, 0.0, RolloutPhase.WAITING, since_s=None)
    for call in (
        lambda: moves.promote(waiting, revision(), "ada", NOW_S, None, full=True),
        lambda: moves.traffic(waiting, revision(), "ada", NOW_S, None, percent=1.0),
    ):
        with pytest.raises(TemporaryError) as caught:
            call()
        assert caught.value.code == "rollout_not_ready"
    ready = at(-1, 0.0, RolloutPhase.WAITING)
    assert of(moves.promote(ready, revision(), "ada", NOW_S, None, full=False)).step == 0


@pytest.mark.parametrize(("percent", "step"), [(0.0, -1), (3.0, -1), (5.0, 0), (30.0, 1), (99.9, 2)])
def test_a_share_by_hand_pauses_on_the_step_below_it(percent: float, step: int) -> None:
    plan = moves.traffic(at(1, 25.0), revision(), "ada", NOW_S, "the fair", percent=percent)
    assert (of(plan).percent, of(plan).step, of(plan).since_s) == (percent, step, None)
    assert (of(plan).phase, of(plan).why, of(plan).by) == (RolloutPhase.PAUSED, "the fair", "ada")
    assert kinds(plan) == [EventKind.TRAFFIC_SET]
    resumed = moves.resume(plan.state, revision(), "ada", NOW_S, None)
    assert of(resumed).percent == percent  # it goes on from there, and never falls by itself


def test_each_time_the_clock_of_a_step_begins_anew_is_a_turn_of_its_own() -> None:
    """Users count once in each, so one that comes back to a step has new ones."""
    state = at()
    for turn, move in enumerate(
        (
            lambda s: moves.apply(STEP_ON, s, revision(), NOW_S),
            lambda s: moves.traffic(s, revision(), "ada", NOW_S, None, percent=5.0),
            lambda s: moves.resume(s, revision(), "ada", NOW_S, None),
            lambda s: moves.promote(s, revision(), "ada", NOW_S, None, full=False),
        ),
        1,
    ):
        plan = move(state)
        assert (of(plan).turn, of(plan).since_s) == (turn, None)
        state = plan.state
    assert of(moves.pause(state, revision(), "ada", NOW_S, None)).turn == 4


def test_all_traffic_by_hand_is_a_promotion() -> None:
    plan = moves.traffic(at(), revision(), "ada", NOW_S, None, percent=100.0)
    assert plan == moves.promote(at(), revision(), "ada", NOW_S, None, full=True)


def test_t3_approval_lets_its_step_be_left_once() -> None:
    plan = moves.approve(at(1, 25.0), revision(), "ada", NOW_S, None)
    assert of(plan).approved == 1
    assert kinds(plan) == [EventKind.ROLLOUT_APPROVED]
    assert moves.approve(plan.state, revision(), "ada", NOW_S, None).events == ()
    with pytest.raises(UserError) as caught:
        moves.approve(at(), revision(), "ada", NOW_S, None)
    assert (caught.value.code, caught.value.hint) == (
        "invalid_request",
        "this step asks for none; the one to 25% will",
    )
    assert code_of(lambda: moves.approve(at(2, 50.0), revision(), "ada", NOW_S, None)) == "invalid_request"


def test_an_abort_goes_back_for_good_and_twice_is_once() -> None:
    for state in (at(), at(phase=RolloutPhase.PAUSED), BAKING):
        plan = moves.abort(state, revision(), "ada", NOW_S, None)
        assert (of(plan).phase, of(plan).by) == (RolloutPhase.ABORTED, "ada")
        assert (plan.state.desired, plan.state.rollback, plan.state.failed) == (1, True, None)
        assert moves.abort(plan.state, revision(), "ada", NOW_S, None).events == ()


OPEN_MOVES: tuple[Callable[[DeploymentState], changes.Plan], ...] = (
    lambda state: moves.promote(state, revision(), "ada", NOW_S, None, full=False),
    lambda state: moves.pause(state, revision(), "ada", NOW_S, None),
    lambda state: moves.resume(state, revision(), "ada", NOW_S, None),
    lambda state: moves.approve(state, revision(), "ada", NOW_S, None),
    lambda state: moves.traffic(state, revision(), "ada", NOW_S, None, percent=30.0),
)


@pytest.mark.parametrize("move", OPEN_MOVES)
def test_a_move_that_makes_no_sense_is_refused_by_name(
    move: Callable[[DeploymentState], changes.Plan],
) -> None:
    none = msgspec.structs.replace(at(), rollout=None)
    assert code_of(lambda: move(none)) == "no_rollout"
    for phase in (RolloutPhase.PROMOTED, RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED):
        assert code_of(lambda phase=phase: move(at(phase=phase))) == "no_rollout"  # type: ignore[misc]
    with pytest.raises(UserError) as caught:
        move(BAKING)
    assert caught.value.code == "no_rollout" and "seaway abort prices" in (caught.value.hint or "")


def test_what_is_promoted_is_not_aborted() -> None:
    assert (
        code_of(lambda: moves.abort(at(phase=RolloutPhase.PROMOTED), revision(), "ada", NOW_S, None))
        == "no_rollout"
    )
    none = msgspec.structs.replace(at(), rollout=None)
    assert code_of(lambda: moves.abort(none, revision(), "ada", NOW_S, None)) == "no_rollout"


ACTIONS = (
    STEP_ON,
    decision.Settle(),
    decision.Pause("x", "predictions"),
    decision.RollBack("x"),
)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_abort_wins_every_race_with_the_decision(action: decision.RolloutAction) -> None:
    """Both plan on the same state; whoever stores second plans again on what is then stored."""
    state = msgspec.structs.replace(at(since_s=None), generation=1)
    for first in ("abort", "decision"):
        store = MemoryStateStore()
        store.apply(Change((make_event(),), state))
        decided = moves.apply(action, state, revision(), NOW_S)
        aborted = moves.abort(state, revision(), "ada", NOW_S, None)
        early, late = (aborted, decided) if first == "abort" else (decided, aborted)
        store.apply(Change(early.events, early.state))
        assert (
            code_of(lambda late=late, store=store: store.apply(Change(late.events, late.state)))
            == "generation_conflict"
        )  # type: ignore[misc]
        found = store.state("prices")
        assert found is not None and found.rollout is not None
        if first == "decision":
            again = moves.abort(found, revision(), "ada", NOW_S, None)
            if again.events:
                store.apply(Change(again.events, again.state))
            found = store.state("prices")
            assert found is not None and found.rollout is not None
        assert found.rollout.phase in (RolloutPhase.ABORTED, RolloutPhase.ROLLED_BACK)
        assert (found.desired, found.rollback) == (1, True)
        moment = decision.Snapshot(NOW_S, found.rollout, SPEC, True, True, None)
        assert decision.next_action(moment) is None


def judged_version(number: int, rollout: Rollout = SPEC) -> gating.Judged:
    report = GateReport(digest_of("prices", number), f"prices:v{number}", Verdict.PASSED, (), "now")
    version = Version("prices", number, digest_of("prices", number), 1, "")
    return gating.judge(revision(number, rollout).spec, version, report, None)


def test_a_deploy_over_a_live_revision_begins_a_rollout() -> None:
    live = DeploymentState("prices", 3, Phase.LIVE, desired=1, live=1, last=1, proven=(1,))
    plan = changes.deploy(live, judged_version(2), "prices", OWNER, NOW_S, desired=revision(1))
    assert of(plan) == RolloutState(2, 1, RolloutPhase.WAITING, NOW_S)
    assert (plan.state.desired, plan.state.live, plan.state.phase) == (2, 1, Phase.PROGRESSING)
    assert kinds(plan) == [EventKind.DEPLOY_REQUESTED, EventKind.ROLLOUT_STARTED]
    assert plan.events[1].details == {"stable": "1", "steps": "5 %, 25 %, 50 %, 100 %"}


def test_without_a_live_revision_or_steps_there_is_no_rollout() -> None:
    assert changes.deploy(None, judged_version(1), "prices", OWNER, NOW_S).state.rollout is None
    live = DeploymentState("prices", 3, Phase.LIVE, desired=1, live=1, last=1, proven=(1,))
    assert changes.deploy(live, judged_version(2, Rollout()), "prices", OWNER, NOW_S).state.rollout is None


def test_another_deploy_supersedes_a_rollout_against_the_same_stable_revision() -> None:
    plan = changes.deploy(at(), judged_version(3), "prices", OWNER, NOW_S, desired=revision(2))
    assert of(plan) == RolloutState(3, 1, RolloutPhase.WAITING, NOW_S)
    assert kinds(plan) == [
        EventKind.DEPLOY_REQUESTED,
        EventKind.ROLLOUT_SUPERSEDED,
        EventKind.ROLLOUT_STARTED,
    ]
    superseded = plan.events[1]
    assert (superseded.revision, superseded.details["percent"]) == (2, "5")
    assert plan.superseded == at().rollout
    baked = changes.deploy(BAKING, judged_version(3), "prices", OWNER, NOW_S, desired=revision(2))
    assert (of(baked).stable, of(baked).candidate) == (2, 3)
    over = msgspec.structs.replace(at(phase=RolloutPhase.PROMOTED), live=2)
    plan = changes.deploy(over, judged_version(3), "prices", OWNER, NOW_S, desired=revision(2))
    assert EventKind.ROLLOUT_SUPERSEDED not in kinds(plan) and plan.superseded is None


def test_c12_force_replaces_a_broken_stable_revision_without_a_rollout_and_says_so() -> None:
    plan = changes.deploy(
        at(), judged_version(3), "prices", OWNER, NOW_S, desired=revision(2), force="stable answers nothing"
    )
    assert plan.state.rollout is None and plan.state.desired == 3
    assert plan.events[0].details["force"] == "stable answers nothing"
    assert "without its rollout" in plan.warnings[0]
    assert kinds(plan) == [EventKind.DEPLOY_REQUESTED, EventKind.ROLLOUT_SUPERSEDED]


def test_a_deploy_before_a_rollback_is_done_is_compared_with_what_it_goes_back_to() -> None:
    back = moves.apply(decision.RollBack("errors", "errors"), BAKING, revision(), NOW_S).state
    plan = changes.deploy(back, judged_version(3), "prices", OWNER, NOW_S, desired=revision(1))
    assert (of(plan).stable, plan.state.live, plan.state.previous) == (1, 1, 2)
    assert kinds(plan)[0] is EventKind.REVISION_LIVE


def test_going_back_by_hand_ends_the_rollout() -> None:
    for state in (at(), BAKING):
        target = changes.rollback_target(state, [revision(1), revision(2)], None)
        assert target == 1
        plan = changes.rollback(state, revision(1), None, OWNER, NOW_S)
        assert (of(plan).phase, of(plan).by) == (RolloutPhase.ROLLED_BACK, "ada")
        assert kinds(plan) == [EventKind.ROLLBACK_REQUESTED, EventKind.ROLLOUT_ROLLED_BACK]


def test_the_reason_of_a_rollback_is_recorded_with_it_and_with_the_rollout_that_it_ends() -> None:
    plan = changes.rollback(at(), revision(1), None, OWNER, NOW_S, "wrong prices")
    assert of(plan).why == "wrong prices"
    assert [e.details.get("reason", e.details.get("why")) for e in plan.events] == ["wrong prices"] * 2
    live = msgspec.structs.replace(at(), rollout=None)
    (event,) = changes.rollback(live, revision(1), None, OWNER, NOW_S, "wrong prices").events
    assert event.details == {"reason": "wrong prices"}


def test_deleting_an_endpoint_ends_its_rollout() -> None:
    plan = changes.delete(at(), OWNER, NOW_S)
    assert plan.state.rollout is None
    assert kinds(plan) == [EventKind.DELETE_REQUESTED, EventKind.ROLLOUT_ABORTED]


def test_a_candidate_that_has_all_traffic_bakes() -> None:
    state = at(3, 100.0)
    new, (event,) = changes.settle(MarkLive("prices", 7, 2), state, revision(), NOW_S)
    assert (new.phase, new.live, new.previous, new.warm_until_s) == (Phase.LIVE, 2, 1, NOW_S + 600)
    assert new.rollout is not None and new.rollout.phase is RolloutPhase.BAKING
    assert event.kind is EventKind.REVISION_LIVE


def test_a_candidate_that_cannot_be_prepared_ends_its_rollout() -> None:
    failed = MarkFailed("prices", 7, 2, "digest_mismatch", "it is damaged", 1)
    new, events = changes.settle(failed, at(-1, 0.0, RolloutPhase.WAITING), revision(), NOW_S)
    assert (new.phase, new.desired, new.failed) == (Phase.FAILED, 1, 2)
    assert new.rollout is not None
    assert (new.rollout.phase, new.rollout.why) == (RolloutPhase.ROLLED_BACK, "it is damaged")
    assert [event.kind for event in events] == [EventKind.REVISION_FAILED, EventKind.ROLLOUT_ROLLED_BACK]


def test_a_state_of_before_there_were_rollouts_still_decodes() -> None:
    old = b"""{"endpoint":"prices","generation":3,"phase":"live","desired":2,"live":2,"previous":1,"last":2,
        "warm_until_s":12.5,"rollback":false,"proven":[1,2],"failed":null,"reason":null}"""
    state = msgspec.json.decode(old, type=DeploymentState)
    assert state.rollout is None
    assert msgspec.json.decode(msgspec.json.encode(at()), type=DeploymentState) == at()
