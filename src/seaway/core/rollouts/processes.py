"""The e-processes of one check, fed second by second with what both arms counted. Pure; `judging` holds one for each check.

Looks wait until both arms have something in them, for a minute at most: at little traffic a second holds requests of one
arm only. How long a look is depends on counts alone, never on how requests ended.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec
import numpy as np

from seaway.core import ledger
from seaway.core.evidence import arms, means, pairs, predictions, swings, units
from seaway.core.evidence.arms import Arms, Rule
from seaway.core.evidence.pairs import PairLook, Pairs
from seaway.core.evidence.predictions import Predictions
from seaway.core.evidence.streams import Look
from seaway.core.evidence.swings import Swings
from seaway.core.evidence.units import Slowness
from seaway.core.ledger import Counts, PairCounts, Sparse
from seaway.core.rollouts import margins
from seaway.core.rollouts.baseline import Baseline, size, spread, spread_of
from seaway.core.rollouts.spec import RolloutCheck

_HALF_BIN: Final = float(2.0 ** (0.5 / ledger.LATENCY_BINS_PER_OCTAVE))
_WRONG: Final = 0.1
"""The first guess of the share of wrong answers."""
Past = tuple[ledger.Second, ...]


class Heard(msgspec.Struct, frozen=True):
    """One second of both arms: units of its verdicts, and pairs. `warm` says that latency counts in it."""

    at_s: float
    candidate: Counts
    stable: Counts
    pairs: PairCounts = PairCounts()
    warm: bool = True


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test of two streams: `name` says of what. `slowness` holds its thresholds where it is of times, `cap_s` its cap
    where it is of costs. `sides` is which verdicts it has a say in. `waiting` is a look that began at `since_s`."""

    name: str
    arms: Arms
    slowness: Slowness | None = None
    cap_s: float | None = None
    sides: Literal["both", "fail", "pass"] = "both"
    waiting: Look | None = None
    since_s: float = 0.0


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="rates"):
    """A check of rates. Its parts share the evidence of harm, and all of them must pass; none before they are learned."""

    parts: tuple[Part, ...] = ()


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="answers"):
    """A check of answers or confidences; `found` is None until the groups are learned."""

    found: Predictions | None = None
    candidate: tuple[int, ...] = ()
    stable: tuple[int, ...] = ()
    since_s: float = 0.0
    rows_each: float = 1.0
    """A look that waits, since when, and the most answered rows of one request in any of its seconds, on average."""


class Mirrored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="mirrored"):
    """A check of mirrored requests; `failed` ones are among those that differ, `dropped` ones are no pairs."""

    found: Pairs
    failed: int = 0
    dropped: int = 0


class Paired(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="paired"):
    """A check of labelled requests that were mirrored; of `lost` ones, which were drawn too, no mirrored answer is kept.
    `swings` is how they hang together."""

    found: Pairs
    lost: int = 0
    swings: Swings = Swings()


Process = Rates | Answers | Mirrored | Paired


def begin(check: RolloutCheck, baseline: Baseline, past: Past, at_s: float) -> Process:
    """Before the first look, or after those that the baseline was learned from; `past` are the stable's seconds before."""
    name = check.check
    if name == "agreement":
        return Mirrored(pairs.begin(pairs.Disagreement(margins.tolerance_of(check)), at_s))
    if name == "shadow_quality":
        rule = pairs.Labelled(margins.margin_of(check).extra, check.strict)
        return Paired(pairs.begin(rule, at_s))
    if name == "predictions" or name == "confidence":
        return _begin_answers(check, baseline, past, at_s)
    if name == "latency":
        return Rates(_begin_times(check, baseline, past, at_s))
    if name == "cost":
        return Rates(_begin_cost(check, baseline, past, at_s))
    if name == "errors" or name == "rejections":
        look = units.errors if name == "errors" else units.rejections
        counts = baseline.counts
        rate = baseline.rate(counts.bad if name == "errors" else counts.rejected)
        begun = arms.begin(_rule(check, rate), at_s, spread_of(past, look))
        return Rates((Part(name, begun),))
    return Rates((Part(name, arms.begin(_rule(check, _WRONG), at_s)),))


def begun(process: Process) -> bool:
    """Whether it tests; else it learns."""
    match process:
        case Rates(parts=parts):
            return bool(parts)
        case Answers(found=found):
            return found is not None
        case Mirrored() | Paired():
            return True


def seen(process: Process, check: RolloutCheck, heard: Heard) -> Process:
    """With one more second. Checks of labels have `labelled` and `paired` instead."""
    match process:
        case Rates(parts=parts):
            if check.check in ("quality", "outcome") or (check.check == "latency" and not heard.warm):
                return process
            return Rates(tuple(_shown(part, _look(part, check, heard)) for part in parts))
        case Answers(found=found) if found is not None:
            return _answered(process, found, check, heard)
        case Mirrored():
            return _mirrored(process, heard)
    return process


def labelled(process: Process, look: Look | None, fault: str | None) -> Process:
    """With the labels that came, None where none did; `fault` is what is wrong with their source now."""
    if not isinstance(process, Rates):
        return process
    fed = (part if look is None or fault is not None else _shown(part, look) for part in process.parts)
    if look is None or fault is not None:
        fed = (
            msgspec.structs.replace(part, arms=msgspec.structs.replace(part.arms, fault=fault))
            for part in fed
        )
    return Rates(tuple(fed))


