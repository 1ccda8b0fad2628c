"""Cost and other amounts: the capped mean by the two streams, and the plain mean by an asymptotic sequence, called so."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from seaway.core.evidence.streams import Look

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


def capped(at_s: float, cap: float, candidate: tuple[int, float], stable: tuple[int, float]) -> Look:
    """A look at (units, sum of min(amount, cap)): shares of the cap, which was frozen before the rollout.

    Values in [0, 1] in the place of outcomes make the factor a lower bound of itself, so nothing is lost but speed.
    """
    return Look(at_s, candidate[0], candidate[1] / cap, stable[0], stable[1] / cap)


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
