"""Candidate against stable on one yes/no metric: both sides of a margin, and the interval that agrees with the verdict.

Errors, latency over a threshold, wrong answers by labels, capped cost and the stable-slice guard are all this test.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from seaway.core.evidence import dispersion, means, streams, wealth
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.streams import Axis, Look, Margin
from seaway.core.evidence.wealth import FAIL_ODDS, PASS_ODDS, Floats, Wealth

_PRIOR_UNITS: Final = 200.0
_HALF_LIFE_LOOKS: Final = 300.0
_GRID: Final = 20
_LEAST_VARIANCE: Final = 0.01
_TINY: Final = 1e-9
_FINEST: Final = 0.0025
_WIDEST: Final = 3.0
"""How far from the margin the interval of an amount looks, as shares of the stable's."""
SILENT_LOOKS: Final = 3
"""A source that has been silent for more looks than that is broken."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is tested. `strict` fails on any certain harm, within the margin too. `cluster` is the largest number of units
    that can go wrong together (a batch). `rate` is the stable's from before the rollout. `late` starts can be left out.
    `axis` is what the margin and the interval are told in. `labels` says that units may come in clusters of which nothing is
    known at first: then both sides begin with caution, else the fail side alone.
    """

    margin: Margin = Margin()
    strict: bool = False
    cluster: float = 1.0
    rate: float = 0.01
    late: bool = True
    interval: bool = True
    axis: Axis = "points"
    labels: bool = False

    @property
    def harm(self) -> float:
        """The margin, on the axis."""
        return self.margin.ratio - 1.0 if self.axis == "more" else self.margin.extra


class Totals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units and bad ones of both arms. `squares` is the sum of all squared values, which of good and bad is that of the bad."""

    candidate: float = 0.0
    candidate_bad: float = 0.0
    stable: float = 0.0
    stable_bad: float = 0.0
    squares: float = 0.0

    @property
    def variance(self) -> float:
        """Of one unit, over that of a yes or no of the same mean; 1 where nothing varies yet."""
        units = self.candidate + self.stable
        mean = (self.candidate_bad + self.stable_bad) / units if units else 0.0
        whole = mean * (1.0 - mean)
        share = (self.squares / units - mean**2) / whole if whole > _TINY else 1.0
        return share if share < 1.0 - _TINY else 1.0


class Arms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the test knows. Rows of both sides are the margin and the grid `extras` of the interval.

    `peak_pass` is the highest log E of the pass side in this step. `fault` is what was wrong with the last look;
    `bounded` says that nothing can be worse than the margin. `dropped` counts looks without traffic in one arm. `variance` is
    that of one unit (see Totals), as it was before the rollout.
    """

    rule: Rule
    extras: tuple[float, ...]
    fail: Wealth
    passing: Wealth
    theta_bad: float
    theta_units: float
    started_s: float
    at_s: float
    dispersion: Dispersion = Dispersion()
    total: Totals = Totals()
    step: Totals = Totals()
    last: Look | None = None
    peak_pass: float = 0.0
    looks: int = 0
    dropped: int = 0
    bounded: bool = False
    fault: str | None = None
    variance: float = 1.0

    @property
    def log_fail(self) -> float:
        return float(wealth.log_values(self.fail)[0])

    @property
    def log_pass(self) -> float:
        return float(wealth.log_values(self.passing)[0])

    @property
    def theta(self) -> float:
        """The stable's rate, of looks so far."""
        return self.theta_bad / self.theta_units

    def divisor(self, fail: bool) -> float:
        """By what the evidence of a side is divided."""
        variance = self.total.variance if self.total.candidate else self.variance
        known = dispersion.divisor(self.dispersion, self.rule.cluster, max(variance, _LEAST_VARIANCE))
        cautious = fail or self.rule.labels
        return max(known, dispersion.unknown(self.dispersion)) if cautious else known


def begin(rule: Rule, started_s: float, past: Dispersion | None = None) -> Arms:
    """Before the first look. `past` is the spread of the stable's last ten minutes or more."""
    rate = min(max(rule.rate, 1e-6), 1 - 1e-6)
    extras = _grid(rule, rate) if rule.interval else ()
    rows = 1 + len(extras)
    return Arms(
        rule,
        extras,
        wealth.fresh(rows, len(FAIL_ODDS), rule.late),
        wealth.fresh(rows, len(PASS_ODDS), False),
        rate * _PRIOR_UNITS,
        _PRIOR_UNITS,
        started_s,
        started_s,
        past or Dispersion(),
    )


def next_step(arms: Arms) -> Arms:
    """The pass side begins anew at each step of a rollout; the fail side never does."""
    return msgspec.structs.replace(
        arms,
        passing=wealth.fresh(1 + len(arms.extras), len(PASS_ODDS), False),
        step=Totals(),
        peak_pass=0.0,
    )


def seen(arms: Arms, look: Look) -> Arms:
    """With one more look. Numbers that cannot be right change nothing but `fault`."""
    fault = look.fault()
    if fault is None and arms.last is not None and look.at_s <= arms.at_s:
        fault = "the look is not newer than the one before"
    if fault is not None:
        return msgspec.structs.replace(arms, fault=fault)
    arms = msgspec.structs.replace(arms, at_s=look.at_s, last=look, looks=arms.looks + 1, fault=None)
    if look.candidate == 0 or look.stable == 0:
        return msgspec.structs.replace(arms, dropped=arms.dropped + 1)
    arms = msgspec.structs.replace(arms, dispersion=dispersion.closed(arms.dispersion, look.at_s))
    return _learnt(_bet(arms, look), look)


