"""Whether the candidate answers like the stable revision: total variation between their answers, against a margin.

Confidences are compared in the same way, by bins of thousandths. The fail side bets on the set of answers that has grown so far; the pass side must rule out every set at once, which has
a closed form. For ordered bins (numbers) sets are the beginnings of the order, a Kolmogorov-Smirnov distance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from seaway.core import answers as answers_
from seaway.core.evidence import dispersion, streams, wealth
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.wealth import FAIL_ODDS, Floats, Wealth
from seaway.core.ledger import Sparse

MAX_CLASSES: Final = 49
MAX_BINS: Final = 20
_SPEEDS: Final = (4.0, 3.0, 2.0, 1.0)
_MARGINS: Final = tuple(float(margin) for margin in np.geomspace(0.005, 1.0, 60))
_SIGN: Final = 1_000_000
_HALF_LIFE_LOOKS: Final = 300.0
_PRIOR_UNITS: Final = 200.0


class Groups(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answers put together, frozen before the rollout: the most frequent `classes` and the rest, or numbers up to each of
    `cuts`, above the last, and missing ones. `shares` are the stable's before the rollout.
    """

    shares: tuple[float, ...]
    classes: tuple[str, ...] = ()
    cuts: tuple[int, ...] | None = None

    @property
    def ordered(self) -> bool:
        return self.cuts is not None


def freeze_groups(past: Mapping[str, int], numbers: bool) -> Groups | None:
    """From the stable's answers before the rollout, as the ledger counts them; None where there were none."""
    if sum(past.values()) == 0:
        return None
    if numbers:
        groups = Groups((), cuts=_cuts((_rank(key), n) for key, n in past.items() if not _is_none(key)))
    else:
        frequent = sorted(past, key=lambda key: (-past[key], key))[:MAX_CLASSES]
        groups = Groups((), classes=tuple(frequent))
    return _shared(groups, grouped(groups, past))


def grouped(groups: Groups, found: Mapping[str, int]) -> tuple[int, ...]:
    """The counts of one look, by group."""
    places = {name: place for place, name in enumerate(groups.classes)}
    cuts = groups.cuts
    counts = [0] * (len(groups.classes) + 1 if cuts is None else len(cuts) + 2)
    for key, count in found.items():
        if cuts is None:
            counts[places.get(key, len(groups.classes))] += count
        elif _is_none(key):
            counts[-1] += count
        else:
            counts[int(np.searchsorted(cuts, _rank(key)))] += count
    return tuple(counts)


def freeze_bins(past: Sparse) -> Groups | None:
    """The same of amounts that the ledger counts by bin; None where there were none."""
    if sum(count for _, count in past) == 0:
        return None
    groups = Groups((), cuts=_cuts(past))
    return _shared(groups, binned(groups, past))


def binned(groups: Groups, found: Sparse) -> tuple[int, ...]:
    """The counts of one look, by group of `freeze_bins`; none is missing among them."""
    cuts = groups.cuts or ()
    counts = [0] * (len(cuts) + 2)
    for index, count in found:
        counts[int(np.searchsorted(cuts, index))] += count
    return tuple(counts)


