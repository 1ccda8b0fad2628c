"""The factor of one look at two streams of yes/no outcomes: all tests of a canary reduce to it.

The tolerated harm is the line p_c = ratio * p_s + extra. For any point x, y = ratio * x + extra, bet kappa and
r = n_c / n_s, the mean of

    S = prod_c (1 + kappa (X - y)) * prod_s (1 - kappa ratio r (X - x))

is at most exp(kappa n_c (p_c - ratio p_s - extra)), since 1 + u <= exp(u): so at most 1 where kappa > 0 and the harm is
within the margin (the fail side), and where kappa < 0 and it is not (the pass side). x and kappa must come from the past;
they decide the power only. After Turner, Ly, Gruenwald (arXiv 2106.02693); docs/statistics.md has the proof.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np

from seaway.core.evidence.wealth import Floats

_TINY: Final = 1e-9
_CLIP: Final = 0.98
"""The share of the largest bet under which every outcome leaves something."""


class Margin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much harm is tolerated: a rate of the candidate up to `ratio` times the stable's plus `extra`."""

    ratio: float = 1.2
    extra: float = 0.002


STRICT: Final = Margin(1.0, 0.0)
"""No harm is tolerated."""
Axis = Literal["points", "less", "more"]
"""What harm is told in: `points` above ratio * p_s; or, of amounts as shares of a cap, how much `less` than the stable's an
amount is of which higher is better (bad is what lacks to the cap), and how much `more` one of which lower is better."""


def on_axis(axis: Literal["less", "more"], harm: float) -> Margin:
    """The line of amounts that are this share of the stable's less (more): (1 - p_c) = (1 - harm) (1 - p_s), for instance."""
    return Margin(1.0 - harm, harm) if axis == "less" else Margin(1.0 + harm, 0.0)


class Look(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came in both arms since the look before: units and bad ones (or the sum of values in [0, 1]).

    Where such values are known one by one, `candidate_at` and `stable_at` say how many lie at each of `means.PLACES`; empty
    where units are good or bad.
    """

    at_s: float
    candidate: float
    candidate_bad: float
    stable: float
    stable_bad: float
    candidate_at: tuple[float, ...] = ()
    stable_at: tuple[float, ...] = ()

    def fault(self) -> str | None:
        """Why these numbers cannot be right; None where they can."""
        numbers = (self.at_s, self.candidate, self.candidate_bad, self.stable, self.stable_bad)
        if not all(np.isfinite(numbers)):
            return "a counter is not a number"
        if min(numbers[1:]) < 0:
            return "a counter went backwards"
        if self.candidate_bad > self.candidate or self.stable_bad > self.stable:
            return "more bad units than units"
        return None


class Bets(msgspec.Struct, frozen=True):
    """The points and bets of one look; each of shape `(…, bets)`. `kappa` is 0 where nothing can be worse than the margin."""

    x: Floats
    y: Floats
    kappa: Floats


def choose_bets(
    candidate: Floats, stable: Floats, theta: Floats, ratio: Floats, extra: Floats, odds: Floats, fail: bool
) -> Bets:
    """The bets that would grow fastest if the harm were `odds` times the margin's, and the stable's rate `theta`.

    All of them broadcast; `theta` is known before the look, the counts are of the look (they, not its outcomes).
    """
    theta = np.clip(theta, 1e-6, 1 - 1e-6)
    border = np.clip(ratio * theta + extra, 1e-6, 1 - 1e-6)
    aim = border * odds / (1 - border + border * odds)
    of_candidate, of_stable = candidate / (border * (1 - border)), stable / (theta * (1 - theta))
    x = (of_candidate * ratio * (aim - extra) + of_stable * theta) / (of_candidate * ratio**2 + of_stable)
    x = np.clip(x, _TINY, 1 - _TINY)
    y = ratio * x + extra
    inner = np.clip(y, _TINY, 1 - _TINY)
    kappa = (aim - inner) / (inner * (1 - inner))
    weight = ratio * candidate / stable
    if fail:
        kappa = np.clip(kappa, 0.0, _CLIP * np.minimum(1 / inner, 1 / (weight * (1 - x))))
    else:
        bound = np.minimum(1 / (1 - np.minimum(y, 1 - _TINY)), 1 / (weight * x))
        bound = np.minimum(bound, 1 / np.maximum(-y, _TINY))
        kappa = np.clip(kappa, -_CLIP * bound, 0.0)
    return Bets(x, y, np.where(y < 1 - _TINY, kappa, 0.0))


def log_factors(
    bets: Bets, candidate: Floats, candidate_bad: Floats, stable: Floats, stable_bad: Floats, ratio: Floats
) -> Floats:
    """log S of one look, by bet; both arms must have had traffic."""
    kappa, weight = bets.kappa, bets.kappa * ratio * candidate / stable
    total: Floats = (
        candidate_bad * np.log1p(kappa * (1 - bets.y))
        + (candidate - candidate_bad) * np.log1p(-kappa * bets.y)
        + stable_bad * np.log1p(-weight * (1 - bets.x))
        + (stable - stable_bad) * np.log1p(weight * bets.x)
    )
    return total
