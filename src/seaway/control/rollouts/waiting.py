"""What a rollout waits for, in one sentence, and when its next step can come at the earliest.

Pure, and only for people: `core.rollouts.decision` decides. Called by the use cases, and by `deploy --plan` for freezes.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from seaway.control.rollouts.views import RolloutStatus, Waiting
from seaway.core import phrases, times
from seaway.core.checks import Verdict
from seaway.core.evidence import forecasts
from seaway.core.rollouts import decision
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.spec import Freeze, Rollout
from seaway.core.rollouts.state import RolloutPhase, RolloutState

_AHEAD_DAYS: Final = 370
"""How far the end of a freeze is looked for."""
_OF_BAD: Final = ("errors", "rejections", "latency", "agreement", "quality", "outcome")
"""Checks whose candidate units are good or bad."""
_UNDECIDED: Final = {
    "rollback": "rolled back",
    "pause": "paused",
    "promote": "on to the next step (paused, if a check has no data)",
}


def waiting(
    state: RolloutState,
    spec: Rollout,
    judgement: Judgement | None,
    now_s: float,
    bakes_until_s: float | None = None,
) -> Waiting:
    """See the module."""
    shares = spec.steps_percent
    upcoming = shares[state.step + 1] if state.step + 1 < len(shares) else None
    match state.phase:
        case RolloutPhase.WAITING:
            words, next_s = _before(state, spec, now_s)
            return Waiting(words, upcoming, next_s)
        case RolloutPhase.RUNNING:
            words, next_s = _running(state, spec, judgement, now_s)
            return Waiting(words, upcoming, next_s)
        case RolloutPhase.PAUSED:
            why = f": {state.why}" if state.why else ""
            return Waiting(f"a person: it is paused{why}", upcoming)
        case RolloutPhase.BAKING:
            until = "" if bakes_until_s is None else f" until {times.clock(bakes_until_s, now_s)}"
            return Waiting(f"the end of the bake: revision {state.stable} stays warm{until}", None)
        case _:
            return Waiting("nothing: it is over")


def for_approval(state: RolloutState, spec: Rollout, judgement: Judgement | None, now_s: float) -> bool:
    """Whether the step has been held and its checks have passed (or the policy goes on without), and a person's approval is
    missing; freezes are no matter."""
    if state.phase is not RolloutPhase.RUNNING or state.since_s is None or state.step == len(spec.steps) - 1:
        return False
    held = now_s >= state.since_s + spec.hold_s(state.step)
    decided = not _lacking(state, spec, judgement) or decision.goes_on(spec, state, judgement, now_s)
    return held and _unapproved(state, spec) and decided


def as_seen(status: RolloutStatus, opening: Sequence[str], unmirrored: Sequence[int]) -> RolloutStatus:
    """With what the control loop sees of it: that the candidate is among the bundles that are being opened (NAME:vN), and
    which workers have no process to mirror requests to it."""
    state, said = status.state, [status.waiting.words]
    if state.preparing and status.candidate.ref in opening:
        said.append(f"opening {status.candidate.ref}, each of its bytes is checked")
    if state.open and unmirrored:
        noun = "worker" if len(unmirrored) == 1 else "workers"
        slots = ", ".join(map(str, unmirrored))
        said.append(f"on {noun} {slots} nothing is mirrored until another endpoint's rollout is over")
    words = "; ".join(said)
    return msgspec.structs.replace(status, waiting=msgspec.structs.replace(status.waiting, words=words))


def thaws_s(spec: Rollout, now_s: float) -> float | None:
    """When no freeze holds any more, now_s where none does; None where that is more than a year away."""
    if not spec.frozen(now_s):
        return now_s
    moments = sorted(at_s for one in spec.freeze for at_s in _ends(one, now_s) if at_s > now_s)
    return next((at_s for at_s in moments if not spec.frozen(at_s)), None)


def _ends(one: Freeze, now_s: float) -> Iterator[float]:
    """Every moment at which this window may end: its own end, and each midnight, of its zone."""
    zone = datetime.timezone(datetime.timedelta(hours=one.utc_offset))
    midnight = datetime.datetime.fromtimestamp(now_s, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    hours, minutes = map(int, (one.end or "00:00").split(":"))
    for days in range(_AHEAD_DAYS):
        day = midnight + datetime.timedelta(days=days)
        yield day.timestamp()
        yield day.replace(hour=hours, minute=minutes).timestamp()


def _before(state: RolloutState, spec: Rollout, now_s: float) -> tuple[str, float | None]:
    """Before the first step."""
    if now_s < spec.start_s:
        return f"its start at {times.clock(spec.start_s, now_s)}", spec.start_s
    if spec.frozen(now_s):
        return _freeze(spec, now_s)
    return f"every worker to have revision {state.candidate} ready", None


def _freeze(spec: Rollout, now_s: float) -> tuple[str, float | None]:
    end_s = thaws_s(spec, now_s)
    until = "" if end_s is None else f" until {times.clock(end_s, now_s)}"
    return f"the end of a freeze{until}", end_s


def _running(
    state: RolloutState, spec: Rollout, judgement: Judgement | None, now_s: float
) -> tuple[str, float | None]:
    if state.since_s is None:
        return f"every worker to route by the new share of {state.percent:g} %", None
    if state.step == len(spec.steps) - 1:
        return f"revision {state.candidate} to answer everywhere", None
    reasons: list[str] = []
    earliest: list[float | None] = [now_s]
    held_s = state.since_s + spec.hold_s(state.step)
    if now_s < held_s:
        reasons.append(f"its hold, {times.span(math.ceil(held_s - now_s))} more")
        earliest.append(held_s)
    lacking = _lacking(state, spec, judgement)
    ends_s = state.since_s + spec.inconclusive.after_s
    goes_on = decision.goes_on(spec, state, judgement, now_s)
    if lacking and not goes_on:
        reasons.append(_checks(lacking))
        earliest += [_passes_s(found, now_s) for _, found in lacking]
    if _unapproved(state, spec):
        reasons.append("a person's approval")
        earliest.append(None)
    if spec.frozen(now_s):
        words, end_s = _freeze(spec, now_s)
        reasons.append(words)
        earliest.append(end_s)
    known = [at_s for at_s in earliest if at_s is not None]
    next_s = max(known) if len(known) == len(earliest) else None
    words = ", and ".join(reasons) or "nothing: the next step is taken now"
    if not lacking:
        return words, next_s
    if judgement is not None and judgement.guard is not None:
        words += f" (not judged now: {judgement.guard})"
    at = times.clock(ends_s, now_s)
    names = phrases.listed([name for name, _ in lacking])
    if goes_on:
        words += f"; the time of {names} was over at {at}, so it goes on without"
    elif now_s >= ends_s:
        words += f"; its time was over at {at}: {_UNDECIDED[spec.inconclusive.then]} now"
    else:
        words += f"; {_UNDECIDED[spec.inconclusive.then]} where that is undecided at {at}"
    return words, next_s


def _unapproved(state: RolloutState, spec: Rollout) -> bool:
    return spec.all_steps[state.step].approve and state.approved < state.step


def _lacking(
    state: RolloutState, spec: Rollout, judgement: Judgement | None
) -> list[tuple[str, CheckJudgement | None]]:
    """The gating checks of this step that have not passed, and were not waved through."""
    names = [check.check for check in spec.gating(state.step) if check.check not in state.accepted]
    of_step = judgement is not None and judgement.step == state.step
    found = [(name, judgement.check(name) if judgement is not None and of_step else None) for name in names]
    return [(name, one) for name, one in found if one is None or one.verdict is not Verdict.PASSED]


def _checks(lacking: list[tuple[str, CheckJudgement | None]]) -> str:
    said = []
    for name, found in lacking:
        if found is None:
            said.append(name)
        elif found.verdict is Verdict.ERRORED:
            said.append(f"{name} (errored: {found.fault or found.words})")
        elif found.towards == "failed":
            said.append(f"{name} (what was seen speaks of harm so far)")
        elif found.more is not None and found.more_s is not None:
            said.append(f"{name} ({_more(found, found.more)}{times.about(found.more_s)} at today's traffic)")
        else:
            said.append(name)
    return f"{phrases.listed(said)} to pass"


def _more(found: CheckJudgement, more: int) -> str:
    """What there is still to see, before how long that takes."""
    if found.check not in _OF_BAD or found.candidate == 0 or found.candidate_bad > 0:
        return "about "
    what = "none" if found.check == "errors" else "nothing bad"
    return f"{what} seen yet; some {forecasts.rounded(more):,} more requests, about "


def _passes_s(found: CheckJudgement | None, now_s: float) -> float | None:
    if found is None or found.more_s is None or found.towards == "failed":
        return None
    return now_s + found.more_s