class Predictions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the test knows. `drift` is the weighted difference of shares by group since the rollout began, `step` and
    `step_weight` since the step, which has seen `step_units` answers of the candidate; `theta` the stable's answers by group, forgotten in time."""

    groups: Groups
    margin: float
    fail: Wealth
    drift: tuple[float, ...]
    step: tuple[float, ...]
    theta: tuple[float, ...]
    started_s: float
    at_s: float
    step_weight: float = 0.0
    step_units: int = 0
    cluster: float = 1.0
    dispersion: Dispersion = Dispersion()
    candidate: tuple[int, ...] = ()
    stable: tuple[int, ...] = ()
    looks: int = 0
    peak_pass: float = 0.0
    fault: str | None = None

    @property
    def log_fail(self) -> float:
        return float(wealth.log_values(self.fail)[0])

    @property
    def log_pass(self) -> float:
        """log E against every set of answers at once, in this step."""
        return float(wealth.log_mean_exp(self.pass_logs))

    @property
    def pass_logs(self) -> Floats:
        """What each bet of the pass side has won, as logarithms."""
        return self._pass_logs(self.margin)

    def upper(self, alpha_pass: float) -> float | None:
        """The answers have moved by less than this, in this step; None where nothing is ruled out yet."""
        at_least = -math.log(alpha_pass)
        ruled_out = [
            margin for margin in _MARGINS if float(wealth.log_mean_exp(self._pass_logs(margin))) >= at_least
        ]
        if self.peak_pass >= at_least:
            ruled_out.append(self.margin)
        return min(ruled_out, default=None)

    def _pass_logs(self, margin: float) -> Floats:
        speeds = np.array(_SPEEDS) * margin
        distance = distance_of(np.array(self.step), self.groups.ordered)
        logs: Floats = speeds * (margin * self.step_weight - distance) - speeds**2 * self.step_weight / 8
        return logs

    @property
    def shift(self) -> float | None:
        """The distance between the answers of both arms so far; None before there are any."""
        if not sum(self.candidate) or not sum(self.stable):
            return None
        shares = np.array(self.candidate) / sum(self.candidate) - np.array(self.stable) / sum(self.stable)
        return distance_of(shares, self.groups.ordered)


def begin(
    groups: Groups,
    started_s: float,
    *,
    margin: float = 0.1,
    cluster: float = 1.0,
    late: bool = True,
    past: Dispersion | None = None,
) -> Predictions:
    """Before the first look. `past` is the spread of the stable's answers by group, of the last ten minutes or more."""
    nothing = (0.0,) * len(groups.shares)
    return Predictions(
        groups,
        margin,
        wealth.fresh(1, len(FAIL_ODDS), late),
        nothing,
        nothing,
        tuple(share * _PRIOR_UNITS for share in groups.shares),
        started_s,
        started_s,
        cluster=cluster,
        dispersion=past or Dispersion(),
    )


def next_step(found: Predictions) -> Predictions:
    """The pass side begins anew."""
    return msgspec.structs.replace(
        found, step=(0.0,) * len(found.step), step_weight=0.0, step_units=0, peak_pass=0.0
    )


def seen(
    found: Predictions,
    at_s: float,
    candidate: tuple[int, ...],
    stable: tuple[int, ...],
    cluster: float = 1.0,
) -> Predictions:
    """With one more look: the answers of both arms by group. Numbers that cannot be right change only `fault`.

    `cluster` is how many answers of this look belong together (the rows of one request); the larger one of it and the
    rule's holds.
    """
    fault = None
    if not np.isfinite((at_s, *candidate, *stable)).all():
        fault = "a counter is not a number"
    elif len(candidate) != len(found.drift) or len(stable) != len(found.drift):
        fault = "the answers are grouped otherwise than at the start"
    elif min((*candidate, *stable)) < 0:
        fault = "a counter went backwards"
    elif found.looks and at_s <= found.at_s:
        fault = "the look is not newer than the one before"
    if fault is not None:
        return msgspec.structs.replace(found, fault=fault)
    found = msgspec.structs.replace(found, at_s=at_s, looks=found.looks + 1, fault=None)
    if sum(candidate) == 0 or sum(stable) == 0:
        return found
    found = msgspec.structs.replace(found, dispersion=dispersion.closed(found.dispersion, at_s))
    divisor = dispersion.divisor(found.dispersion, max(found.cluster, cluster))
    gained = fail_gains(found, np.array(candidate, dtype=np.float64), np.array(stable, dtype=np.float64))
    by = max(divisor, dispersion.unknown(found.dispersion))
    fail = wealth.grown(found.fail, gained[np.newaxis] / by, at_s - found.started_s)
    return _learnt(msgspec.structs.replace(found, fail=fail), candidate, stable, divisor)


