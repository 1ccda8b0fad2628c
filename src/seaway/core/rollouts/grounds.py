"""Why a share is taken, and why a rollout was promoted: what is known at that moment, and how a person says it. Pure.

`decision` asks `of_step`, `control.rollouts.moves` the rest; both are kept in `RolloutState.taken` and told by events.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, assert_never

import msgspec

from seaway.core.checks import Verdict
from seaway.core.phrases import listed
from seaway.core.rollouts.judgement import Judgement
from seaway.core.rollouts.spec import Rollout
from seaway.core.rollouts.state import Ground, Grounds, RolloutState, Taken

_MOST: Final = 100
"""Shares that are kept, the newest: as many as a rollout has steps at most, and a person may set more by hand."""
_UNSEEN: Final = "nothing seen in this step yet"


def of_step(spec: Rollout, state: RolloutState, judgement: Judgement | None, *, passed: bool) -> Grounds:
    """The grounds on which the decision takes the next step; `passed` says whether all that it waits for has."""
    if state.step < 0:
        return Grounds("ready")
    checks = _checks(spec, state, judgement)
    approved = spec.all_steps[state.step].approve
    if not checks:
        return Grounds("time", (), state.accepted, approved)
    return Grounds("passed" if passed else "undecided", checks, state.accepted, approved)


def of_person(
    spec: Rollout,
    state: RolloutState,
    judgement: Judgement | None,
    now_s: float,
    percent: float,
    accepted: Iterable[str],
) -> Grounds:
    """The grounds where a person gives the candidate `percent`; `accepted` are the failed checks that are waved through by it.

    What speaks against more traffic is told only where the share rises.
    """
    if percent <= state.percent:
        return Grounds("person")
    despite = []
    if state.step < 0 and now_s < spec.start_s:
        despite.append("before its start")
    if state.since_s is None or now_s - state.since_s < spec.hold_s(state.step):
        despite.append("before its hold was over")
    if state.step >= 0 and spec.all_steps[state.step].approve and state.approved < state.step:
        despite.append("without the approval that the step asks for")
    if spec.frozen(now_s):
        despite.append("in a freeze")
    left_out = [share for share in spec.steps_percent if state.percent < share < percent]
    if left_out:
        noun = "step" if len(left_out) == 1 else "steps"
        despite.append(f"leaving out the {noun} to {_shares(left_out)}")
    return Grounds(
        "person",
        _checks(spec, state, judgement, accepted),
        tuple(sorted({*state.accepted, *accepted})),
        despite=tuple(despite),
    )


def with_one_more(taken: Sequence[Taken], new: Taken) -> tuple[Taken, ...]:
    """All of them; of each check the newest sentence alone, since every event has its own."""
    newer: set[str] = {one.check for one in new.grounds.checks if one.words}
    kept = (msgspec.structs.replace(one, grounds=_without(one.grounds, newer)) for one in taken)
    return (*kept, new)[-_MOST:]


def in_words(taken: Taken) -> str:
    """Such as `errors and latency passed`."""
    grounds = taken.grounds
    said = _in_words(taken)
    if grounds.approved:
        said += ", and a person approved it"
    if grounds.accepted:
        said += f"; what {listed(grounds.accepted)} found a person had accepted"
    return said


def told(checks: Sequence[Ground], accepted: Sequence[str] = ()) -> dict[str, str]:
    """For the details of an event: the names of the checks by what they said, and the sentence of each."""
    passed = [one.check for one in checks if one.verdict is Verdict.PASSED]
    others = [one.check for one in checks if one.verdict is not Verdict.PASSED]
    names = {"passed": passed, "not_passed": others, "accepted": accepted}
    found = {key: ", ".join(some) for key, some in names.items() if some}
    return found | {f"evidence.{one.check}": one.words for one in checks if one.words}


def of_promotion(taken: Sequence[Taken]) -> str:
    """Why a rollout went all the way: what each share was left on, alike ones together."""
    found: dict[str, list[float]] = {}
    for one in taken:
        if one.grounds.rule != "ready" and one.percent > one.before:
            found.setdefault(in_words(one), []).append(one.before)
    return "; ".join(f"at {_shares(shares)} {words}" for words, shares in found.items())


def last_of_each(taken: Sequence[Taken]) -> tuple[tuple[float, Ground], ...]:
    """What each check said last, and at which share; those come first that were heard first."""
    found: dict[str, tuple[float, Ground]] = {}
    for one in taken:
        found |= {ground.check: (one.before, ground) for ground in one.grounds.checks}
    return tuple(found.values())


def _checks(
    spec: Rollout, state: RolloutState, judgement: Judgement | None, accepted: Iterable[str] = ()
) -> tuple[Ground, ...]:
    """Those that the present step waits for, with what they say of it."""
    waved = {*state.accepted, *accepted}
    since_s = math.inf if state.since_s is None else state.since_s
    if judgement is not None and (judgement.step != state.step or judgement.through_s < since_s):
        judgement = None  # it speaks of the share before
    found = []
    for check in spec.gating(state.step):
        if check.check in waved:
            continue
        said = None if judgement is None else judgement.check(check.check)
        if said is None:
            found.append(Ground(check.check, Verdict.INCONCLUSIVE, f"{check.check}: {_UNSEEN}"))
        else:
            found.append(Ground(check.check, said.verdict, said.words))
    return tuple(found)


def _in_words(taken: Taken) -> str:
    grounds, by = taken.grounds, taken.by
    passed = [one.check for one in grounds.checks if one.verdict is Verdict.PASSED]
    others = [one for one in grounds.checks if one.verdict is not Verdict.PASSED]
    match grounds.rule:
        case "ready":
            return "every worker had it ready"
        case "passed":
            return f"{listed(passed)} passed"
        case "time":
            return (
                f"no {'other ' if grounds.accepted else ''}check was asked for, so it went on by time alone"
            )
        case "undecided":
            what = _undecided(others) or "what the checks say together was undecided"
            said = f"{what} when its time was over, and inconclusive.then is promote"
        case "person" if taken.percent <= taken.before:
            return f"{by} set it by hand"
        case "person":
            though = f" though {_undecided(others)}" if others else ""
            said = ", ".join((f"{by} went on by hand{though}", *grounds.despite))
        case _:
            assert_never(grounds.rule)
    return f"{said} ({listed(passed)} had passed)" if passed else said


def _undecided(others: Sequence[Ground]) -> str:
    """Such as `latency was undecided`, of checks that have not passed."""
    said = []
    for verdict, what in (
        (Verdict.INCONCLUSIVE, "undecided"),
        (Verdict.ERRORED, "errored"),
        (Verdict.FAILED, "failed"),
    ):
        names = [one.check for one in others if one.verdict is verdict]
        if names:
            said.append(f"{listed(names)} {'was' if len(names) == 1 else 'were'} {what}")
    return listed(said)


def _shares(shares: Sequence[float]) -> str:
    return listed([f"{share:g} %" for share in shares])


def _without(grounds: Grounds, newer: set[str]) -> Grounds:
    checks = tuple(
        msgspec.structs.replace(one, words="") if one.check in newer else one for one in grounds.checks
    )
    return msgspec.structs.replace(grounds, checks=checks)
