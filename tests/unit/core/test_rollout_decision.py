"""Single moments of a rollout; tests/property drives the decision through whole lives."""

from __future__ import annotations

import datetime

import msgspec
import pytest

from seaway.core.checks import Verdict
from seaway.core.rollouts.decision import (
    Finish,
    Pause,
    RollBack,
    RolloutAction,
    Settle,
    Snapshot,
    TakeStep,
    next_action,
)
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import Freeze, Inconclusive, Rollout, RolloutCheck, Step
from seaway.core.rollouts.state import RolloutPhase, RolloutState

NOW_S = 10_000.0
CANARY = Rollout(steps=("10%", "50%", "100%"), hold="60s", inconclusive=Inconclusive("10m", "rollback"))
JUDGED = (RolloutPhase.WAITING, RolloutPhase.RUNNING, RolloutPhase.PAUSED, RolloutPhase.BAKING)
HELD = RolloutState(2, 1, RolloutPhase.RUNNING, 0.0, step=0, percent=10.0, since_s=NOW_S - 60)


def judged(
    verdict: Verdict = Verdict.PASSED,
    *,
    step: int = 0,
    cause: str | None = None,
    paused_by: str | None = None,
    through_s: float = NOW_S - 2,
    **verdicts: Verdict,
) -> Judgement:
    checks = {"errors": verdict, "latency": verdict} | verdicts
    return Judgement(
        step=step,
        through_s=int(through_s),
        looks=1,
        verdict=verdict,
        checks=tuple(
            CheckJudgement(name, found, f"what {name} saw", True, "rollback", 0.5, 0.0, 0.0)  # type: ignore[arg-type]
            for name, found in checks.items()
        ),
        cause=cause,  # type: ignore[arg-type]
        paused_by=paused_by,  # type: ignore[arg-type]
        seen=True,
    )


FINE = Snapshot(NOW_S, HELD, CANARY, ready=True, settled=True, judgement=judged())


def decide(state: RolloutState = HELD, **fields: object) -> RolloutAction | None:
    return next_action(msgspec.structs.replace(FINE, state=state, **fields))


def step_of(action: RolloutAction | None) -> int:
    assert isinstance(action, TakeStep), action
    return action.step


def state(**fields: object) -> RolloutState:
    return msgspec.structs.replace(HELD, **fields)


def test_a_step_that_held_and_passed_is_left() -> None:
    assert step_of(decide()) == 1


