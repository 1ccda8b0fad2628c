"""A verdict as a person says it: both rates, the counts they stand on, the interval, and the risk that it is wrong."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from seaway.core import ledger, times
from seaway.core.checks import Verdict
from seaway.core.evidence import arms, forecasts, pairs
from seaway.core.evidence.arms import Arms, Rule, Totals
from seaway.core.evidence.forecasts import Forecast
from seaway.core.evidence.pairs import Pairs
from seaway.core.evidence.predictions import Predictions
from seaway.core.evidence.streams import Margin
from seaway.core.evidence.units import Slowness

_NONE: Final = "harm below the margin"


class Risk(msgspec.Struct, frozen=True):
    """What a verdict stands on: the rollout's `alpha_fail`, the check's share of it (`weight`; 1 for an advisory one)."""

    alpha_fail: float
    alpha_pass: float
    weight: float = 1.0


class Ahead(msgspec.Struct, frozen=True):
    """What is forecast, and the candidate's units in a second, 0 where nobody knows; `units` names them."""

    forecast: Forecast
    units_per_s: float = 0.0
    units: str = "candidate requests"


def of_arms(
    found: Arms,
    verdict: Verdict,
    what: str,
    risk: Risk,
    *,
    units: str = "requests",
    ahead: Ahead | None = None,
) -> str:
    """Of a check of rates; `what` is bad, such as "errors"."""
    totals = _totals(found, verdict)
    if totals.candidate <= 0 or totals.stable <= 0:
        return nothing(what, units, found.fault)
    seen = (
        f"candidate {percent(totals.candidate_bad / totals.candidate)} {what} against "
        f"{percent(totals.stable_bad / totals.stable)} {_on(totals, units)}"
    )
    return _whole(seen, found, verdict, risk, ahead)


def of_times(
    found: Arms, slowness: Slowness, verdict: Verdict, what: str, risk: Risk, *, ahead: Ahead | None = None
) -> str:
    """Of times over thresholds; `what` is compared, such as "p99"."""
    totals = _totals(found, verdict)
    if totals.candidate <= 0 or totals.stable <= 0:
        return nothing(what, "requests", found.fault)
    seen = (
        f"{what}: {percent(totals.candidate_bad / totals.candidate)} of the candidate's requests over "
        f"{times.brief(ledger.edge_s(slowness.candidate_bin))} against {percent(totals.stable_bad / totals.stable)} of the "
        f"stable's over {times.brief(ledger.edge_s(slowness.stable_bin))} {_on(totals, 'requests')}"
    )
    return _whole(seen, found, verdict, risk, ahead)


def of_costs(found: Arms, cap_s: float, verdict: Verdict, risk: Risk, *, ahead: Ahead | None = None) -> str:
    """Of processor time, as the mean of what is capped at `cap_s`."""
    totals = _totals(found, verdict)
    if totals.candidate <= 0 or totals.stable <= 0:
        return nothing("cost", "measured requests", found.fault)
    seen = (
        f"candidate {times.brief(cap_s * totals.candidate_bad / totals.candidate)} of processor time a request against "
        f"{times.brief(cap_s * totals.stable_bad / totals.stable)}, each counted as {times.brief(cap_s)} at most, "
        f"{_on(totals, 'requests')}; tolerated is {found.rule.margin.ratio:g} × the stable's"
    )
    return f"{seen}; {_ending(verdict, found, risk, ahead)}"


