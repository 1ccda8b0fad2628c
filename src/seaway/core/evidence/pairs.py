"""Both revisions answer the same request: shadow disagreement, and which of the two was right once labels come.

Any order of events gives the same evidence while the divisor stays the same, and of events that are yes or no the totals
say all. Losses of numbers lie between: each multiplies the bets by its own factor.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from seaway.core.evidence import wealth
from seaway.core.evidence.wealth import FAIL_ODDS, PASS_ODDS, Floats, Wealth

_LIMITS: Final = tuple(float(share) for share in np.geomspace(0.0005, 0.95, 60))
_SHARES: Final = tuple(float(share) for share in np.geomspace(0.01, 0.95, 12))
_HARMS: Final = tuple(float(sign * harm) for sign in (-1, 1) for harm in np.geomspace(0.001, 0.9, 40))


class Disagreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="disagreement"):
    """The share of requests that both answer differently, against what is tolerated."""

    tolerance: float = 0.05


class Labelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="labelled"):
    """P(candidate wrong, stable right) - P(stable wrong, candidate right), against a margin; 0 is McNemar's question.

    `strict` fails on any harm, and passes by the margin. Betting on a bounded mean: Waudby-Smith, Ramdas (arXiv 2010.09686).
    """

    margin: float = 0.01
    strict: bool = False

    def margin_of(self, fail: bool) -> float:
        """What this side is tested against."""
        return 0.0 if fail and self.strict else self.margin


class PairLook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pairs since the look before. `worse`: they disagree, or only the candidate is wrong; `better`: only the stable is
    wrong (0 for disagreement); `same`: the rest. `partial` are pairs of losses that are neither 0 nor 1: the candidate's
    less the stable's, each -1 to 1."""

    at_s: float
    worse: int
    better: int
    same: int
    partial: tuple[float, ...] = ()


class Pairs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the test knows; `total` and `step` are (worse, better, same). A partial pair counts in them by parts: 0.2 is a
    fifth worse, and the rest the same. `cluster` is how many pairs count as one, `cluster_pass` where that is another number
    for the pass side."""

    rule: Disagreement | Labelled
    fail: Wealth
    passing: Wealth
    started_s: float
    at_s: float
    cluster: float = 1.0
    total: tuple[float, float, float] = (0, 0, 0)
    step: tuple[float, float, float] = (0, 0, 0)
    looks: int = 0
    peak_pass: float = 0.0
    fault: str | None = None
    cluster_pass: float | None = None

    def divisor(self, fail: bool) -> float:
        """Of this side's logarithms."""
        return self.cluster if fail or self.cluster_pass is None else self.cluster_pass

    @property
    def log_fail(self) -> float:
        return float(wealth.log_values(self.fail)[0])

    @property
    def log_pass(self) -> float:
        return float(wealth.log_values(self.passing)[0])


def begin(
    rule: Disagreement | Labelled, started_s: float, *, cluster: float = 1.0, late: bool = True
) -> Pairs:
    """Before the first look."""
    return Pairs(
        rule,
        wealth.fresh(1, _bets(rule, True), late),
        wealth.fresh(1, _bets(rule, False), False),
        started_s,
        started_s,
        max(1.0, cluster),
    )


def next_step(pairs: Pairs) -> Pairs:
    """The pass side begins anew."""
    begun = wealth.fresh(1, _bets(pairs.rule, False), False)
    return msgspec.structs.replace(pairs, passing=begun, step=(0, 0, 0), peak_pass=0.0)