@pytest.mark.parametrize(
    "against",
    [
        {"ready": False},
        {"settled": False},
        {"judgement": None},
        {"judgement": judged(Verdict.INCONCLUSIVE)},
        {"judgement": judged(Verdict.ERRORED)},
        {"judgement": judged(latency=Verdict.INCONCLUSIVE)},
        {"judgement": judged(step=-1)},
        {"judgement": judged(through_s=NOW_S - 61)},
        {"judgement": msgspec.structs.replace(judged(), guard="the split is not as it should be")},
        {"now_s": NOW_S - 0.5},
        {"state": state(since_s=None), "settled": False},
        {"state": state(phase=RolloutPhase.PAUSED)},
        {
            "spec": msgspec.structs.replace(
                CANARY, freeze=(Freeze(utc_offset=0, since=datetime.date(1970, 1, 1)),)
            )
        },
        {"spec": msgspec.structs.replace(CANARY, steps=(Step("10%", approve=True), "100%"))},
        {"spec": msgspec.structs.replace(CANARY, start=datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC))},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_c10_no_share_rises_where_anything_speaks_against_it(against: dict[str, object]) -> None:
    assert next_action(msgspec.structs.replace(FINE, **against)) is None


@pytest.mark.parametrize("phase", JUDGED)
@pytest.mark.parametrize(
    ("harm", "back"),
    [
        (
            {"judgement": judged(Verdict.FAILED, cause="latency")},
            RollBack("what latency saw", "latency"),
        ),
        ({"floor": "3 crashes in 10 s"}, RollBack("3 crashes in 10 s", "floor")),
    ],
)
@pytest.mark.parametrize(
    "besides",
    [
        {},
        {"ready": False, "settled": False},
        {"state": state(since_s=None)},
        {
            "spec": msgspec.structs.replace(
                CANARY, freeze=(Freeze(days=("thu",)),), steps=(Step("10%", approve=True), "100%")
            )
        },
    ],
)
def test_harm_goes_back_in_every_state(
    phase: RolloutPhase, harm: dict[str, object], back: RollBack, besides: dict[str, object]
) -> None:
    at = msgspec.structs.replace(FINE, **{**besides, **harm})
    at = msgspec.structs.replace(at, state=msgspec.structs.replace(at.state, phase=phase))
    assert next_action(at) == back


@pytest.mark.parametrize("phase", sorted({*RolloutPhase} - {*JUDGED}))
def test_an_end_is_final(phase: RolloutPhase) -> None:
    assert decide(state(phase=phase)) is None
    assert (
        decide(state(phase=phase), floor="crashes", judgement=judged(Verdict.FAILED, cause="errors")) is None
    )


def test_before_the_first_step_it_needs_every_worker_but_no_check() -> None:
    waiting = state(phase=RolloutPhase.WAITING, step=-1, percent=0.0)
    assert step_of(decide(waiting, judgement=None)) == 0
    assert decide(waiting, ready=False) is None
    late = msgspec.structs.replace(waiting, since_s=0.0)
    assert decide(late, ready=False, judgement=None) is None  # waiting has no deadline


def test_the_time_of_a_step_begins_when_every_worker_routes_by_it() -> None:
    for phase in JUDGED:
        assert decide(state(phase=phase, since_s=None)) == Settle()
        assert decide(state(phase=phase, since_s=None), settled=False) in (None, Finish())


def test_a_pausing_check_waits_for_a_person_who_may_accept_it() -> None:
    moved = judged(Verdict.INCONCLUSIVE, paused_by="predictions", predictions=Verdict.FAILED)
    assert decide(judgement=moved) == Pause("what predictions saw", "predictions")
    assert decide(state(phase=RolloutPhase.PAUSED), judgement=moved) is None
    spec = msgspec.structs.replace(CANARY, checks=("errors", "predictions"))
    accepted = judged(predictions=Verdict.FAILED)
    assert step_of(decide(state(accepted=("predictions",)), judgement=accepted, spec=spec)) == 1
    assert decide(judgement=accepted, spec=spec) is None


def test_an_accepted_failure_takes_nothing_back() -> None:
    failed = judged(Verdict.FAILED, cause="errors")
    assert decide(state(accepted=("errors",)), judgement=failed) is None


def test_an_approved_step_is_left() -> None:
    spec = msgspec.structs.replace(CANARY, steps=(Step("10%", approve=True), "100%"))
    assert step_of(decide(state(approved=0), spec=spec)) == 1
    later = state(since_s=NOW_S - 100_000)
    assert decide(later, spec=spec) is None  # it has passed: a person has as long as they like


LATE = state(since_s=NOW_S - 600)
UNDECIDED = judged(Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("then", "judgement", "expected"),
    [
        ("rollback", UNDECIDED, RollBack),
        ("rollback", None, RollBack),
        ("pause", UNDECIDED, Pause),
        ("pause", None, Pause),
        ("promote", UNDECIDED, TakeStep),
        ("promote", None, Pause),
        ("promote", judged(Verdict.ERRORED), Pause),
        ("promote", msgspec.structs.replace(UNDECIDED, seen=False), Pause),
        ("promote", msgspec.structs.replace(UNDECIDED, guard="a worker is silent"), Pause),
    ],
)
def test_c09_undecided_for_too_long_ends_as_the_policy_says(
    then: str, judgement: Judgement | None, expected: type
) -> None:
    spec = msgspec.structs.replace(CANARY, inconclusive=Inconclusive("10m", then))  # type: ignore[arg-type]
    assert isinstance(decide(LATE, spec=spec, judgement=judgement), expected)
    assert decide(LATE, spec=spec, judgement=judgement, now_s=NOW_S - 1) is None
    if then == "promote" and expected is TakeStep:
        assert decide(LATE, spec=spec, judgement=judgement, ready=False) is None


def test_a_step_to_nothing_passes_at_once_unless_something_is_to_be_seen() -> None:
    at_0 = state(percent=0.0, since_s=NOW_S)
    blue_green = Rollout(steps=("0%", "100%"))
    assert step_of(decide(at_0, spec=blue_green, judgement=None)) == 1
    with_checks = Rollout(steps=("0%", "50%", "100%"), checks=("errors", "latency"))
    assert step_of(decide(at_0, spec=with_checks, judgement=None)) == 1
    held = Rollout(steps=(Step("0%", hold="5m"), "100%"))
    assert decide(at_0, spec=held) is None
    assert step_of(decide(state(percent=0.0, since_s=NOW_S - 300), spec=held)) == 1
    assert decide(at_0, spec=Rollout(steps=(Step("0%", approve=True), "100%"))) is None
    shadow = Rollout(steps=("0%", "100%"), shadow="10%", checks=("errors", "agreement"))
    after_hold = state(percent=0.0, since_s=NOW_S - 60)
    assert decide(after_hold, spec=shadow, judgement=judged(Verdict.PASSED)) is None
    agreed = judged(Verdict.INCONCLUSIVE, agreement=Verdict.PASSED)
    assert step_of(decide(after_hold, spec=shadow, judgement=agreed)) == 1
    assert decide(at_0, spec=shadow, judgement=agreed) is None


def test_steps_without_checks_pass_by_their_time() -> None:
    spec = Rollout(steps=("10%", "100%"), checks=())
    assert step_of(decide(spec=spec, judgement=None)) == 1
    advisory = Rollout(steps=("10%", "100%"), checks=(RolloutCheck("errors", advisory=True),))
    assert step_of(decide(spec=advisory, judgement=None)) == 1
    assert decide(spec=spec, judgement=None, now_s=NOW_S - 1) is None


def test_a_step_waits_for_its_own_checks_alone() -> None:
    spec = Rollout(steps=(Step("10%", checks=("errors",)), "100%"), checks=("errors", "latency"))
    assert step_of(decide(spec=spec, judgement=judged(latency=Verdict.INCONCLUSIVE))) == 1
    assert decide(spec=spec, judgement=judged(errors=Verdict.INCONCLUSIVE)) is None


def test_after_the_last_step_it_waits_to_be_live_and_then_for_the_end_of_the_bake() -> None:
    last = state(step=2, percent=100.0, since_s=NOW_S - 100_000)
    assert decide(last, judgement=None) is None
    baking = state(phase=RolloutPhase.BAKING, step=2, percent=100.0)
    assert decide(baking, bakes_until_s=NOW_S + 1) is None
    assert decide(baking, bakes_until_s=NOW_S) == Finish()
    assert decide(baking, bakes_until_s=None) == Finish()


def test_a_freeze_holds_back_a_promotion_of_the_policy_too() -> None:
    spec = msgspec.structs.replace(
        CANARY, inconclusive=Inconclusive("10m", "promote"), freeze=(Freeze(days=("thu",)),)
    )
    assert decide(LATE, spec=spec, judgement=UNDECIDED) is None  # 1 January 1970 was a Thursday


def test_no_step_is_undecided_before_its_hold_is_over() -> None:
    for steps, hold in ((("10%", "100%"), "2d"), ((Step("10%", hold="2d"), "100%"), "60s")):
        with pytest.raises(ValueError, match=r"inconclusive\.after is shorter than hold"):
            Rollout(steps=steps, hold=hold)
        Rollout(steps=steps, hold=hold, inconclusive=Inconclusive("2d"))


def test_harm_of_many_weak_signs_together_is_said_so() -> None:
    """Else the reason of a rollback would be the words of a check that says it is not sure yet."""
    together = judged(Verdict.FAILED, cause="latency", latency=Verdict.INCONCLUSIVE)
    said = "the checks together are certain of harm, latency most of all: what latency saw"
    assert decide(judgement=together) == RollBack(said, "latency")