def paired(process: Process, look: PairLook | None, lost: int, fault: str | None) -> Process:
    """With labelled pairs, as `labelled`; `lost` more labels came whose mirrored answer is not there."""
    if not isinstance(process, Paired):
        return process
    found = process.found
    if look is not None and fault is None:
        # The time of a look says when late starts are paid in, and nothing else: a clock that stands loses no label.
        look = msgspec.structs.replace(look, at_s=max(look.at_s, math.nextafter(found.at_s, math.inf)))
        known = swings.closed(process.swings, look.at_s)
        found = pairs.seen(msgspec.structs.replace(found, cluster=swings.divisor(known)), look)
        return Paired(found, process.lost + lost, swings.seen(known, look))
    if found.fault != fault:
        found = msgspec.structs.replace(found, fault=fault)
    return Paired(found, process.lost + lost, process.swings)


def next_step(process: Process) -> Process:
    """The pass side begins anew, and looks that wait are dropped: the share changes."""
    match process:
        case Rates(parts=parts):
            return Rates(
                tuple(
                    msgspec.structs.replace(part, arms=arms.next_step(part.arms), waiting=None)
                    for part in parts
                )
            )
        case Answers(found=found):
            return Answers(None if found is None else predictions.next_step(found))
        case Mirrored(found=found) | Paired(found=found):
            return msgspec.structs.replace(process, found=pairs.next_step(found))


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
    rate = _capped(baseline.counts.cost, cap_s) / size(baseline.counts.cost) / cap_s
    mean = arms.begin(_rule(check, rate), at_s, spread_of(past, lambda at, c, s: _costs(at, cap_s, c, s)))
    above = arms.begin(
        Rule(slowness.margin, rate=slowness.rate),
        at_s,
        spread_of(past, lambda at, c, s: _dear(at, slowness, c, s)),
    )
    return Part("mean", mean, cap_s=cap_s), Part("p99", above, slowness)


def _begin_answers(check: RolloutCheck, baseline: Baseline, past: Past, at_s: float) -> Answers:
    groups = baseline.answers() if check.check == "predictions" else baseline.confidence()
    if groups is None:
        return Answers()
    found = predictions.begin(
        groups,
        at_s,
        margin=margins.tolerance_of(check),
        past=spread(past, lambda counts: _grouped(check, groups, counts)),
    )
    return Answers(found)


def _rule(check: RolloutCheck, rate: float) -> Rule:
    return Rule(margins.margin_of(check), strict=check.strict, rate=rate)


def _look(part: Part, check: RolloutCheck, heard: Heard) -> Look:
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
        case "cost" if part.cap_s is not None:
            return _costs(heard.at_s, part.cap_s, heard.candidate, heard.stable)
    raise AssertionError(f"{check.check} has no part {part.name}")


def _costs(at_s: float, cap_s: float, candidate: Counts, stable: Counts) -> Look:
    return means.capped(
        at_s,
        cap_s,
        (size(candidate.cost), _capped(candidate.cost, cap_s)),
        (size(stable.cost), _capped(stable.cost, cap_s)),
    )


def _capped(costs: Sparse, cap_s: float) -> float:
    """The sum of costs, each at most the cap."""
    return sum(min(ledger.edge_s(index) * _HALF_BIN, cap_s) * count for index, count in costs)


def _dear(at_s: float, slowness: Slowness, candidate: Counts, stable: Counts) -> Look:
    """Requests that cost more than the threshold."""
    return Look(
        at_s,
        size(candidate.cost),
        ledger.slower(candidate.cost, slowness.candidate_bin),
        size(stable.cost),
        ledger.slower(stable.cost, slowness.stable_bin),
    )


def _shown(part: Part, look: Look) -> Part:
    """Fed with a look, once there is something of both arms in it."""
    if look.fault() is not None:
        return msgspec.structs.replace(part, arms=arms.seen(part.arms, look))
    if look.candidate == 0 and look.stable == 0 and part.waiting is None:
        return part
    whole, since_s, due = units.gathered(part.waiting, part.since_s, look)
    if due:
        return msgspec.structs.replace(part, arms=arms.seen(part.arms, whole), waiting=None)
    return msgspec.structs.replace(part, waiting=whole, since_s=since_s)


def _answered(process: Answers, found: Predictions, check: RolloutCheck, heard: Heard) -> Answers:
    candidate = _plus(process.candidate, _grouped(check, found.groups, heard.candidate))
    stable = _plus(process.stable, _grouped(check, found.groups, heard.stable))
    waits = bool(process.candidate or process.stable)
    if not sum(candidate) and not sum(stable):
        return process
    since_s = process.since_s if waits else heard.at_s
    cluster = process.rows_each
    if check.check == "predictions":
        cluster = max(cluster, _rows_each(heard.candidate), _rows_each(heard.stable))
    if (sum(candidate) and sum(stable)) or heard.at_s - since_s >= units.WAIT_S:
        return Answers(predictions.seen(found, heard.at_s, candidate, stable, cluster))
    return Answers(found, candidate, stable, since_s, cluster)


def _grouped(check: RolloutCheck, groups: predictions.Groups, counts: Counts) -> tuple[int, ...]:
    if check.check == "predictions":
        return predictions.grouped(groups, dict(counts.answers))
    return predictions.binned(groups, counts.confidence)


def _rows_each(counts: Counts) -> float:
    """Answered rows of one request: they belong together."""
    answered = counts.finished - counts.failed - counts.refused - counts.rejected - counts.cancelled
    return max(1.0, counts.rows / answered) if answered > 0 else 1.0


def _mirrored(process: Mirrored, heard: Heard) -> Mirrored:
    told = heard.pairs
    found = process.found
    if told.same or told.differ or told.failed:
        found = pairs.seen(found, PairLook(heard.at_s, told.differ + told.failed, 0, told.same))
    return Mirrored(found, process.failed + told.failed, process.dropped + told.dropped)


def _plus(waiting: tuple[int, ...], more: tuple[int, ...]) -> tuple[int, ...]:
    return more if not waiting else tuple(int(n) for n in np.add(waiting, more))
