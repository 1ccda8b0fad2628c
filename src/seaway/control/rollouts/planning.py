"""What a rollout would do, before it begins: its steps in words, and whether today's traffic is enough to judge it.

Pure; `deploy --plan` shows it. Estimates suppose that the candidate is as good as the stable revision, and that the next
hours bring as much traffic as the last one did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from seaway.control.rollouts import sample_sizes, waiting
from seaway.control.rollouts.sample_sizes import PastLabels
from seaway.core import times
from seaway.core.evidence import forecasts, units
from seaway.core.evidence.combining import ALPHA_PASS
from seaway.core.evidence.dispersion import UNKNOWN
from seaway.core.evidence.streams import Margin
from seaway.core.ledger import Counts
from seaway.core.rollouts import margins
from seaway.core.rollouts.spec import CheckName, Rollout, RolloutCheck
from seaway.core.sections import seconds

_AGREES: Final = 5
"""A healthy candidate is supposed to disagree in so small a part of what is tolerated."""


class PlannedCheck(msgspec.Struct, frozen=True):
    """A check that a step waits for. `needs` is about how many candidate requests (`labels`: how many labels of its requests) a
    healthy candidate takes to pass it, None where that cannot be told ahead."""

    check: CheckName
    tolerates: str
    needs: int | None = None
    labels: int | None = None


class PlannedStep(msgspec.Struct, frozen=True):
    """`comes` is how many requests the candidate would get within the hold, None where no traffic is known."""

    percent: float
    hold_s: float
    checks: tuple[PlannedCheck, ...] = ()
    approve: bool = False
    comes: int | None = None


class RolloutPlan(msgspec.Struct, frozen=True):
    """`lines` say it in words."""

    steps: tuple[PlannedStep, ...]
    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def plan(
    spec: Rollout,
    past: Counts,
    past_s: float,
    now_s: float,
    labels: Mapping[CheckName, PastLabels] | None = None,
) -> RolloutPlan:
    """`past` is what the live revision answered in the last `past_s` seconds, all its requests; `labels` what is known of
    their labels, by check."""
    per_s = past.finished / past_s
    steps = tuple(_step(spec, place, past, per_s, labels or {}) for place in range(len(spec.steps)))
    return RolloutPlan(steps, tuple(_lines(spec, steps, now_s)), tuple(_warnings(spec, steps, per_s)))


def tolerates(check: RolloutCheck) -> str:
    """What a check lets pass, in words."""
    if check.strict:
        return "fails on any harm that is certain"
    match check.check:
        case "errors" | "rejections":
            margin = margins.margin_of(check)
            return f"up to {margin.ratio:g} × the stable's, and {_points(margin.extra)} more"
        case "latency":
            return ", ".join(_slower(*one) for one in margins.slower_by(check))
        case "cost":
            return f"up to {margins.margin_of(check).ratio:g} × the stable's"
        case "quality" | "outcome" if check.gain is not None:
            return f"passes only {_gain(check)}"
        case "outcome" if check.kpi is not None:
            worse = "more" if check.better == "lower" else "less"
            return f"up to {100 * margins.harm_of(check):g} % {worse} {check.kpi}"
        case "quality" | "outcome":
            return f"up to {_points(margins.margin_of(check).extra)} worse"
        case "shadow_quality":
            harm = _points(margins.margin_of(check).extra)
            return f"up to {harm} worse, on the same labelled requests"
        case "agreement":
            return f"up to {100 * margins.tolerance_of(check):g} % of the mirrored answers differ"
        case _:
            return f"up to {100 * margins.tolerance_of(check):g} % of the answers move"


def _gain(check: RolloutCheck) -> str:
    share = check.gain_share or 0.0
    if check.kpi is None:
        return f"where better by {_points(share)}"
    return f"with {100 * share:g} % {'less' if check.better == 'lower' else 'more'} {check.kpi}"


def _slower(q: float, factor: float, plus: float) -> str:
    more = f" and {_points(plus)} of the requests" if plus else ""
    return f"p{100 * q:g} up to {factor:g} ×{more}"


def _points(share: float) -> str:
    return f"{100 * share:g} {'point' if share == 0.01 else 'points'}"


def _step(
    spec: Rollout, place: int, past: Counts, per_s: float, labels: Mapping[CheckName, PastLabels]
) -> PlannedStep:
    share, hold_s = spec.steps_percent[place], spec.hold_s(place)
    last = place + 1 == len(spec.steps)
    checks = () if last else spec.gating(place)
    return PlannedStep(
        percent=share,
        hold_s=0.0 if last else hold_s,
        checks=tuple(
            PlannedCheck(
                c.check, tolerates(c), _needs(c, past, spec.sticky is not None), _labels(c, labels, share)
            )
            for c in checks
        ),
        approve=not last and spec.all_steps[place].approve,
        comes=round(per_s * hold_s * share / 100) if past.finished else None,
    )


def _needs(check: RolloutCheck, past: Counts, by_user: bool) -> int | None:
    """Candidate requests (for agreement: mirrored ones, which are taken for clusters unless each is of another user) until a
    healthy candidate passes."""
    if past.finished == 0:
        return None
    match check.check:
        case "errors":
            found = [(past.bad / past.finished, margins.margin_of(check))]
        case "rejections":
            found = [(past.rejected / past.finished, margins.margin_of(check))]
        case "latency":
            found = list(_slow(check, past))
        case "agreement":
            tolerated = margins.tolerance_of(check)
            found = [(tolerated / _AGREES, Margin(0.0, tolerated))]
        case _:
            return None
    if not found:
        return None
    try:
        needs = max(forecasts.plan(rate, margin, ALPHA_PASS) for rate, margin in found)
    except ValueError:  # nothing is tolerated, so it cannot pass by being as good
        return None
    return needs if check.check != "agreement" or by_user else round(needs * UNKNOWN)


def _labels(check: RolloutCheck, labels: Mapping[CheckName, PastLabels], percent: float) -> int | None:
    known = labels.get(check.check)
    if known is None or not 0 < percent < 100:
        return None
    return sample_sizes.needed(check, known, percent / 100)


def _slow(check: RolloutCheck, past: Counts) -> Iterator[tuple[float, Margin]]:
    """For each quantile the share of slow requests of a candidate with the stable's own times, and what is tolerated."""
    count = sum(number for _, number in past.latency)
    for q, factor, plus in margins.slower_by(check):
        slowness = units.freeze_slowness(past.latency, q, factor, plus)
        if slowness is not None:
            same = sum(number for at, number in past.latency if at >= slowness.candidate_bin) / count
            yield same, Margin(1.0, slowness.rate + slowness.margin.extra - same)


