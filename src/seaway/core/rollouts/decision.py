"""The decision of a rollout: from all that is known at one moment to at most one next action. Pure.

`control.rollouts.analysis` observes a Snapshot about once a second, calls `next_action`, stores what it says by
compare-and-set with an event, and starts again; `core.reconciliation` then moves the traffic.

The order of the rules is their rank: what harms goes back in every state, then what needs a person waits for one, and
a share rises last, only where nothing at all speaks against it.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from seaway.core.checks import Verdict
from seaway.core.rollouts import grounds
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import Grounds, RolloutPhase, RolloutState

FLOOR: Final = "floor"
"""The cause of a rollback that needed no evidence."""


class Snapshot(msgspec.Struct, frozen=True):
    """All that the decision may know.

    `ready` says that every worker that answers has the candidate ready, `settled` that every one of them routes by the
    wanted share. `judgement` is None before the first look. `floor` says which hard floor was broken (crashes, not ready,
    a burst of failures), in words: it acts at once, without evidence. `bakes_until_s` is when the old revision may go.
    """

    now_s: float
    state: RolloutState
    spec: Rollout
    ready: bool
    settled: bool
    judgement: Judgement | None
    floor: str | None = None
    bakes_until_s: float | None = None


class TakeStep(msgspec.Struct, frozen=True):
    """Give the candidate the share of this step, on these grounds; the last one is its promotion."""

    step: int
    grounds: Grounds


class Settle(msgspec.Struct, frozen=True):
    """Store that every worker routes by the wanted share: the step's time begins."""


class Pause(msgspec.Struct, frozen=True):
    """Stay where it is until a person says what then."""

    why: str
    cause: str | None = None


class RollBack(msgspec.Struct, frozen=True):
    """All traffic goes back to the stable revision, for good."""

    why: str
    cause: str | None = None


class Finish(msgspec.Struct, frozen=True):
    """The bake is over: promoted."""


RolloutAction = TakeStep | Settle | Pause | RollBack | Finish


def next_action(snapshot: Snapshot) -> RolloutAction | None:
    """The one thing to do now, or None to hold."""
    state = snapshot.state
    if not state.judged:
        return None
    if (breach := _breach(snapshot)) is not None:
        return breach
    if snapshot.settled and state.since_s is None:
        return Settle()
    if state.phase is RolloutPhase.BAKING:
        return Finish() if snapshot.now_s >= (snapshot.bakes_until_s or -math.inf) else None
    if state.phase is RolloutPhase.PAUSED or state.step + 1 == len(snapshot.spec.steps):
        return None  # a person says what then; or the last step was taken, and waits to be called live
    if (doubt := _doubt(snapshot)) is not None:
        return Pause(_words(snapshot, doubt), doubt)
    passed = _passed(snapshot)
    if not passed and _late(snapshot.spec, state, snapshot.now_s):
        return _undecided(snapshot)
    return _next_step(snapshot, passed=True) if passed and _may_rise(snapshot) else None


def _breach(snapshot: Snapshot) -> RollBack | None:
    """Harm that is certain. Nothing excuses it but a person's acceptance of that one check."""
    if snapshot.floor is not None:
        return RollBack(snapshot.floor, FLOOR)
    judged = snapshot.judgement
    if judged is None or judged.verdict is not Verdict.FAILED or judged.cause in snapshot.state.accepted:
        return None
    return RollBack(_words(snapshot, judged.cause), judged.cause)


def _doubt(snapshot: Snapshot) -> str | None:
    """The check whose failure a person must look at."""
    paused_by = None if snapshot.judgement is None else snapshot.judgement.paused_by
    return None if paused_by in snapshot.state.accepted else paused_by


def _passed(snapshot: Snapshot) -> bool:
    """Whether every check that the step waits for has passed on traffic of the step; before the first there is none."""
    state, judged = snapshot.state, snapshot.judgement
    wanted = {c.check for c in snapshot.spec.gating(state.step)} - {*state.accepted}
    if not wanted:
        return True
    if judged is None or state.since_s is None or judged.step != state.step:
        return False
    if judged.guard is not None or judged.verdict in (Verdict.FAILED, Verdict.ERRORED):
        return False
    found = {one.check for one in judged.checks if one.verdict is Verdict.PASSED}
    return wanted <= found and judged.through_s >= state.since_s


def goes_on(spec: Rollout, state: RolloutState, judged: Judgement | None, now_s: float) -> bool:
    """Whether the time of the step is over and the policy goes on undecided; never on to more traffic on nothing."""
    if judged is None or spec.inconclusive.then != "promote" or not _late(spec, state, now_s):
        return False
    seen = judged.seen and judged.guard is None and judged.step == state.step
    return seen and judged.verdict is not Verdict.ERRORED


def _late(spec: Rollout, state: RolloutState, now_s: float) -> bool:
    return state.since_s is not None and now_s - state.since_s >= spec.inconclusive.after_s


def _undecided(snapshot: Snapshot) -> RolloutAction | None:
    """The time is over and the step has not passed: as the policy says."""
    policy, judged = snapshot.spec.inconclusive, snapshot.judgement
    why = f"its checks have not decided within {policy.after}"
    if judged is not None and judged.guard is not None:
        why = f"{why}: {judged.guard}"
    if policy.then == "rollback":
        return RollBack(why)
    if not goes_on(snapshot.spec, snapshot.state, judged, snapshot.now_s):
        return Pause(why)
    return _next_step(snapshot, passed=False) if _may_rise(snapshot) else None


def _next_step(snapshot: Snapshot, *, passed: bool) -> TakeStep:
    state = snapshot.state
    why = grounds.of_step(snapshot.spec, state, snapshot.judgement, passed=passed)
    return TakeStep(state.step + 1, why)


def _may_rise(snapshot: Snapshot) -> bool:
    """Whether the next step may be taken, for all that is not evidence."""
    state, spec, now_s = snapshot.state, snapshot.spec, snapshot.now_s
    if not (snapshot.ready and snapshot.settled) or state.since_s is None:
        return False
    if now_s < spec.start_s or spec.frozen(now_s):
        return False
    held = now_s - state.since_s >= spec.hold_s(state.step)
    return held and (state.approved >= state.step or not spec.all_steps[state.step].approve)


def _words(snapshot: Snapshot, cause: str | None) -> str:
    """What a check says for itself; it may be the loudest of several that are certain of harm only together."""
    found = None if snapshot.judgement is None or cause is None else snapshot.judgement.check(cause)
    said = found.words if found is not None and found.words else f"the check {cause} failed"
    alone = found is None or found.verdict is Verdict.FAILED
    return said if alone else f"the checks together are certain of harm, {cause} most of all: {said}"