def distance_of(differences: Floats, ordered: bool) -> float:
    """Total variation (times the weight) of differences by group; Kolmogorov-Smirnov where the groups are ordered."""
    if ordered:
        return float(np.abs(np.cumsum(differences)).max())
    return float(np.maximum(differences, 0.0).sum())


def grown_set(drift: Floats, ordered: bool) -> npt.NDArray[np.bool_]:
    """The answers that the candidate has given more often so far: chosen before the look that it is tested on."""
    if not ordered:
        return drift > 0
    sums = np.cumsum(drift)
    place = int(np.abs(sums).argmax())
    beginning = np.arange(len(drift)) <= place
    return beginning if sums[place] > 0 else ~beginning


def fail_gains(found: Predictions, candidate: Floats, stable: Floats) -> Floats:
    """What each bet of the fail side wins on such answers by group, as logarithms that no divisor has touched yet."""
    chosen = grown_set(np.array(found.drift), found.groups.ordered)
    if not chosen.any() or chosen.all():
        return np.zeros(len(FAIL_ODDS))
    past = np.array(found.theta)
    sizes = np.asarray(candidate.sum()), np.asarray(stable.sum())
    one, margin = np.asarray(1.0), np.asarray(found.margin)
    theta = np.asarray(past[chosen].sum() / past.sum())
    bets = streams.choose_bets(sizes[0], sizes[1], theta, one, margin, np.array(FAIL_ODDS), True)
    inside = np.asarray(candidate[chosen].sum()), np.asarray(stable[chosen].sum())
    return streams.log_factors(bets, sizes[0], inside[0], sizes[1], inside[1], one)


def _learnt(
    found: Predictions, candidate: tuple[int, ...], stable: tuple[int, ...], divisor: float
) -> Predictions:
    n_c, n_s = sum(candidate), sum(stable)
    # Dividing the weight by the divisor is dividing each bet's logarithm by it.
    weight = n_c * n_s / (n_c + n_s) / divisor
    moved = weight * (np.array(candidate) / n_c - np.array(stable) / n_s)
    kept = 0.5 ** (1 / _HALF_LIFE_LOOKS)
    after = msgspec.structs.replace(
        found,
        drift=tuple((np.array(found.drift) + moved).tolist()),
        step=tuple((np.array(found.step) + moved).tolist()),
        step_weight=found.step_weight + weight,
        step_units=found.step_units + n_c,
        theta=tuple((np.array(found.theta) * kept + np.array(stable)).tolist()),
        dispersion=dispersion.seen(found.dispersion, found.at_s, candidate, stable),
        candidate=tuple(
            a + b for a, b in zip(found.candidate or (0,) * len(candidate), candidate, strict=True)
        ),
        stable=tuple(a + b for a, b in zip(found.stable or (0,) * len(stable), stable, strict=True)),
    )
    return msgspec.structs.replace(after, peak_pass=max(after.peak_pass, after.log_pass))


def _shared(groups: Groups, counts: tuple[int, ...]) -> Groups:
    smoothed = [count + 0.5 for count in counts]
    return msgspec.structs.replace(groups, shares=tuple(count / sum(smoothed) for count in smoothed))


def _cuts(past: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    ranks = sorted(past)
    total, seen_, cuts = sum(n for _, n in ranks), 0, []
    for rank, count in ranks:
        before, seen_ = seen_, seen_ + count
        if math.floor(seen_ / total * MAX_BINS) > math.floor(before / total * MAX_BINS) and seen_ < total:
            cuts.append(rank)
    return tuple(cuts[: MAX_BINS - 1])


def _is_none(key: str) -> bool:
    """Whether a number that the ledger counted is no number."""
    return key in (answers_.MISSING, answers_.INFINITE)


def _rank(key: str) -> int:
    """The order of the ledger's bins of numbers, which are called `+12`, `-3` and `0`."""
    if key == "0":
        return 0
    index = int(key[1:]) + _SIGN
    return index if key[0] == "+" else -index