def bets_of(arms: Arms, look: Look, fail: bool) -> tuple[streams.Bets, Floats]:
    """What is bet in a look of such sizes, `(rows, bets)`, and each row's ratio `(rows, 1)`."""
    ratio, extra = _lines(arms, fail)
    odds = np.array(FAIL_ODDS if fail else PASS_ODDS)
    candidate, stable, theta = _as(look.candidate), _as(look.stable), _as(arms.theta)
    return streams.choose_bets(candidate, stable, theta, ratio, extra, odds, fail), ratio


def interval(arms: Arms, alpha_fail: float, alpha_pass: float) -> tuple[float | None, float | None]:
    """Between which values the harm lies, on the rule's axis (in points: p_c - ratio * p_s): all those that neither side
    rejects; None is without a limit.

    The lower one holds over the rollout, the upper one over the step. Both are None where the rates moved so much that
    the two contradict each other.
    """
    places = np.array((arms.rule.harm, *arms.extras))
    sure = wealth.log_values(arms.fail) >= -math.log(alpha_fail)
    if arms.rule.strict:
        sure[0] = False  # of any harm, not of the margin
    above = places[sure]
    below = places[wealth.log_values(arms.passing) >= -math.log(alpha_pass)]
    low = float(above.max()) if above.size else None
    high = float(below.min()) if below.size else None
    return (None, None) if low is not None and high is not None and low > high else (low, high)


def _bet(arms: Arms, look: Look) -> Arms:
    candidate, candidate_bad = _as(look.candidate), _as(look.candidate_bad)
    stable, stable_bad = _as(look.stable), _as(look.stable_bad)
    sides = []
    for side, fail in ((arms.fail, True), (arms.passing, False)):
        bets, ratio = bets_of(arms, look, fail)
        if look.candidate_at:
            logs = means.log_factors(bets, means.PLACES, *means.placed_of(look), ratio)
        else:
            logs = streams.log_factors(bets, candidate, candidate_bad, stable, stable_bad, ratio)
        sides.append(wealth.grown(side, logs / arms.divisor(fail), look.at_s - arms.started_s))
    fail_side, passing = sides
    return msgspec.structs.replace(
        arms,
        fail=fail_side,
        passing=passing,
        peak_pass=max(arms.peak_pass, float(wealth.log_values(passing)[0])),
        bounded=arms.rule.margin.ratio * arms.theta + arms.rule.margin.extra >= 1 - 1e-9,
    )


def _learnt(arms: Arms, look: Look) -> Arms:
    """What later looks may use of this one."""
    kept = 0.5 ** (1 / _HALF_LIFE_LOOKS)
    spread = dispersion.seen(
        arms.dispersion,
        look.at_s,
        (look.candidate_bad, look.candidate - look.candidate_bad),
        (look.stable_bad, look.stable - look.stable_bad),
    )
    return msgspec.structs.replace(
        arms,
        theta_bad=arms.theta_bad * kept + look.stable_bad,
        theta_units=arms.theta_units * kept + look.stable,
        dispersion=spread,
        total=_plus(arms.total, look),
        step=_plus(arms.step, look),
    )


def _lines(arms: Arms, fail: bool) -> tuple[Floats, Floats]:
    rule = arms.rule
    first = streams.STRICT if fail and rule.strict else rule.margin
    if rule.axis == "points":
        others = [Margin(rule.margin.ratio, extra) for extra in arms.extras]
    else:
        others = [streams.on_axis(rule.axis, harm) for harm in arms.extras]
    ratio = np.array([one.ratio for one in (first, *others)])[:, np.newaxis]
    extra = np.array([one.extra for one in (first, *others)])[:, np.newaxis]
    return ratio, extra


def _grid(rule: Rule, rate: float) -> tuple[float, ...]:
    """Values around the margin, that cover all there can be for such a rate."""
    margin = rule.margin
    if rule.axis != "points":
        apart = np.geomspace(_FINEST, _WIDEST, _GRID)
        harms = (rule.harm + sign * one for sign in (-1, 1) for one in apart.tolist())
        return tuple(sorted(harm for harm in harms if (harm < 1.0 if rule.axis == "less" else harm > -1.0)))
    border = min(max(margin.ratio * rate + margin.extra, 1e-4), 0.99)
    below = (margin.extra - border * (j / _GRID) for j in range(_GRID, 0, -1))
    span = max((1 - border) / (0.05 * border), 2.0)
    above = (margin.extra + 0.05 * border * span ** (j / _GRID) for j in range(_GRID))
    return (*below, *above)


def _plus(totals: Totals, look: Look) -> Totals:
    return Totals(
        totals.candidate + look.candidate,
        totals.candidate_bad + look.candidate_bad,
        totals.stable + look.stable,
        totals.stable_bad + look.stable_bad,
        totals.squares + means.squares(look),
    )


def _as(number: float) -> Floats:
    return np.asarray(number, dtype=np.float64)
