"""Cost and other amounts: the capped mean by the two streams, and the plain mean by an asymptotic sequence, called so.

Of amounts that are known one by one, as shares of the cap, the exact factor is taken: they vary less than a yes or no of the
same mean, so it takes fewer of them. They are kept as counts at 65 places from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from seaway.core.evidence.streams import Bets, Look
from seaway.core.evidence.wealth import Floats

PLACES: Final[Floats] = np.linspace(0.0, 1.0, 65)

FEWEST: Final = 1000
_TUNED_FOR: Final = 20_000.0


class Moments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one arm: units, their sum and the sum of their squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def variance(self) -> float:
        return max(0.0, (self.squares - self.total**2 / self.n) / (self.n - 1))


Weighed = tuple[Sequence[float], Sequence[float]]
"""Values in [0, 1], and how many units have each."""


def amounts(at_s: float, candidate: Weighed, stable: Weighed) -> Look:
    """A look at amounts as shares of a cap, which was frozen before."""
    ours, theirs = (float(np.dot(one[0], one[1])) for one in (candidate, stable))
    return Look(at_s, sum(candidate[1]), ours, sum(stable[1]), theirs, places(*candidate), places(*stable))


def variance(values: Sequence[float], counts: Sequence[float] | None = None) -> float:
    """Of one unit, over that of a yes or no of the same mean; 1 where nothing varies."""
    if not len(values):
        return 1.0
    mean = float(np.average(values, weights=counts))
    square = float(np.average(np.square(values), weights=counts))
    whole = mean * (1.0 - mean)
    return min(1.0, (square - mean**2) / whole) if whole > 0 else 1.0


def places(values: Sequence[float], counts: Sequence[float] | None = None) -> tuple[float, ...]:
    """How many values in [0, 1], each so often as `counts` says (once), lie at each of `PLACES`. One between two counts in both, by its distance: that leaves the sum as
    it is, and the factor, whose logarithm is concave in the value, can only become smaller."""
    last = len(PLACES) - 1
    scaled = np.asarray(values, dtype=np.float64) * last
    below = np.minimum(scaled.astype(np.int64), last - 1)
    often = np.ones_like(scaled) if counts is None else np.asarray(counts, dtype=np.float64)
    above = (scaled - below) * often
    found = np.bincount(below, often - above, last + 1) + np.bincount(below + 1, above, last + 1)
    return tuple(found.tolist())


def together(looks: Sequence[Look]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`candidate_at` and `stable_at` of all these looks; empty where all of them are of good and bad."""
    if not any(look.candidate_at for look in looks):
        return (), ()
    placed = [placed_of(look) for look in looks]
    ours, theirs = (np.sum([one[arm] for one in placed], axis=0).tolist() for arm in (0, 1))
    return tuple(ours), tuple(theirs)


def placed_of(look: Look) -> tuple[Floats, Floats]:
    """How many units of each arm lie at each of `PLACES`."""
    if look.candidate_at:
        return np.array(look.candidate_at), np.array(look.stable_at)
    ours, theirs = np.zeros(len(PLACES)), np.zeros(len(PLACES))
    ours[[0, -1]] = look.candidate - look.candidate_bad, look.candidate_bad
    theirs[[0, -1]] = look.stable - look.stable_bad, look.stable_bad
    return ours, theirs


def squares(look: Look) -> float:
    """The sum of the squared values of both arms; of good and bad that of the bad ones."""
    if not look.candidate_at:
        return look.candidate_bad + look.stable_bad
    ours, theirs = placed_of(look)
    return float(((ours + theirs) * PLACES**2).sum())


def log_factors(bets: Bets, values: Floats, candidate: Floats, stable: Floats, ratio: Floats) -> Floats:
    """As `streams.log_factors`, of `candidate` and `stable` units at each of these `(values,)`, which is their last axis."""
    x, y, kappa = (part[..., np.newaxis] for part in (bets.x, bets.y, bets.kappa))
    sizes = candidate.sum(axis=-1, keepdims=True) / stable.sum(axis=-1, keepdims=True)
    weight = kappa * ratio[..., np.newaxis] * sizes
    won: Floats = (candidate * np.log1p(kappa * (values - y))).sum(axis=-1)
    total: Floats = won + (stable * np.log1p(-weight * (values - x))).sum(axis=-1)
    return total


def asymptotic_limits(
    candidate: Moments, stable: Moments, ratio: float, alpha: float
) -> tuple[float, float] | None:
    """Where mean_c - ratio * mean_s lies, each limit at `alpha`, at all times; None before 1,000 units in each arm.

    Right only in the limit of many units, of finite variance, at about the same share throughout. Waudby-Smith, Arbour,
    Sinha, Kennedy, Ramdas (arXiv 2103.06476).
    """
    if min(candidate.n, stable.n) < FEWEST:
        return None
    t = candidate.n + stable.n
    share = candidate.n / t
    deviation = math.sqrt(candidate.variance / share + ratio**2 * stable.variance / (1 - share))
    twice = -2 * math.log(2 * alpha)
    speed = (twice + math.log(twice + 1) + 1) / _TUNED_FOR
    spread = t * speed + 1
    radius = deviation * math.sqrt(2 * spread / (t**2 * speed) * math.log(math.sqrt(spread) / (2 * alpha)))
    harm = candidate.mean - ratio * stable.mean
    return harm - radius, harm + radius