def _lines(spec: Rollout, steps: tuple[PlannedStep, ...], now_s: float) -> Iterator[str]:
    if now_s < spec.start_s:
        yield f"it begins at {times.clock(spec.start_s, now_s)}"
    if spec.frozen(now_s):
        end_s = waiting.thaws_s(spec, now_s)
        until = "" if end_s is None else f" until {times.clock(end_s, now_s)}"
        yield f"a freeze holds{until}: no share rises before, and a rollback always acts"
    if spec.shadow_percent:
        yield f"{spec.shadow_percent:g} % of the requests are answered by the candidate too, and compared"
    for step in steps:
        if step.percent == 100:
            yield f"100 %; the old revision stays warm for {spec.bake}, and an alarm in that time brings it back"
        elif step.hold_s or step.checks or step.approve:
            yield f"{step.percent:g} %, {_conditions(step)}"
        else:
            yield f"{step.percent:g} %: loaded and warm in every worker, then on at once"
    for check in spec.all_checks:
        word = (
            " (advisory)" if check.advisory else ", else it is paused" if check.on_failure == "pause" else ""
        )
        yield f"check {check.check}: {tolerates(check)}{word}{_takes(check, steps)}"
    acts = {check.on_failure for check in spec.all_checks if not check.advisory}
    if acts:
        does = "takes it back" if "rollback" in acts else "pauses it"
        yield f"what fails {does} at any moment, once it is certain; false alarms: {spec.alpha} per rollout"


def _takes(check: RolloutCheck, steps: tuple[PlannedStep, ...]) -> str:
    """How many labels, at the first step that waits for the check."""
    for step in steps:
        for one in step.checks:
            if one.check == check.check and one.labels is not None:
                if_better = "" if check.gain is None else ", where it is better by twice that"
                return f"; about {one.labels:,} labels of the candidate's requests at {step.percent:g} %{if_better}"
    return ""


def _conditions(step: PlannedStep) -> str:
    said = f"for at least {times.span(step.hold_s)}" if step.hold_s else "at least one look"
    if step.checks:
        said += f", and until {' and '.join(check.check for check in step.checks)} passed"
    return said + (", and a person approved" if step.approve else "")


def _warnings(spec: Rollout, steps: tuple[PlannedStep, ...], per_s: float) -> Iterator[str]:
    partial = [step for step in steps if step.percent < 100]
    if not spec.all_checks and any(step.percent > 0 for step in partial):
        yield "checks is empty: it goes up by time alone, and only a crash or a burst of errors takes it back"
    judged = [step for step in partial if step.checks]
    if judged and per_s == 0:
        yield (
            "no request came in the last hour: without traffic no check passes, and it is "
            f"{_end(spec)} after {spec.inconclusive.after}"
        )
        return
    if spec.sticky is not None and judged:
        yield (
            "it is sticky: of each user only the first request in a step counts, so it takes longer than the figures of requests say"
        )
    for step in judged:
        slow = _slowest(spec, step, per_s)
        if slow is None:
            continue
        name, needs, takes_s = slow
        if takes_s > seconds(spec.inconclusive.after):
            yield (
                f"{step.percent:g} %: {name} takes about {needs:,} requests to pass, {times.about(takes_s)} at today's "
                f"traffic: it would be {_end(spec)} after {spec.inconclusive.after}; use a larger share or a larger harm"
            )
        elif takes_s > step.hold_s:
            yield (
                f"{step.percent:g} %: {name} takes about {needs:,} requests to pass, and {times.span(step.hold_s)} "
                f"brings about {step.comes or 0:,}: expect about {times.about(takes_s)} on this step"
            )


def _slowest(spec: Rollout, step: PlannedStep, per_s: float) -> tuple[CheckName, int, float] | None:
    """The check of a step that takes longest, with how many requests and seconds; None where none can be told."""
    found = []
    for check in step.checks:
        share = spec.shadow_percent if check.check == "agreement" else step.percent
        if check.needs is not None and share > 0:
            found.append((check.check, check.needs, check.needs / (per_s * share / 100)))
    return max(found, key=lambda one: one[2], default=None)


def _end(spec: Rollout) -> str:
    """Without evidence nothing is promoted: `promote` pauses then."""
    return "rolled back" if spec.inconclusive.then == "rollback" else "paused"
