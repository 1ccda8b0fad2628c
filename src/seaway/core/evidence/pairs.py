"""Both revisions answer the same request: shadow disagreement, and which of the two was right once labels come.

Per look only totals are needed, and any order of events gives the same evidence while the divisor stays the same.
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


class Disagreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="disagreement"):
    """The share of requests that both answer differently, against what is tolerated."""

    tolerance: float = 0.05


class Labelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="labelled"):
    """P(candidate wrong, stable right) - P(stable wrong, candidate right), against a margin; 0 is McNemar's question.

    Betting on a bounded mean: Waudby-Smith, Ramdas (arXiv 2010.09686).
    """

    margin: float = 0.01


class PairLook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pairs since the look before. `worse`: they disagree, or only the candidate is wrong; `better`: only the stable is
    wrong (0 for disagreement); `same`: the rest."""

    at_s: float
    worse: int
    better: int
    same: int


class Pairs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the test knows; `total` and `step` are (worse, better, same)."""

    rule: Disagreement | Labelled
    fail: Wealth
    passing: Wealth
    started_s: float
    at_s: float
    cluster: float = 1.0
    total: tuple[int, int, int] = (0, 0, 0)
    step: tuple[int, int, int] = (0, 0, 0)
    looks: int = 0
    peak_pass: float = 0.0
    fault: str | None = None

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
    numbers = (look.worse, look.better, look.same)
    fault = None
    if not np.isfinite((look.at_s, *numbers)).all():
        fault = "a counter is not a number"
    elif min(numbers) < 0:
        fault = "a counter went backwards"
    elif pairs.looks and look.at_s <= pairs.at_s:
        fault = "the look is not newer than the one before"
    if fault is not None:
        return msgspec.structs.replace(pairs, fault=fault)
    elapsed_s = look.at_s - pairs.started_s
    sides = [
        wealth.grown(side, gains(pairs.rule, fail, *numbers)[np.newaxis] / pairs.cluster, elapsed_s)
        for side, fail in ((pairs.fail, True), (pairs.passing, False))
    ]
    peak = max(pairs.peak_pass, float(wealth.log_values(sides[1])[0]))
    return msgspec.structs.replace(
        pairs,
        fail=sides[0],
        passing=sides[1],
        at_s=look.at_s,
        total=tuple(a + b for a, b in zip(pairs.total, numbers, strict=True)),
        step=tuple(a + b for a, b in zip(pairs.step, numbers, strict=True)),
        looks=pairs.looks + 1,
        peak_pass=peak,
        fault=None,
    )


def limits(found: Pairs, alpha_fail: float, alpha_pass: float) -> tuple[float | None, float | None]:
    """Between which shares of disagreement the truth lies, by all pairs (low) and by the step's (high); None is without a
    limit, and both are of labelled pairs. They never contradict the verdicts at these levels."""
    rule = found.rule
    if not isinstance(rule, Disagreement):
        return None, None

    def rejected(chance: float, fail: bool) -> bool:
        worse, better, same = found.total if fail else found.step
        odds, alpha = (FAIL_ODDS, alpha_fail) if fail else (PASS_ODDS, alpha_pass)
        logs = odds_gains(chance, np.array(odds), worse, better + same) / found.cluster
        return float(wealth.log_mean_exp(logs)) >= -math.log(alpha)

    low = [chance for chance in _LIMITS if rejected(chance, True)]
    high = [chance for chance in _LIMITS if rejected(chance, False)]
    if found.log_fail >= -math.log(alpha_fail):
        low.append(rule.tolerance)
    if found.peak_pass >= -math.log(alpha_pass):
        high.append(rule.tolerance)
    return max(low, default=None), min(high, default=None)


def gains(rule: Disagreement | Labelled, fail: bool, worse: float, better: float, same: float) -> Floats:
    """What each bet wins, as logarithms, `(bets,)`."""
    if isinstance(rule, Disagreement):
        return odds_gains(rule.tolerance, np.array(FAIL_ODDS if fail else PASS_ODDS), worse, better + same)
    shares, sign, margin = np.array(_SHARES), (1.0 if fail else -1.0), rule.margin
    bet = sign * shares / (1 + sign * margin)
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


def _bets(rule: Disagreement | Labelled, fail: bool) -> int:
    return len(gains(rule, fail, 0, 0, 0))
