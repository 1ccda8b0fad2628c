"""How many more requests a verdict takes: an order of magnitude, and said as one."""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec
import numpy as np

from seaway.core import times
from seaway.core.evidence import arms, dispersion, means, pairs, predictions, streams
from seaway.core.evidence.arms import Arms
from seaway.core.evidence.pairs import Pairs
from seaway.core.evidence.predictions import Predictions
from seaway.core.evidence.streams import Bets, Look, Margin
from seaway.core.evidence.wealth import PASS_ODDS, Floats, Wealth

SELDOM_OVER: Final = 6
"""In nine of ten simulated rollouts it took between a twentieth and so many times of what was forecast."""


_FEWEST: Final = 30
"""Candidate units below which a rate that is not 0 is taken for chance."""
_UNKNOWN: Final = {
    "unseen": "nothing seen in this step yet",
    "early": "and it is too early to tell how many more requests it takes",
    "margin": "how many more requests it takes cannot be told: the estimate lies on the margin",
    "narrow": "and it cannot be: both arms are alike, and the margin is too narrow for this rate",
}


class Forecast(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Candidate units until a verdict, and which: `failed` or `passed`.

    Where `more` is None, `unknown` says why it cannot be told: nothing was seen in this step, too little is known (of the
    spread, or of the rate), the estimate lies on the margin, or not even equal arms would pass.
    """

    more: int | None = None
    towards: Literal["passed", "failed"] | None = None
    unknown: Literal["unseen", "early", "margin", "narrow"] = "margin"


def of_arms(found: Arms, alpha_fail: float, alpha_pass: float) -> Forecast:
    """If both arms went on as in this step. `alpha_fail` is the check's own: the rollout's times its weight.

    A candidate of which no unit was bad is taken for one like the stable revision: of harm it has shown nothing.
    """
    step = found.step
    if step.candidate <= 0 or step.stable <= 0:
        return Forecast(unknown="unseen")
    p_c = (step.candidate_bad + 0.5) / (step.candidate + 1)
    p_s = (step.stable_bad + 0.5) / (step.stable + 1)
    chance = False
    if step.candidate_bad > 0:
        if step.candidate < _FEWEST or dispersion.unknown(found.dispersion) > 1.0:
            return Forecast(unknown="early")
        chance = _is_chance(found, p_c, p_s)
        told = _at_rates(found, p_c, p_s, alpha_fail, alpha_pass)
    else:
        p_s = (step.stable_bad + found.theta) / (step.stable + 1)
        told = _at_rates(found, min(p_c, p_s), p_s, None, alpha_pass)
    if chance or told.more is None:
        if _at_rates(found, p_s, p_s, None, alpha_pass).more is None:
            return Forecast(unknown="narrow")
        return Forecast(unknown="early" if chance else "margin")
    return told


def _is_chance(found: Arms, p_c: float, p_s: float) -> bool:
    """Whether it may be by chance alone on which side of the margin the rates lie: within one standard error of it."""
    step, margin = found.step, found.rule.margin
    of_candidate, of_stable = (
        found.total.variance * rate * (1.0 - rate) / units
        for rate, units in ((p_c, step.candidate), (p_s, step.stable))
    )
    apart = p_c - margin.ratio * p_s - margin.extra
    return abs(apart) < math.sqrt(of_candidate + margin.ratio**2 * of_stable)


def _at_rates(found: Arms, p_c: float, p_s: float, alpha_fail: float | None, alpha_pass: float) -> Forecast:
    """At these rates of both arms; without `alpha_fail` only how soon it passes."""
    step = found.step
    look = Look(found.at_s, step.candidate, 0.0, step.stable, 0.0)
    sides = []
    for side, fail, alpha in ((found.fail, True, alpha_fail), (found.passing, False, alpha_pass)):
        if alpha is None:
            continue
        bets, ratio = arms.bets_of(found, look, fail)
        if found.total.variance < 1.0:
            logs = _of_amounts(found, bets, p_c, p_s, ratio)
        else:
            one, other = np.asarray(1.0), np.asarray(step.stable / step.candidate)
            logs = streams.log_factors(bets, one, one * p_c, other, other * p_s, ratio)
        sides.append((_until(side, logs[0] / found.divisor(fail), alpha), fail))
    return _sooner(sides)


def _of_amounts(found: Arms, bets: Bets, p_c: float, p_s: float, ratio: Floats) -> Floats:
    """What a candidate's unit and its share of the stable's win, as if an amount were one of two with their mean and variance."""
    units, squares = found.total.candidate + found.total.stable, found.total.squares
    mean = (found.total.candidate_bad + found.total.stable_bad) / units
    apart = math.sqrt(max(0.0, squares / units - mean**2))
    values = np.clip([p_c - apart, p_c + apart, p_s - apart, p_s + apart], 0.0, 1.0)
    each = found.step.stable / found.step.candidate / 2
    return means.log_factors(bets, values, np.array([0.5, 0.5, 0, 0]), np.array([0, 0, each, each]), ratio)


def of_pairs(
    found: Pairs, alpha_fail: float, alpha_pass: float, mean_square: float | None = None
) -> Forecast:
    """The same for pairs; `mean_square` is that of the harms where they lie between yes and no, else None."""
    count = sum(found.step)
    if count == 0:
        return Forecast(unknown="unseen")
    worse, better, same = ((part + 0.5) / (count + 1.5) for part in found.step)
    sides = []
    for side, fail, alpha in ((found.fail, True, alpha_fail), (found.passing, False, alpha_pass)):
        if mean_square is None:
            gained = pairs.gains(found.rule, fail, worse, better, same) / found.divisor(fail)
        else:
            gained = _of_two(found, fail, worse - better, mean_square) / found.divisor(fail)
        sides.append((_until(side, gained, alpha), fail))
    return _sooner(sides)


def _of_two(found: Pairs, fail: bool, mean: float, mean_square: float) -> Floats:
    """What a pair wins on average, as if its harm were one of two values with that mean and mean square."""
    apart = math.sqrt(max(0.0, mean_square - mean**2))
    values = tuple(max(-1.0, min(1.0, mean + side * apart)) for side in (-1, 1))
    won: Floats = pairs.look_gains(found.rule, fail, pairs.PairLook(found.at_s, 0, 0, 0, values)) / 2
    return won


def of_answers(found: Predictions, alpha_fail: float, alpha_pass: float) -> Forecast:
    """The same for answers, by the whole rollout's on the fail side."""
    if found.step_units == 0 or not sum(found.candidate) or not sum(found.stable):
        return Forecast(unknown="unseen")
    if dispersion.unknown(found.dispersion) > 1.0:
        return Forecast(unknown="early")
    candidate, stable = np.array(found.candidate, np.float64), np.array(found.stable, np.float64)
    units, divisor = candidate.sum(), dispersion.divisor(found.dispersion, found.cluster)
    by = max(divisor, dispersion.unknown(found.dispersion))
    harm = _until(found.fail, predictions.fail_gains(found, candidate, stable) / units / by, alpha_fail)
    gained = found.pass_logs / found.step_units
    none = _until_all(found.pass_logs, gained, alpha_pass)
    return _sooner([(harm, True), (none, False)])


def plan(rate: float, margin: Margin, alpha: float) -> int:
    """Candidate requests that a healthy candidate needs to pass, before anything was seen."""
    border = min(margin.ratio * rate + margin.extra, 1 - 1e-9)
    distance = divergence(min(max(rate, 0.0), 1.0), border)
    if distance <= 0:
        raise ValueError("without any margin nothing can pass")
    return math.ceil((math.log(1 / alpha) + math.log(len(PASS_ODDS))) / distance)


def divergence(a: float, b: float) -> float:
    """Kullback-Leibler of two yes/no rates; b lies between 0 and 1."""
    first = a * math.log(a / b) if a > 0 else 0.0
    second = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return first + second


def in_words(forecast: Forecast, candidates_per_s: float, units: str = "candidate requests") -> str:
    """Never more exact than it is."""
    if forecast.more is None:
        return _UNKNOWN[forecast.unknown]
    about = f"about {rounded(forecast.more):,} more {units}"
    if candidates_per_s > 0:
        about += f", {times.about(forecast.more / candidates_per_s)} at today's traffic"
    return f"{about} (an order of magnitude: seldom over {SELDOM_OVER} times that, often far fewer)"


def _until(side: Wealth, gained: Floats, alpha: float) -> float | None:
    return _until_all(np.array(side.logs[0]), gained, alpha)


def _until_all(logs: Floats, gained: Floats, alpha: float) -> float | None:
    lacking = np.maximum(math.log(len(logs) / alpha) - logs, 0.0)
    growing = gained > 1e-12
    return float((lacking[growing] / gained[growing]).min()) if growing.any() else None


def _sooner(sides: list[tuple[float | None, bool]]) -> Forecast:
    found = [(more, fail) for more, fail in sides if more is not None]
    if not found:
        return Forecast()
    more, fail = min(found)
    return Forecast(math.ceil(more), "failed" if fail else "passed")


def rounded(number: int) -> int:
    """To its first digit."""
    size = int(10 ** (len(str(number)) - 1))
    return max(1, round(number / size)) * size
