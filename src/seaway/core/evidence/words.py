"""A verdict as a person says it: both rates, the counts they stand on, the interval, and the risk that it is wrong."""

from __future__ import annotations

import math

from seaway.core.checks import Verdict
from seaway.core.evidence import arms, forecasts, pairs
from seaway.core.evidence.arms import Arms
from seaway.core.evidence.forecasts import Forecast
from seaway.core.evidence.pairs import Pairs
from seaway.core.evidence.streams import Margin


def of_arms(
    found: Arms,
    verdict: Verdict,
    what: str,
    *,
    alpha_fail: float,
    alpha_pass: float,
    weight: float = 1.0,
    units: str = "requests",
    forecast: Forecast | None = None,
    candidates_per_s: float = 0.0,
) -> str:
    """Of the check `what` (such as "errors"), whose share of the rollout's `alpha_fail` is `weight`; 1 for an advisory one."""
    totals = found.step if verdict is Verdict.PASSED else found.total
    if totals.candidate <= 0 or totals.stable <= 0:
        return _nothing(what, units, found.fault)
    seen = (
        f"candidate {percent(totals.candidate_bad / totals.candidate)} {what} against "
        f"{percent(totals.stable_bad / totals.stable)} on {_count(totals.candidate)} and {_count(totals.stable)} {units}"
    )
    low, high = arms.interval(found, alpha_fail * weight, alpha_pass)
    seen += _between(low, high, found.rule.margin)
    tolerated = "any harm" if found.rule.strict else "harm above the margin"
    if verdict is Verdict.INCONCLUSIVE and found.bounded:
        return f"{seen}; nothing can be worse than this margin, so it says nothing"
    return f"{seen}; {_ending(verdict, tolerated, alpha_fail, alpha_pass, found.fault, forecast, candidates_per_s)}"


def of_pairs(
    found: Pairs,
    verdict: Verdict,
    *,
    alpha_fail: float,
    alpha_pass: float,
    forecast: Forecast | None = None,
    pairs_per_s: float = 0.0,
) -> str:
    """Of shadow disagreement, or of labelled pairs."""
    worse, better, same = found.step if verdict is Verdict.PASSED else found.total
    count = worse + better + same
    if count == 0:
        return _nothing("pairs", "pairs", found.fault)
    if isinstance(found.rule, pairs.Disagreement):
        seen = (
            f"both answer differently on {percent(worse / count)} of {count:,} requests "
            f"({worse:,}), {percent(found.rule.tolerance)} is tolerated"
        )
    else:
        seen = (
            f"of {count:,} labelled requests only the candidate is wrong on {worse:,}, only the stable on {better:,}; "
            f"a loss of {percent(found.rule.margin)} is tolerated"
        )
    ending = _ending(
        verdict, "harm above the margin", alpha_fail, alpha_pass, found.fault, forecast, pairs_per_s
    )
    return f"{seen}; {ending}"


def percent(rate: float) -> str:
    """Two digits that matter: 1.9 %, 0.12 %, 20 %."""
    value = float(f"{rate * 100:.2g}")
    if value == 0 or value >= 10:
        return f"{value:.0f} %"
    places = min(6, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f} %"


def _ending(
    verdict: Verdict,
    tolerated: str,
    alpha_fail: float,
    alpha_pass: float,
    fault: str | None,
    forecast: Forecast | None,
    rate_per_s: float,
) -> str:
    if verdict is Verdict.FAILED:
        return f"{tolerated} is certain (false-alarm risk {alpha_fail * 100:g} % per rollout)"
    if verdict is Verdict.PASSED:
        return f"harm below the margin is certain (risk of a wrong pass {alpha_pass * 100:g} %)"
    if verdict is Verdict.ERRORED:
        return f"not judged: {fault or 'a guard has tripped, so the two arms cannot be compared'}"
    if forecast is None:
        return "not decided yet"
    return f"not decided yet, {forecasts.in_words(forecast, rate_per_s)}"


def _nothing(what: str, units: str, fault: str | None) -> str:
    return (
        f"{what}: not judged: {fault}"
        if fault
        else f"{what}: no {units} of both arms yet, so nothing is known"
    )


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
