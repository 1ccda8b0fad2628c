"""What must hold for any verdict to mean something: the split is the configured one, and units are exchangeable.

A guard that trips makes checks `errored`: it says nothing of the candidate.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from seaway.core.evidence import arms, wealth
from seaway.core.evidence.arms import Arms
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.pairs import odds_gains
from seaway.core.evidence.streams import Look
from seaway.core.evidence.wealth import Wealth

_RATIO_ODDS: Final = np.array((0.5, 0.8, 0.9, 1.1, 1.25, 2.0))
_RATIO_ALPHA: Final = 0.001
SLICE_ALPHA: Final = 0.05


class SampleRatio(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the arms get the shares that they should; Lindon, Malek (arXiv 2011.03567).

    It should be fed with assignments, the first request of each user where arms are sticky. Whoever has completions only
    asks `wrong`, not `tripped`: a revision that suddenly takes a second longer lacks a second of its share for a while.
    """

    wealth: Wealth = wealth.fresh(1, len(_RATIO_ODDS), False)
    peak: float = 0.0
    candidate: int = 0
    assigned: int = 0
    expected: float = 0.0

    @property
    def tripped(self) -> bool:
        """Whether the shares were wrong at any time."""
        return self.peak >= -math.log(_RATIO_ALPHA)

    @property
    def wrong(self) -> bool:
        """Whether all that was counted up to now contradicts the shares: what only came later than it should is made up for."""
        return float(wealth.log_values(self.wealth)[0]) >= -math.log(_RATIO_ALPHA)


def assigned(guard: SampleRatio, share: float, candidate: int, both: int) -> SampleRatio:
    """With one more look, in which the candidate's configured share was `share`; 0 and 1 say nothing."""
    if not 0 < share < 1 or both == 0:
        return guard
    gained = odds_gains(share, _RATIO_ODDS, candidate, both - candidate)
    grown = wealth.grown(guard.wealth, gained[np.newaxis], 0.0)
    return SampleRatio(
        grown,
        max(guard.peak, float(wealth.log_values(grown)[0])),
        guard.candidate + candidate,
        guard.assigned + both,
        guard.expected + share * both,
    )


class StableSlice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second slice of stable users, as large as the canary, against the rest of stable, both ways.

    It "fails" only where units are not alike (heavy users, a noisy replica). Simulated: it notices two thirds of that.
    """

    more: Arms
    less: Arms
    peak: float = 0.0

    @property
    def tripped(self) -> bool:
        """Whether the slice differed at any time: it stays so."""
        return self.peak >= -math.log(SLICE_ALPHA)


def begin_slice(rule: arms.Rule, started_s: float, past: Dispersion | None = None) -> StableSlice:
    """Before the first look; the rule's rate and cluster, and the stable's spread in the past, are those of the check that
    it guards."""
    plain = msgspec.structs.replace(rule, strict=True, interval=False)
    begun = arms.begin(plain, started_s, past)
    return StableSlice(begun, begun)


def sliced(guard: StableSlice, look: Look) -> StableSlice:
    """With one more look, whose "candidate" is the slice."""
    turned = Look(look.at_s, look.stable, look.stable_bad, look.candidate, look.candidate_bad)
    more, less = arms.seen(guard.more, look), arms.seen(guard.less, turned)
    both = float(np.logaddexp(more.log_fail, less.log_fail)) - math.log(2)
    return StableSlice(more, less, max(guard.peak, both))
