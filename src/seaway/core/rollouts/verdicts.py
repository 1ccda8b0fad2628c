"""From the evidence of a rollout to a Judgement: what each check says now, and all together. Pure.

`control.rollouts.analysis` calls it after each look; `decision` reads what it says, people read its words.
"""

from __future__ import annotations

from typing import Final

import msgspec

from seaway.core.checks import Verdict
from seaway.core.evidence import arms, combining, forecasts, swings, words
from seaway.core.evidence import pairs as pairs_
from seaway.core.evidence.combining import ALPHA_PASS, Standing
from seaway.core.evidence.forecasts import Forecast
from seaway.core.evidence.words import Ahead, Risk
from seaway.core.rollouts import baking, margins, standings, users
from seaway.core.rollouts.baseline import ENOUGH
from seaway.core.rollouts.judgement import CheckJudgement, Judgement
from seaway.core.rollouts.judging import Evidence, Kept
from seaway.core.rollouts.processes import Answers, Mirrored, Paired, Rates
from seaway.core.rollouts.rates import Part
from seaway.core.rollouts.spec import CheckName, Rollout, RolloutCheck
from seaway.core.rollouts.state import RolloutPhase, RolloutState

_WHAT: Final[dict[CheckName, tuple[str, str]]] = {
    "errors": ("errors", "requests"),
    "rejections": ("rejected requests", "requests"),
    "quality": ("wrong answers", "labelled requests"),
    "outcome": ("without the outcome", "requests with an outcome"),
}


class _Figures(msgspec.Struct, frozen=True):
    """What one check has counted, and how far it is; see CheckJudgement. `units` are the candidate's in the step."""

    words: str
    units: float = 0.0
    forecast: Forecast = Forecast()
    counts: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    interval: tuple[float | None, float | None] = (None, None)
    margin: float | None = None
    means: tuple[float, float] | None = None
    part: str = ""


class _Case(msgspec.Struct, frozen=True):
    """One check with all that its figures depend on."""

    evidence: Evidence
    check: RolloutCheck
    kept: Kept
    standing: Standing
    verdict: Verdict
    risk: Risk
    sticky: bool

    def ahead(self, forecast: Forecast, units: float) -> Ahead:
        return Ahead(forecast, units / max(1, self.evidence.step_looks))


def judge(evidence: Evidence, spec: Rollout, state: RolloutState, silent: str | None = None) -> Judgement:
    """The Judgement of this moment. `silent` says which source gives no answer: then nothing passes.

    `failed` means that the rollout goes back, and names its cause; a check that only pauses is named by `paused_by`. A step
    without gating checks passes.
    """
    if state.phase is RolloutPhase.BAKING:
        return _of_bake(evidence, state)
    broken, paused_by = (
        None if name in state.accepted else name for name in (evidence.broken, evidence.paused_by)
    )
    guard = _guard(evidence) if broken is None else None
    gating = {check.check for check in spec.gating(state.step)} - set(state.accepted)
    checks = tuple(
        _check(evidence, spec, state, check, kept, gating, guard, silent)
        for check, kept in zip(spec.all_checks, evidence.checks, strict=True)
    )
    found = {check.verdict for check in checks if check.check in gating}
    stand = [
        standings.of(kept.process, kept.check, standings.weight_of(spec, check, state.accepted))
        for check, kept in zip(spec.all_checks, evidence.checks, strict=True)
    ]
    return Judgement(
        step=evidence.step,
        through_s=evidence.through_s,
        looks=evidence.looks,
        verdict=_together(broken, found, paused_by, guard or silent),
        checks=checks,
        cause=broken,
        paused_by=paused_by,
        guard=guard,
        seen=guard is None and silent is None and _all_seen(stand, gating),
        log_evidence=max(combining.log_sum(stand), -1e300),
    )


def _together(
    broken: CheckName | None, gating: set[Verdict], paused_by: CheckName | None, blind: str | None
) -> Verdict:
    if broken is not None:
        return Verdict.FAILED
    if blind is not None or Verdict.ERRORED in gating:
        return Verdict.ERRORED
    if paused_by is not None or gating - {Verdict.PASSED}:
        return Verdict.INCONCLUSIVE
    return Verdict.PASSED


def _all_seen(stand: list[Standing], gating: set[CheckName]) -> bool:
    return all(one.units > 0 and one.fault is None for one in stand if one.check in gating)