def of_amounts(
    found: Arms, cap: float | None, verdict: Verdict, what: str, risk: Risk, *, ahead: Ahead | None = None
) -> str:
    """Of a KPI, counted between 0 and the cap; `what` is its name."""
    if cap is None and found.fault is None:
        return f"{what}: its first values above 0 tell how large one usually is, so nothing is known yet"
    totals = _totals(found, verdict)
    if cap is None or totals.candidate <= 0 or totals.stable <= 0:
        return nothing(what, f"requests with {what}", found.fault)
    ours, theirs = means(found.rule, totals, cap)
    low, high = arms.interval(found, risk.alpha_fail * risk.weight, risk.alpha_pass)
    seen = (
        f"candidate {_amount(ours)} {what} a request against {_amount(theirs)} "
        f"{_on(totals, f'requests with {what}')}, each counted as {_amount(cap)} at most"
        f"{_changed(found.rule, low, high)}"
    )
    return f"{seen}; {_ending(verdict, found, risk, ahead)}"


def means(rule: Rule, totals: Totals, cap: float) -> tuple[float, float]:
    """What the amounts of both arms are on average, each counted as the cap at most; 0 of nothing."""
    shares = (
        bad / units if units else 1.0 if rule.axis == "less" else 0.0
        for units, bad in (
            (totals.candidate, totals.candidate_bad),
            (totals.stable, totals.stable_bad),
        )
    )
    ours, theirs = (cap * (1 - share if rule.axis == "less" else share) for share in shares)
    return ours, theirs


def of_answers(
    found: Predictions, verdict: Verdict, what: str, risk: Risk, *, ahead: Ahead | None = None
) -> str:
    """Of answers or confidences that moved; `what` are they."""
    candidate, stable, shift = sum(found.candidate), sum(found.stable), found.shift
    if shift is None:
        return nothing(what, "answers", found.fault)
    seen = (
        f"{what} moved by {percent(shift)} on {_count(candidate)} and {_count(stable)} answers, "
        f"{percent(found.margin)} is tolerated"
    )
    return f"{seen}; {_certain(verdict, 'a move above the margin', _NONE, risk, found.fault, ahead)}"


def of_pairs(
    found: Pairs, verdict: Verdict, risk: Risk, *, ahead: Ahead | None = None, numbers: bool = False
) -> str:
    """Of shadow disagreement, or of labelled pairs: of classes, or of `numbers`, whose losses are shares of a cap."""
    worse, better, same = found.step if verdict is Verdict.PASSED else found.total
    count = worse + better + same
    if count == 0:
        if isinstance(found.rule, pairs.Disagreement):
            return nothing("pairs", "mirrored request", found.fault, whose="")
        if found.fault or not numbers:
            return nothing("labelled pairs", "label of a mirrored request", found.fault, whose="")
        return (
            "labelled pairs: none yet, so nothing is known (of numbers, the first labels only tell how large an error "
            "usually is)"
        )
    if isinstance(found.rule, pairs.Disagreement):
        seen = (
            f"both answer differently on {percent(worse / count)} of {_count(count)} requests "
            f"({_count(worse)}), {percent(found.rule.tolerance)} is tolerated"
        )
        return f"{seen}; {_certain(verdict, 'harm above the margin', _NONE, risk, found.fault, ahead)}"
    harm = (worse - better) / count
    if numbers:
        seen = (
            f"on {_count(count)} labelled pairs the candidate's error is {'larger' if harm >= 0 else 'smaller'} by "
            f"{percent(abs(harm))} of the stable's largest usual one"
        )
    else:
        seen = f"candidate alone wrong on {_count(worse)}, stable alone on {_count(better)} of {_count(count)} labelled pairs"
    seen += f", {percent(found.rule.margin)} more is tolerated"
    harmful = "any harm" if found.rule.strict else "harm above the margin"
    return f"{seen}; {_certain(verdict, harmful, _NONE, risk, found.fault, ahead)}"


def nothing(what: str, units: str, fault: str | None, *, whose: str = " of both arms") -> str:
    """Of a check that has seen nothing yet of one arm, or only what is broken."""
    if fault:
        return f"{what}: not judged: {fault}"
    return f"{what}: no {units}{whose} yet, so nothing is known"


def percent(rate: float) -> str:
    """Two digits that matter: 1.9 %, 0.12 %, 20 %."""
    value = float(f"{rate * 100:.2g}")
    if value == 0 or value >= 10:
        return f"{value:.0f} %"
    places = min(6, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f} %"


