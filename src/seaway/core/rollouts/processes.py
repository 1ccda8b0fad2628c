"""The e-processes of one check, fed second by second with what both arms counted. Pure; `judging` holds one for each check.

`rates` has what checks of rates are made of.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from seaway.core.evidence import arms, pairs, predictions, swings, units
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.evidence.pairs import PairLook, Pairs
from seaway.core.evidence.predictions import Predictions
from seaway.core.evidence.streams import Look
from seaway.core.evidence.swings import Swings
from seaway.core.ledger import Counts
from seaway.core.rollouts import margins, rates
from seaway.core.rollouts.baseline import Baseline, spread
from seaway.core.rollouts.rates import Heard, Part, Past
from seaway.core.rollouts.spec import RolloutCheck


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
    """A check of mirrored requests; `failed` ones are among those that differ, `dropped` ones are no pairs. `swings` is how
    they hang together."""

    found: Pairs
    failed: int = 0
    dropped: int = 0
    swings: Swings = Swings()


class Paired(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="paired"):
    """A check of labelled requests that were mirrored; of `lost` ones, which were drawn too, no mirrored answer is kept.
    `swings` is how they hang together."""

    found: Pairs
    lost: int = 0
    swings: Swings = Swings()


class LabelPast(msgspec.Struct, frozen=True):
    """The stable revision's labels from before: how they hang together, and how much one varies (`Arms.variance`)."""

    dispersion: Dispersion
    variance: float


class LabelLook(msgspec.Struct, frozen=True):
    """What came since the look before, of labels; None where nothing came, or was not asked for.

    `fault` says why labels cannot be believed, `outcome_fault` why those of the outcome cannot. Of a KPI `cap` is what the
    outcome's look counts in shares of, and `below` how many values less than 0 counted as 0. The first look tells the past.
    """

    quality: Look | None = None
    outcome: Look | None = None
    fault: str | None = None
    outcome_fault: str | None = None
    cap: float | None = None
    below: int = 0
    quality_past: LabelPast | None = None
    outcome_past: LabelPast | None = None


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
    return Rates(rates.begin(check, baseline, past, at_s))


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
            return Rates(tuple(rates.shown(part, rates.look_of(part, check, heard)) for part in parts))
        case Answers(found=found) if found is not None:
            return _answered(process, found, check, heard)
        case Mirrored():
            return _mirrored(process, heard)
    return process


def labelled(process: Process, check: RolloutCheck, told: LabelLook) -> Process:
    """With the labels that came for this check."""
    if not isinstance(process, Rates):
        return process
    look, fault, past = told.quality, told.fault, told.quality_past
    if check.check == "outcome":
        look, fault, past = told.outcome, told.fault or told.outcome_fault, told.outcome_past
    if past is not None:
        process = Rates(tuple(_after(part, past) for part in process.parts))
    if fault is not None or look is None:
        # A fault that is over is forgotten, also where nothing came.
        fed = (
            msgspec.structs.replace(part, arms=msgspec.structs.replace(part.arms, fault=fault))
            for part in process.parts
        )
        return Rates(tuple(fed))
    shown = tuple(rates.shown(part, look) for part in process.parts)
    if check.kpi is None or told.cap is None:
        return Rates(shown)
    return Rates(tuple(msgspec.structs.replace(one, cap=told.cap, below=told.below) for one in shown))


def _after(part: Part, past: LabelPast) -> Part:
    found = msgspec.structs.replace(part.arms, dispersion=past.dispersion, variance=past.variance)
    return msgspec.structs.replace(part, arms=found) if part.arms.looks == 0 else part


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
    found, known = process.found, process.swings
    if told.same or told.differ or told.failed:
        look = PairLook(heard.at_s, told.differ + told.failed, 0, told.same)
        known = swings.closed(known, look.at_s)
        to_fail, to_pass = swings.divisor(known), swings.divisor_to_pass(known, heard.by_user)
        found = pairs.seen(msgspec.structs.replace(found, cluster=to_fail, cluster_pass=to_pass), look)
        known = swings.seen(known, look)
    return Mirrored(found, process.failed + told.failed, process.dropped + told.dropped, known)


def _plus(waiting: tuple[int, ...], more: tuple[int, ...]) -> tuple[int, ...]:
    return more if not waiting else tuple(int(n) for n in np.add(waiting, more))