def _guard(evidence: Evidence) -> str | None:
    split = evidence.split
    if not split.wrong:
        return None if evidence.users is None else users.why(evidence.users)
    return (
        f"the candidate got {words.percent(split.candidate / split.assigned)} of {split.assigned:,} requests and should "
        f"have got {words.percent(split.expected / split.assigned)}, so the two arms cannot be compared"
    )


def _check(
    evidence: Evidence,
    spec: Rollout,
    state: RolloutState,
    check: RolloutCheck,
    kept: Kept,
    gating: set[CheckName],
    guard: str | None,
    silent: str | None,
) -> CheckJudgement:
    weight = standings.weight_of(spec, check, state.accepted)
    now = standings.of(kept.process, kept.check, weight)
    fault = silent or now.fault or guard
    peak = msgspec.structs.replace(now, log_fail=max(kept.peak_fail, now.log_fail), fault=fault)
    verdict = combining.verdict_of(peak, spec.alpha_share, ALPHA_PASS, guard)
    risk = Risk(spec.alpha_share, ALPHA_PASS, weight or 1.0)
    case = _Case(evidence, check, kept, peak, verdict, risk, spec.sticky is not None)
    figures = _figures(case)
    per_s = figures.units / max(1, evidence.step_looks)
    more = figures.forecast.more if verdict is Verdict.INCONCLUSIVE else None
    return CheckJudgement(
        check=check.check,
        verdict=verdict,
        words=figures.words,
        gating=check.check in gating,
        on_failure=check.on_failure,
        weight=weight,
        log_fail=now.log_fail,
        log_pass=now.peak_pass,
        candidate=figures.counts[0],
        candidate_bad=figures.counts[1],
        stable=figures.counts[2],
        stable_bad=figures.counts[3],
        low=figures.interval[0],
        high=figures.interval[1],
        margin=figures.margin,
        means=figures.means,
        part=figures.part,
        more=more,
        more_s=more / per_s if more is not None and per_s > 0 else None,
        towards=figures.forecast.towards if more is not None else None,
        fault=fault,
    )


def _figures(case: _Case) -> _Figures:
    name, process = case.check.check, case.kept.process
    if case.standing.fault is not None and case.verdict is Verdict.ERRORED:
        said = f"{name}: not judged: {case.standing.fault}"
    elif case.sticky and not any(case.evidence.units) and case.evidence.uncounted:
        said = (
            f"{name}: no request carries the user key that the rollout is sticky by, or only keys that came before in this step, "
            "so none can be counted"
        )
    else:
        said = None
    match process:
        case Rates(parts=parts) if parts:
            found = _of_part(case, _leading(parts, case.verdict))
        case Answers(found=answers) if answers is not None:
            forecast = forecasts.of_answers(answers, case.risk.alpha_fail * case.risk.weight, ALPHA_PASS)
            what = "answers" if name == "predictions" else "confidences"
            text = words.of_answers(
                answers, case.verdict, what, case.risk, ahead=case.ahead(forecast, answers.step_units)
            )
            counts = (float(sum(answers.candidate)), 0.0, float(sum(answers.stable)), 0.0)
            low = answers.margin if case.verdict is Verdict.FAILED else None
            interval = low, answers.upper(ALPHA_PASS)
            found = _Figures(text, answers.step_units, forecast, counts, interval, answers.margin)
        case Mirrored():
            found = _of_mirrored(case, process)
        case Paired():
            found = _of_paired(case, process)
        case _:
            found = _Figures(_learning(case))
    return found if said is None else msgspec.structs.replace(found, words=said)


def _of_mirrored(case: _Case, process: Mirrored) -> _Figures:
    pairs = process.found
    forecast = forecasts.of_pairs(pairs, case.risk.alpha_fail * case.risk.weight, ALPHA_PASS)
    units = float(sum(pairs.step))
    said = words.of_pairs(pairs, case.verdict, case.risk, ahead=case.ahead(forecast, units))
    extra = [
        f"{count:,} {what}"
        for count, what in (
            (process.failed, "of them failed on the candidate alone"),
            (process.dropped, "more were not run, to spare the live ones"),
        )
        if count
    ]
    worse, better, same = pairs.total
    return _Figures(
        "; ".join([said, *extra]),
        units,
        forecast,
        (float(worse + better + same), float(worse), 0.0, 0.0),
        pairs_.limits(pairs, case.risk.alpha_fail * case.risk.weight, ALPHA_PASS),
        margins.tolerance_of(case.check),
    )