def seen(pairs: Pairs, look: PairLook) -> Pairs:
    """With one more look; numbers that cannot be right change nothing but `fault`."""
    numbers: tuple[float, float, float] = (look.worse, look.better, look.same)
    partial = np.array(look.partial, dtype=np.float64)
    fault = None
    if not np.isfinite((look.at_s, *numbers, *look.partial)).all():
        fault = "a counter is not a number"
    elif min(numbers) < 0:
        fault = "a counter went backwards"
    elif (np.abs(partial) > 1).any() or (len(partial) and isinstance(pairs.rule, Disagreement)):
        fault = "a loss is not between 0 and 1"
    elif pairs.looks and look.at_s <= pairs.at_s:
        fault = "the look is not newer than the one before"
    if fault is not None:
        return msgspec.structs.replace(pairs, fault=fault)
    elapsed_s = look.at_s - pairs.started_s
    sides = [
        wealth.grown(side, look_gains(pairs.rule, fail, look)[np.newaxis] / pairs.divisor(fail), elapsed_s)
        for side, fail in ((pairs.fail, True), (pairs.passing, False))
    ]
    up, down = float(partial[partial > 0].sum()), float(-partial[partial < 0].sum())
    if len(partial):
        numbers = (look.worse + up, look.better + down, look.same + len(partial) - up - down)
    peak = max(pairs.peak_pass, float(wealth.log_values(sides[1])[0]))
    return msgspec.structs.replace(
        pairs,
        fail=sides[0],
        passing=sides[1],
        at_s=look.at_s,
        total=_plus(pairs.total, numbers),
        step=_plus(pairs.step, numbers),
        looks=pairs.looks + 1,
        peak_pass=peak,
        fault=None,
    )


def limits(found: Pairs, alpha_fail: float, alpha_pass: float) -> tuple[float | None, float | None]:
    """Between which shares of disagreement (or labelled harm, which may be negative) the truth lies, by all pairs (low) and by
    the step's (high); None is without a limit. They never contradict the verdicts at these levels. Both are None where the
    truth moved so much that they contradict each other."""
    rule = found.rule
    disagreement = isinstance(rule, Disagreement)

    def rejected(harm: float, fail: bool) -> bool:
        asked = Disagreement(harm) if disagreement else Labelled(harm)
        logs = gains(asked, fail, *(found.total if fail else found.step)) / found.divisor(fail)
        return float(wealth.log_mean_exp(logs)) >= -math.log(alpha_fail if fail else alpha_pass)

    grid = _LIMITS if disagreement else _HARMS
    low = [harm for harm in grid if rejected(harm, True)]
    high = [harm for harm in grid if rejected(harm, False)]
    if found.log_fail >= -math.log(alpha_fail):
        low.append(rule.tolerance if isinstance(rule, Disagreement) else rule.margin_of(True))
    if found.peak_pass >= -math.log(alpha_pass):
        high.append(rule.tolerance if isinstance(rule, Disagreement) else rule.margin)
    if low and high and max(low) > min(high):
        return None, None
    return max(low, default=None), min(high, default=None)


def gains(rule: Disagreement | Labelled, fail: bool, worse: float, better: float, same: float) -> Floats:
    """What each bet wins, as logarithms, `(bets,)`; of parts of pairs at most that, since log is concave."""
    if isinstance(rule, Disagreement):
        return odds_gains(rule.tolerance, np.array(FAIL_ODDS if fail else PASS_ODDS), worse, better + same)
    bet, margin = _bet(rule, fail), rule.margin_of(fail)
    total: Floats = (
        worse * np.log1p(bet * (1 - margin))
        + better * np.log1p(-bet * (1 + margin))
        + same * np.log1p(-bet * margin)
    )
    return total


def odds_gains(chance: float, odds: Floats, events: float, others: float) -> Floats:
    """log likelihood ratio of `odds` times the odds of `chance`, on so many events and others; finite always."""
    aim = chance * odds / (1 - chance + chance * odds)
    total: Floats = events * np.log(aim / chance) + others * np.log((1 - aim) / (1 - chance))
    return total


def look_gains(rule: Disagreement | Labelled, fail: bool, look: PairLook) -> Floats:
    """What each bet wins by one look, as logarithms, `(bets,)`; of partial pairs exactly."""
    total = gains(rule, fail, look.worse, look.better, look.same)
    if not look.partial or isinstance(rule, Disagreement):
        return total
    harms = np.array(look.partial, dtype=np.float64) - rule.margin_of(fail)
    partial: Floats = np.log1p(np.multiply.outer(_bet(rule, fail), harms)).sum(axis=1)
    return total + partial


def _bet(rule: Labelled, fail: bool) -> Floats:
    """Each at most 0.95 of the largest that leaves every factor positive."""
    sign = 1.0 if fail else -1.0
    bets: Floats = sign * np.array(_SHARES) / (1 + sign * rule.margin_of(fail))
    return bets


def _plus(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _bets(rule: Disagreement | Labelled, fail: bool) -> int:
    return len(gains(rule, fail, 0, 0, 0))