def _totals(found: Arms, verdict: Verdict) -> Totals:
    """What a verdict stands on: a pass speaks of its step."""
    return found.step if verdict is Verdict.PASSED else found.total


def _on(totals: Totals, units: str) -> str:
    return f"on {_count(totals.candidate)} and {_count(totals.stable)} {units}"


def _whole(seen: str, found: Arms, verdict: Verdict, risk: Risk, ahead: Ahead | None) -> str:
    low, high = arms.interval(found, risk.alpha_fail * risk.weight, risk.alpha_pass)
    seen += _between(low, high, found.rule.margin)
    if verdict is Verdict.INCONCLUSIVE and found.bounded:
        return f"{seen}; nothing can be worse than this margin, so it says nothing"
    return f"{seen}; {_ending(verdict, found, risk, ahead)}"


def _ending(verdict: Verdict, found: Arms, risk: Risk, ahead: Ahead | None) -> str:
    """Of a test of two arms: what is certain."""
    rule = found.rule
    if rule.harm < 0:
        wanted = percent(-rule.harm)
        if rule.axis == "points":
            wanted = f"{wanted.removesuffix(' %')} points"
        return _certain(
            verdict,
            f"less than the wanted gain of {wanted}",
            f"a gain of more than {wanted}",
            risk,
            found.fault,
            ahead,
        )
    harm = "any harm" if rule.strict else "harm above the margin"
    return _certain(verdict, harm, _NONE, risk, found.fault, ahead)


def _changed(rule: Rule, low: float | None, high: float | None) -> str:
    """Between what an amount of the candidate lies against the stable's; harm is `low` to `high`."""
    if low is None and high is None:
        return ""
    sign = -1.0 if rule.axis == "less" else 1.0
    ends = [None if harm is None else sign * harm for harm in (low, high)]
    least, most = reversed(ends) if rule.axis == "less" else ends
    if least is not None and most is not None:
        found = f"between {_change(least)} and {_change(most)} than"
    elif least is not None:
        found = f"{'at least' if least >= 0 else 'at most'} {_change(least)} than"
    else:
        assert most is not None
        found = f"{'at most' if most >= 0 else 'at least'} {_change(most)} than"
    return f" ({found} the stable's)"


def _change(value: float) -> str:
    return f"{percent(abs(value))} {'less' if value < 0 else 'more'}"


def _amount(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _certain(
    verdict: Verdict, harm: str, none: str, risk: Risk, fault: str | None, ahead: Ahead | None
) -> str:
    if verdict is Verdict.FAILED:
        return f"{harm} is certain (false-alarm risk {risk.alpha_fail * 100:g} % per rollout)"
    if verdict is Verdict.PASSED:
        return f"{none} is certain (risk of a wrong pass {risk.alpha_pass * 100:g} %)"
    if verdict is Verdict.ERRORED:
        return f"not judged: {fault or 'a guard has tripped, so the two arms cannot be compared'}"
    if ahead is None:
        return "not decided yet"
    return f"not decided yet, {forecasts.in_words(ahead.forecast, ahead.units_per_s, ahead.units)}"


def _between(low: float | None, high: float | None, margin: Margin) -> str:
    if low is None and high is None:
        return ""
    against = "the stable's rate" if margin.ratio == 1 else f"{margin.ratio:g} × the stable's rate"
    if high is None:
        found = f"at least {_points(low)}"
    elif low is None:
        found = f"at most {_points(high)}"
    else:
        found = f"{_points(low)} to {_points(high)}"
    return f" ({found} points above {against})"


def _points(value: float | None) -> str:
    sign = "−" if value is not None and value < 0 else ""
    return sign + percent(abs(value or 0.0)).removesuffix(" %")


def _count(number: float) -> str:
    return f"{number:,.0f}"