def _of_paired(case: _Case, process: Paired) -> _Figures:
    pairs, share = process.found, case.risk.alpha_fail * case.risk.weight
    numbers = case.evidence.baseline.numbers
    mean_square = swings.mean_square(process.swings) if numbers else None
    forecast = forecasts.of_pairs(pairs, share, ALPHA_PASS, mean_square)
    units = float(sum(pairs.step))
    ahead = msgspec.structs.replace(case.ahead(forecast, units), units="labelled pairs")
    said = words.of_pairs(pairs, case.verdict, case.risk, ahead=ahead, numbers=numbers)
    if process.lost:
        said += f"; of {process.lost:,} more the mirrored answer is not there"
    worse, better, same = pairs.total
    count = worse + better + same
    return _Figures(
        said,
        units,
        forecast,
        (count, worse, count, better),
        pairs_.limits(pairs, share, ALPHA_PASS),
        margins.margin_of(case.check).extra,
    )


def _leading(parts: tuple[Part, ...], verdict: Verdict) -> Part:
    """The part that a check's words are about: the most harmful one where it failed, else the one that lacks most."""
    if verdict is Verdict.FAILED:
        return max((one for one in parts if one.sides != "pass"), key=lambda one: one.arms.log_fail)
    return min((one for one in parts if one.sides != "fail"), key=lambda one: one.arms.peak_pass)


def _of_part(case: _Case, part: Part) -> _Figures:
    found, verdict, risk = part.arms, case.verdict, case.risk
    share = risk.alpha_fail * risk.weight
    forecast = forecasts.of_arms(found, share, ALPHA_PASS)
    ahead = case.ahead(forecast, found.step.candidate)
    name = case.check.check
    if part.slowness is not None:
        what = part.name if name == "latency" else "cost"
        said = words.of_times(found, part.slowness, verdict, what, risk, ahead=ahead)
    elif name == "cost" and part.cap is not None:
        said = words.of_costs(found, part.cap, verdict, risk, ahead=ahead)
    elif case.check.kpi is not None:
        ahead = msgspec.structs.replace(ahead, units=f"candidate requests with {case.check.kpi}")
        said = words.of_amounts(found, part.cap, verdict, case.check.kpi, risk, ahead=ahead)
        if part.below:
            said += f"; {part.below:,} {'value' if part.below == 1 else 'values'} below 0 counted as 0"
    else:
        what, units = _WHAT[name]
        if name == "outcome":
            what = f"without {case.check.good!r}"
        elif name == "quality" and case.evidence.baseline.numbers:
            what = "of the stable's largest usual error"
        ahead = msgspec.structs.replace(ahead, units=units.replace("requests", "candidate requests"))
        said = words.of_arms(found, verdict, what, risk, units=units, ahead=ahead)
    total = found.total
    return _Figures(
        said,
        found.step.candidate,
        forecast,
        (total.candidate, total.candidate_bad, total.stable, total.stable_bad),
        arms.interval(found, share, ALPHA_PASS),
        found.rule.harm,
        None if part.cap is None else words.means(found.rule, total, part.cap),
        part.name if part.name != name else "",
    )


def _learning(case: _Case) -> str:
    counts = case.evidence.baseline.counts
    known = {
        "latency": sum(n for _, n in counts.latency),
        "cost": sum(n for _, n in counts.cost),
        "confidence": sum(n for _, n in counts.confidence),
        "predictions": sum(n for _, n in counts.answers),
    }[case.check.check]
    if known == 0:
        return f"{case.check.check}: nothing to compare: the stable revision's requests have shown none yet"
    return (
        f"{case.check.check}: the stable revision's own is learned first: {known:,} of {ENOUGH} requests, so nothing is "
        "known yet"
    )


def _of_bake(evidence: Evidence, state: RolloutState) -> Judgement:
    now = evidence.baking or baking.Baking(None)
    check = baking.judge(now)
    return Judgement(
        step=state.step,
        through_s=evidence.through_s,
        looks=evidence.looks,
        verdict=check.verdict,
        checks=(check,),
        cause="errors" if check.verdict is Verdict.FAILED else None,
        seen=now.units > 0,
    )
