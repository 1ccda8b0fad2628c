"""What becomes of a rollout when the decision or a person acts on it: pure, from a state to the next one and its event.

`control.rollouts.analysis` stores what `apply` answers, `control.rollouts.requests` what the rest do, by compare-and-set;
a lost race is planned again on what is then stored. A Plan without events changes nothing (or only the step's clock), so
it needs no line in the history. `candidate` is always the revision of `state.rollout.candidate`.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from seaway.control.changes import ACTOR, Plan, about, ended, rollout_details, wanted
from seaway.core.deployments import DeploymentState, Revision
from seaway.core.errors import TemporaryError, UserError
from seaway.core.events import EventKind
from seaway.core.rollouts import decision, grounds
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.state import Grounds, RolloutPhase, RolloutState, Taken


def apply(action: decision.RolloutAction, state: DeploymentState, candidate: Revision, now_s: float) -> Plan:
    """What the decision said, as the new state (its generation one higher) and its event; Settle leaves no event."""
    rollout = _under_way(state)
    number = rollout.candidate
    match action:
        case decision.TakeStep(step=step, grounds=why):
            return _take_step(state, candidate, step, ACTOR, now_s, why)
        case decision.Settle():
            new = msgspec.structs.replace(rollout, since_s=now_s)
            return Plan(
                _with(state, new), f"every worker gives revision {number} {rollout.percent:g} %", candidate
            )
        case decision.Pause(why=why, cause=cause):
            return _paused(state, candidate, ACTOR, now_s, why, cause)
        case decision.RollBack(why=why, cause=cause):
            return _back(state, candidate, RolloutPhase.ROLLED_BACK, ACTOR, now_s, why, cause)
        case decision.Finish():
            return _promoted(state, candidate, now_s)
        case _:
            assert_never(action)


def promote(
    state: DeploymentState,
    candidate: Revision,
    by: str,
    now_s: float,
    reason: str | None,
    *,
    full: bool,
    judged: Judgement | None = None,
) -> Plan:
    """The next step now, whatever hold, checks and freezes say, or with `full` the last one.

    `judged` is the newest judgement, None before the first: the event tells what had not passed. Of a paused one too: it
    runs on, and the check that paused it is accepted. Idempotent at the last step. Raises `UserError("no_rollout")`,
    `TemporaryError("rollout_not_ready")`.
    """
    rollout = _open(state)
    last = len(candidate.spec.rollout.steps) - 1
    if rollout.step == last:
        return Plan(state, f"revision {rollout.candidate} is on its way to 100 % already", candidate)
    _check_ready(rollout)
    step = last if full else rollout.step + 1
    percent = candidate.spec.rollout.steps_percent[step]
    accepted = () if rollout.cause is None else (rollout.cause,)
    why = grounds.of_person(candidate.spec.rollout, rollout, judged, now_s, percent, accepted)
    return _take_step(state, candidate, step, by, now_s, why, reason)


def pause(state: DeploymentState, candidate: Revision, by: str, now_s: float, reason: str | None) -> Plan:
    """Stay at this share until a person says what then; a failed check still takes it back.

    Idempotent. Raises `UserError("no_rollout")`.
    """
    rollout = _open(state)
    if rollout.phase is RolloutPhase.PAUSED:
        return Plan(state, f"it is paused already: {rollout.why}", candidate)
    return _paused(state, candidate, by, now_s, reason or f"{by} paused it")


def resume(state: DeploymentState, candidate: Revision, by: str, now_s: float, reason: str | None) -> Plan:
    """Run on, the time of the step from its beginning; the check that paused it is accepted from now on.

    Idempotent. Raises `UserError("no_rollout")`.
    """
    rollout = _open(state)
    if rollout.phase is not RolloutPhase.PAUSED:
        return Plan(state, "it is not paused", candidate)
    phase = RolloutPhase.WAITING if rollout.step < 0 else RolloutPhase.RUNNING
    new = _running(rollout, phase)
    message = f"the rollout of revision {rollout.candidate} goes on at {rollout.percent:g} %"
    if rollout.cause is not None:
        message += f"; what {rollout.cause} found is accepted"
    return _plan(
        state, new, candidate, EventKind.ROLLOUT_RESUMED, by, now_s, message, _said(reason, rollout.cause)
    )


def abort(state: DeploymentState, candidate: Revision, by: str, now_s: float, reason: str | None) -> Plan:
    """All traffic back to the stable revision, for good; also in the bake.

    Idempotent: one that has gone back already stays as it is. Raises `UserError("no_rollout")`.
    """
    rollout = state.rollout
    if rollout is not None and rollout.phase in (RolloutPhase.ABORTED, RolloutPhase.ROLLED_BACK):
        return Plan(
            state, f"revision {rollout.candidate} takes no traffic any more: {rollout.why}", candidate
        )
    _judged(state)
    return _back(state, candidate, RolloutPhase.ABORTED, by, now_s, reason or f"{by} aborted it", None)


def approve(state: DeploymentState, candidate: Revision, by: str, now_s: float, reason: str | None) -> Plan:
    """This step may be left, once its checks have passed.

    Idempotent. Raises `UserError` (`no_rollout`; `invalid_request` where the step asks for no approval).
    """
    rollout = _open(state)
    steps = candidate.spec.rollout.all_steps
    if rollout.step < 0 or not steps[rollout.step].approve:
        later = next((step.to for step in steps[rollout.step + 1 :] if step.approve), None)
        raise UserError(
            "invalid_request",
            f"the rollout of {state.endpoint} waits for no approval now",
            "this step asks for none" + ("" if later is None else f"; the one to {later} will"),
        )
    share = f"{rollout.percent:g} %"
    if rollout.approved >= rollout.step:
        return Plan(state, f"the step to {share} is approved already", candidate)
    new = msgspec.structs.replace(rollout, approved=rollout.step)
    message = f"revision {rollout.candidate} may go on from {share}"
    return _plan(state, new, candidate, EventKind.ROLLOUT_APPROVED, by, now_s, message, _said(reason))


def traffic(
    state: DeploymentState,
    candidate: Revision,
    by: str,
    now_s: float,
    reason: str | None,
    *,
    percent: float,
    judged: Judgement | None = None,
) -> Plan:
    """Give the candidate this share, and pause; 100 is `promote` with `full`. `judged` as there.

    It stands then on the last step whose share is no larger, where `resume` goes on. Raises `UserError("no_rollout")`,
    `TemporaryError("rollout_not_ready")`.
    """
    if percent >= 100:
        return promote(state, candidate, by, now_s, reason, full=True, judged=judged)
    rollout = _open(state)
    if percent > 0:
        _check_ready(rollout)
    why = reason or f"{by} set its share to {percent:g} %"
    below = [place for place, share in enumerate(candidate.spec.rollout.steps_percent) if share <= percent]
    new = msgspec.structs.replace(
        rollout,
        phase=RolloutPhase.PAUSED,
        step=max(below, default=-1),
        percent=percent,
        since_s=None,
        turn=rollout.turn + 1,
        why=why,
        by=by,
    )
    # What paused it stays what paused it: only who goes on accepts it.
    stands_on = grounds.of_person(candidate.spec.rollout, rollout, judged, now_s, percent, ())
    new = _with_taken(new, rollout, by, now_s, stands_on)
    said = grounds.in_words(new.taken[-1])
    message = f"revision {rollout.candidate} takes {percent:g} % (was {rollout.percent:g} %) and stays there: {said}"
    told = {"why": said} | grounds.told(stands_on.checks, stands_on.accepted)
    return _plan(state, new, candidate, EventKind.TRAFFIC_SET, by, now_s, message, told | _said(reason))


def _take_step(
    state: DeploymentState,
    candidate: Revision,
    step: int,
    by: str,
    now_s: float,
    why: Grounds,
    reason: str | None = None,
) -> Plan:
    rollout, spec = _open(state), candidate.spec.rollout
    new = msgspec.structs.replace(
        _running(rollout, RolloutPhase.RUNNING), step=step, percent=spec.steps_percent[step]
    )
    new = _with_taken(new, rollout, by, now_s, why)
    said = grounds.in_words(new.taken[-1])
    message = (
        f"revision {rollout.candidate} takes {new.percent:g} % (step {step + 1} of {len(spec.steps)}): {said}"
    )
    warnings: tuple[str, ...] = ()
    if by != ACTOR and spec.frozen(now_s):
        warnings = ("a freeze holds now, in which no share rises by itself",)
    told = {"why": said} | grounds.told(why.checks, why.accepted) | _said(reason, rollout.cause)
    told |= {"warnings": warnings[0]} if warnings else {}
    plan = _plan(state, new, candidate, EventKind.ROLLOUT_STEPPED, by, now_s, message, told)
    return msgspec.structs.replace(plan, warnings=warnings)


def _with_taken(new: RolloutState, was: RolloutState, by: str, now_s: float, why: Grounds) -> RolloutState:
    taken = Taken(new.percent, was.percent, now_s, by, why)
    return msgspec.structs.replace(new, taken=grounds.with_one_more(was.taken, taken))


def _promoted(state: DeploymentState, candidate: Revision, now_s: float) -> Plan:
    rollout = _under_way(state)
    why = grounds.of_promotion(rollout.taken)
    held = f"no alarm came in its bake of {candidate.spec.rollout.bake}"
    why = f"{why}; {held}" if why else held
    new = msgspec.structs.replace(rollout, phase=RolloutPhase.PROMOTED, ended_s=now_s, why=why)
    message = f"revision {rollout.candidate} is promoted: {why}"
    told = {"why": why} | grounds.told([ground for _, ground in grounds.last_of_each(rollout.taken)])
    return _plan(state, new, candidate, EventKind.ROLLOUT_PROMOTED, ACTOR, now_s, message, told)


def _paused(
    state: DeploymentState, candidate: Revision, by: str, now_s: float, why: str, cause: str | None = None
) -> Plan:
    rollout = _open(state)
    new = msgspec.structs.replace(rollout, phase=RolloutPhase.PAUSED, why=why, cause=cause, by=by)
    message = f"the rollout of revision {rollout.candidate} is paused at {rollout.percent:g} %: {why}"
    told = {"why": why} | _said(None, cause)
    return _plan(state, new, candidate, EventKind.ROLLOUT_PAUSED, by, now_s, message, told)


def _back(
    state: DeploymentState,
    candidate: Revision,
    phase: RolloutPhase,
    by: str,
    now_s: float,
    why: str,
    cause: str | None,
) -> Plan:
    """The latch: from here on the stable revision is the desired one, and no later reading changes that."""
    rollout = _judged(state)
    failed = phase is RolloutPhase.ROLLED_BACK
    new = msgspec.structs.replace(
        wanted(state, rollout.stable),
        rollback=True,
        proven=tuple(n for n in state.proven if not (failed and n == rollout.candidate)),
        failed=rollout.candidate if failed else None,
        reason=why if failed else None,
        rollout=ended(rollout, phase, by, now_s, why, cause),
    )
    kind = EventKind.ROLLOUT_ROLLED_BACK if failed else EventKind.ROLLOUT_ABORTED
    message = (
        f"back to revision {rollout.stable} from {rollout.percent:g} % on revision {rollout.candidate}: {why}"
    )
    details = rollout_details(rollout) | {"why": why} | _said(None, cause)
    return Plan(new, message, candidate, (about(kind, candidate, by, now_s, message, details),))


def _running(rollout: RolloutState, phase: RolloutPhase) -> RolloutState:
    """Going on, with a new clock; what paused it is accepted."""
    cause = rollout.cause if rollout.phase is RolloutPhase.PAUSED else None
    accepted = {*rollout.accepted, *(() if cause is None else (cause,))}
    return msgspec.structs.replace(
        rollout,
        phase=phase,
        since_s=None,
        turn=rollout.turn + 1,
        accepted=tuple(sorted(accepted)),
        why=None,
        cause=None,
        by=None,
    )


def _plan(
    state: DeploymentState,
    rollout: RolloutState,
    candidate: Revision,
    kind: EventKind,
    by: str,
    now_s: float,
    message: str,
    told: dict[str, str] | None = None,
) -> Plan:
    event = about(kind, candidate, by, now_s, message, rollout_details(rollout) | (told or {}))
    return Plan(_with(state, rollout), message, candidate, (event,))


def _with(state: DeploymentState, rollout: RolloutState) -> DeploymentState:
    return msgspec.structs.replace(state, generation=state.generation + 1, rollout=rollout)


def _said(reason: str | None, cause: str | None = None) -> dict[str, str]:
    found = {"reason": reason, "cause": cause}
    return {key: text for key, text in found.items() if text is not None}


def _under_way(state: DeploymentState) -> RolloutState:
    if state.rollout is None or not state.rollout.judged:
        raise AssertionError(f"{state.endpoint} has no rollout to act on")
    return state.rollout


def _judged(state: DeploymentState) -> RolloutState:
    """The rollout that is not over, the bake included. Raises `UserError("no_rollout")`."""
    rollout = state.rollout
    if rollout is None:
        raise UserError(
            "no_rollout",
            f"{state.endpoint} has no rollout",
            "one begins with a deploy over a live revision whose rollout has steps, such as [5%, 100%]",
        )
    if not rollout.judged:
        over = f"the rollout of revision {rollout.candidate} is over: {rollout.phase.value.replace('_', ' ')}"
        raise UserError(
            "no_rollout", over, f"see: seaway status {state.endpoint}; or go back: seaway rollback"
        )
    return rollout


def _open(state: DeploymentState) -> RolloutState:
    """The rollout whose shares can still change. Raises `UserError("no_rollout")`."""
    rollout = _judged(state)
    if not rollout.open:
        raise UserError(
            "no_rollout",
            f"revision {rollout.candidate} of {state.endpoint} has all traffic and bakes: no step is left",
            f"take it back with: seaway abort {state.endpoint}",
        )
    return rollout


def _check_ready(rollout: RolloutState) -> None:
    if rollout.preparing and rollout.since_s is None:
        raise TemporaryError(
            "rollout_not_ready",
            f"not every worker has revision {rollout.candidate} ready yet",
            "try again in some seconds; see: seaway status",
        )
