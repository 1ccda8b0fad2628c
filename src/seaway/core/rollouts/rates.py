"""The parts of a check of rates: what begins each, which look a second is to it, and when that is shown to it. Pure.

`processes` holds one check's parts together. Looks wait until both arms have something in them, for a minute at most: at
little traffic a second holds requests of one arm only. How long a look is depends on counts alone, never on how requests
ended.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np

from seaway.core import ledger
from seaway.core.evidence import arms, means, units
from seaway.core.evidence.arms import Arms, Rule
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.means import Weighed
from seaway.core.evidence.streams import Look
from seaway.core.evidence.units import Slowness
from seaway.core.ledger import Counts, PairCounts, Sparse
from seaway.core.rollouts import margins
from seaway.core.rollouts.baseline import Baseline, size, spread_of
from seaway.core.rollouts.spec import RolloutCheck

_HALF_BIN: Final = float(2.0 ** (0.5 / ledger.LATENCY_BINS_PER_OCTAVE))
_WRONG: Final = 0.1
"""The first guess of the share of wrong answers."""
_LACKING: Final = 0.8
"""That of what a KPI lacks to its cap."""
Past = tuple[ledger.Second, ...]


class Heard(msgspec.Struct, frozen=True):
    """One second of both arms: units of its verdicts, and pairs. `warm` says that latency counts in it, `by_user` that each
    is of another user."""

    at_s: float
    candidate: Counts
    stable: Counts
    pairs: PairCounts = PairCounts()
    warm: bool = True
    by_user: bool = False


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test of two streams: `name` says of what. `slowness` holds its thresholds where it is of times, `cap` the largest
    amount where it is of costs (seconds) or a KPI, of which `below` values counted as 0. `sides` is which verdicts it has a say in. `waiting` is a look that began at `since_s`."""

    name: str
    arms: Arms
    slowness: Slowness | None = None
    cap: float | None = None
    below: int = 0
    sides: Literal["both", "fail", "pass"] = "both"
    waiting: Look | None = None
    since_s: float = 0.0


def begin(check: RolloutCheck, baseline: Baseline, past: Past, at_s: float) -> tuple[Part, ...]:
    """Before the first look; `past` are the stable's seconds before. Empty while too little of them is known."""
    name = check.check
    if name == "latency":
        return _begin_times(check, baseline, past, at_s)
    if name == "cost":
        return _begin_cost(check, baseline, past, at_s)
    if name == "errors" or name == "rejections":
        look = units.errors if name == "errors" else units.rejections
        counts = baseline.counts
        rate = baseline.rate(counts.bad if name == "errors" else counts.rejected)
        begun = arms.begin(_rule(check, rate), at_s, spread_of(past, look))
        return (Part(name, begun),)
    # How labels hung together before is told with their first look; where it is not known they are taken for clusters.
    rate = {"points": _WRONG, "less": _LACKING, "more": 1 - _LACKING}[margins.axis_of(check)]
    rule = msgspec.structs.replace(_rule(check, rate), labels=True)
    return (Part(name, arms.begin(rule, at_s, Dispersion(cautious=True)), cap=check.cap),)


def look_of(part: Part, check: RolloutCheck, heard: Heard) -> Look:
    """What a second is to a part."""
    both = heard.at_s, heard.candidate, heard.stable
    match check.check:
        case "errors":
            return units.errors(*both)
        case "rejections":
            return units.rejections(*both)
        case "latency" if part.slowness is not None:
            return units.latency(heard.at_s, part.slowness, heard.candidate, heard.stable)
        case "cost" if part.slowness is not None:
            return _dear(heard.at_s, part.slowness, heard.candidate, heard.stable)
        case "cost" if part.cap is not None:
            return _costs(heard.at_s, part.cap, heard.candidate, heard.stable)
    raise AssertionError(f"{check.check} has no part {part.name}")


def shown(part: Part, look: Look) -> Part:
    """Fed with a look, once there is something of both arms in it."""
    if look.fault() is not None:
        return msgspec.structs.replace(part, arms=arms.seen(part.arms, look))
    if look.candidate == 0 and look.stable == 0 and part.waiting is None:
        return part
    whole, since_s, due = units.gathered(part.waiting, part.since_s, look)
    if due:
        return msgspec.structs.replace(part, arms=arms.seen(part.arms, whole), waiting=None)
    return msgspec.structs.replace(part, waiting=whole, since_s=since_s)


def _begin_times(check: RolloutCheck, baseline: Baseline, past: Past, at_s: float) -> tuple[Part, ...]:
    """For each quantile one part; a strict check has two, since no harm and the tolerated one have other thresholds."""
    parts = []
    for q, factor, plus in margins.slower_by(check):
        for times, sides in ((factor, "pass"), (1.0, "fail")) if check.strict else ((factor, "both"),):
            slowness = baseline.slowness(baseline.counts.latency, q, times, plus)
            if slowness is None:
                return ()
            begun_ = arms.begin(
                Rule(slowness.margin, rate=slowness.rate),
                at_s,
                spread_of(past, lambda at, c, s, by=slowness: units.latency(at, by, c, s)),  # type: ignore[misc]
            )
            parts.append(Part(f"p{q * 100:g}", begun_, slowness, sides=sides))  # type: ignore[arg-type]
    return tuple(parts)


def _begin_cost(check: RolloutCheck, baseline: Baseline, past: Past, at_s: float) -> tuple[Part, ...]:
    """The capped mean, and the share above the cap, so that the cap hides nothing."""
    cap_s = baseline.cap_s(margins.COST_CAP)
    ((q, factor, plus),) = margins.slower_by(check)
    slowness = baseline.slowness(baseline.counts.cost, q, factor, plus)
    if cap_s is None or slowness is None:
        return ()
    before = _shares(baseline.counts.cost, cap_s)
    rule = _rule(check, float(np.average(before[0], weights=before[1])))
    mean = arms.begin(rule, at_s, spread_of(past, lambda at, c, s: _costs(at, cap_s, c, s)))
    mean = msgspec.structs.replace(mean, variance=means.variance(*before))
    above = arms.begin(
        Rule(slowness.margin, rate=slowness.rate),
        at_s,
        spread_of(past, lambda at, c, s: _dear(at, slowness, c, s)),
    )
    return Part("mean", mean, cap=cap_s), Part("p99", above, slowness)


def _costs(at_s: float, cap_s: float, candidate: Counts, stable: Counts) -> Look:
    return means.amounts(at_s, _shares(candidate.cost, cap_s), _shares(stable.cost, cap_s))


def _shares(costs: Sparse, cap_s: float) -> Weighed:
    """Costs as shares of the cap, each at most that."""
    values = [min(ledger.edge_s(index) * _HALF_BIN, cap_s) / cap_s for index, _ in costs]
    return values, [float(count) for _, count in costs]


def _dear(at_s: float, slowness: Slowness, candidate: Counts, stable: Counts) -> Look:
    """Requests that cost more than the threshold."""
    return Look(
        at_s,
        size(candidate.cost),
        ledger.slower(candidate.cost, slowness.candidate_bin),
        size(stable.cost),
        ledger.slower(stable.cost, slowness.stable_bin),
    )


def _rule(check: RolloutCheck, rate: float) -> Rule:
    return Rule(margins.margin_of(check), strict=check.strict, rate=rate, axis=margins.axis_of(check))
