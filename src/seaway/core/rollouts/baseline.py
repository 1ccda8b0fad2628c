"""What the stable revision was like before a rollout: thresholds, groups and spreads, frozen before they are used. Pure.

Where its past has too few requests, they are learned from the first looks of the rollout, and used in later ones only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from seaway.core import ledger
from seaway.core.evidence import dispersion, predictions, units
from seaway.core.evidence.dispersion import Categories, Dispersion
from seaway.core.evidence.predictions import Groups
from seaway.core.evidence.streams import Look
from seaway.core.evidence.units import Slowness
from seaway.core.ledger import Counts, Second, Sparse

ENOUGH: Final = 200
"""Requests (or answers) of the stable revision, below which its past says too little."""
SPREAD_S: Final = 600
_UNKNOWN: Final = 0.01


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The stable revision's requests before the rollout; once enough, those of its first looks are added no more.

    `numbers` says whether its answers are numbers, else they are classes.
    """

    counts: Counts = Counts()
    numbers: bool = False

    def with_look(self, stable: Counts) -> Baseline:
        """With the stable's units of one look; for looks after it."""
        return msgspec.structs.replace(self, counts=ledger.merge_counts((self.counts, stable)))

    def rate(self, bad: int) -> float:
        """The share of bad requests; 1 % where too little is known."""
        return bad / self.counts.finished if self.counts.finished >= ENOUGH else _UNKNOWN

    def slowness(self, times: Sparse, q: float, factor: float, plus: float) -> Slowness | None:
        """The thresholds of a quantile; None where too little is known."""
        return units.freeze_slowness(times, q, factor, plus) if size(times) >= ENOUGH else None

    def cap_s(self, q: float) -> float | None:
        """The cost that caps every cost; None where too little is known."""
        return ledger.latency_quantile_s(self.counts.cost, q) if size(self.counts.cost) >= ENOUGH else None

    def answers(self) -> Groups | None:
        """The groups of answers; None where too little is known."""
        found = dict(self.counts.answers)
        return predictions.freeze_groups(found, self.numbers) if sum(found.values()) >= ENOUGH else None

    def confidence(self) -> Groups | None:
        """The groups of confidences; None where too little is known."""
        found = self.counts.confidence
        return predictions.freeze_bins(found) if size(found) >= ENOUGH else None


def of_past(past: Iterable[Second], numbers: bool) -> Baseline:
    """From the stable's seconds before the rollout."""
    return Baseline(ledger.merge_counts(counted(second) for second in past), numbers)


def counted(second: Second) -> Counts:
    """What verdicts are made of where it was counted apart, else all."""
    return second.counts if second.units is None else second.units


def recent(past: Sequence[Second]) -> Sequence[Second]:
    """The part of the past whose spread is looked at."""
    return [second for second in past if second.at_s >= past[-1].at_s - SPREAD_S] if past else ()


def spread_of(past: Sequence[Second], look: Callable[[float, Counts, Counts], Look]) -> Dispersion:
    """How the stable's bad units were spread over time; `look` makes one of (at_s, candidate, stable)."""
    return spread(past, lambda counts: _categories(look(0.0, Counts(), counts)))


def spread(past: Sequence[Second], categories: Callable[[Counts], Categories]) -> Dispersion:
    """The same for counts by category. Of too short a past nothing is known, and that is said too."""
    found = Dispersion(cautious=True)
    for second in recent(past):
        found = dispersion.seen(found, second.at_s, (), categories(counted(second)))
    return found


def size(bins: Sparse) -> int:
    """How many were counted."""
    return sum(count for _, count in bins)


def _categories(look: Look) -> Categories:
    return look.stable_bad, look.stable - look.stable_bad
