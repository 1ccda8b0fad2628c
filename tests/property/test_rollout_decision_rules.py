"""The decision of a rollout at any moment at all, also ones that no life would come to."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_world import SPECS

from seaway.core.checks import Verdict
from seaway.core.rollouts.decision import Pause, RollBack, Settle, Snapshot, TakeStep, next_action
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import CANARY_CHECKS, CheckName, Freeze
from seaway.core.rollouts.state import RolloutPhase, RolloutState

NOW_S = 1_000_000.0
CHECKS: tuple[CheckName, ...] = (*CANARY_CHECKS, "predictions", "agreement")
VERDICTS = st.sampled_from(Verdict)
NAMES = st.none() | st.sampled_from(CHECKS)
AGES_S = st.sampled_from((0.0, 1.0, 59.0, 60.0, 299.0, 600.0, 100_000.0))


@st.composite
def moments(draw: st.DrawFn) -> Snapshot:
    spec = draw(st.sampled_from(SPECS))
    if draw(st.booleans()):
        spec = msgspec.structs.replace(
            spec, freeze=(Freeze(days=draw(st.sampled_from((("mon",), ("tue",))))),)
        )
    step = draw(st.integers(-1, len(spec.steps) - 1))
    state = RolloutState(
        candidate=2,
        stable=1,
        phase=draw(st.sampled_from(RolloutPhase)),
        started_s=0.0,
        step=step,
        percent=0.0 if step < 0 else spec.steps_percent[step],
        since_s=draw(st.none() | AGES_S.map(lambda age_s: NOW_S - age_s)),
        approved=draw(st.integers(-1, step)),
        accepted=tuple(draw(st.sets(st.sampled_from(CHECKS), max_size=2))),
    )
    judgement = Judgement(
        step=draw(st.sampled_from((step, step, step, step - 1))),
        through_s=int(NOW_S - draw(AGES_S)),
        looks=1,
        verdict=draw(VERDICTS),
        checks=tuple(
            CheckJudgement(name, draw(VERDICTS), "words", True, "rollback", 0.25, 0.0, 0.0) for name in CHECKS
        ),
        cause=draw(NAMES),
        paused_by=draw(NAMES),
        guard=draw(st.none() | st.just("the split is off")),
        seen=draw(st.booleans()),
    )
    return Snapshot(
        now_s=NOW_S,
        state=state,
        spec=spec,
        ready=draw(st.booleans()),
        settled=draw(st.booleans()),
        judgement=draw(st.none() | st.just(judgement)),
        floor=draw(st.none() | st.just("crashes")),
        bakes_until_s=draw(st.none() | AGES_S.map(lambda age_s: NOW_S + 60 - age_s)),
    )


@given(moments())
@settings(max_examples=300, deadline=None)
def test_the_same_moment_gives_the_same_action(moment: Snapshot) -> None:
    assert next_action(moment) == next_action(moment)


@given(moments())
@settings(max_examples=300, deadline=None)
def test_harm_goes_back_in_every_state_and_ends_are_final(moment: Snapshot) -> None:
    action, judged = next_action(moment), moment.judgement
    harm = judged is not None and judged.verdict is Verdict.FAILED
    if not moment.state.judged:
        assert action is None
    elif moment.floor is not None or (harm and judged.cause not in moment.state.accepted):  # type: ignore[union-attr]
        assert isinstance(action, RollBack)


@given(moments())
@settings(max_examples=300, deadline=None)
def test_a_share_rises_only_where_nothing_speaks_against_it(moment: Snapshot) -> None:
    state, spec, judged = moment.state, moment.spec, moment.judgement
    action = next_action(moment)
    if not isinstance(action, TakeStep):
        return
    assert state.phase in (RolloutPhase.WAITING, RolloutPhase.RUNNING)
    assert action.step == state.step + 1 < len(spec.steps)
    assert moment.ready and moment.settled and not spec.frozen(NOW_S)
    assert NOW_S - (state.since_s or math.inf) >= spec.hold_s(state.step)
    wanted = {check.check for check in spec.gating(state.step)} - {*state.accepted}
    if not wanted:
        return
    assert not spec.all_steps[state.step].approve or state.approved >= state.step
    assert judged is not None and judged.step == state.step and judged.guard is None
    assert judged.verdict not in (Verdict.FAILED, Verdict.ERRORED) or judged.cause in state.accepted
    passed = {one.check for one in judged.checks if one.verdict is Verdict.PASSED}
    assert wanted <= passed or (spec.inconclusive.then == "promote" and judged.seen)


@given(moments())
@settings(max_examples=300, deadline=None)
def test_a_pause_and_a_settlement_change_what_they_say(moment: Snapshot) -> None:
    """Else the same action would be stored at each look."""
    action = next_action(moment)
    if isinstance(action, Pause):
        assert moment.state.phase in (RolloutPhase.WAITING, RolloutPhase.RUNNING)
    if isinstance(action, Settle):
        assert moment.state.since_s is None


@given(moments())
@settings(max_examples=300, deadline=None)
def test_the_grounds_of_a_step_are_what_allowed_it(moment: Snapshot) -> None:
    """Nothing is said to have passed that did not, and what is still undecided is never hidden."""
    action = next_action(moment)
    if not isinstance(action, TakeStep):
        return
    state, spec, judged, told = moment.state, moment.spec, moment.judgement, action.grounds
    wanted = [check.check for check in spec.gating(state.step) if check.check not in state.accepted]
    assert [one.check for one in told.checks] == wanted
    passed = {one.check for one in told.checks if one.verdict is Verdict.PASSED}
    found = {} if judged is None or judged.step != state.step else {one.check: one for one in judged.checks}
    assert all(found[name].verdict is Verdict.PASSED for name in passed)
    match told.rule:
        case "ready":
            assert state.step < 0
        case "time":
            assert not wanted and state.step >= 0
        case "passed":
            assert wanted and passed == {*wanted}
            assert (
                judged is not None
                and judged.guard is None
                and judged.through_s >= (state.since_s or math.inf)
            )
            assert judged.verdict not in (Verdict.FAILED, Verdict.ERRORED)
        case "undecided":
            assert spec.inconclusive.then == "promote"
            assert NOW_S - (state.since_s or math.inf) >= spec.inconclusive.after_s
        case _:
            raise AssertionError("a person did not do it")
