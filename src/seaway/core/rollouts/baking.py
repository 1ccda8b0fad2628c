"""The bake: the candidate has all traffic, so its errors are compared with the stable's before. A weaker claim. Pure."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from seaway.core.checks import Verdict
from seaway.core.evidence import detectors, words
from seaway.core.evidence.detectors import Bake
from seaway.core.evidence.streams import Margin
from seaway.core.ledger import Counts
from seaway.core.rollouts.judgement import CheckJudgement

FEWEST: Final = 200
"""Requests of the stable revision below which its past is no measure; then only the hard floors watch the bake."""


class Baking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`found` is None where too little is known of the past; units and bad ones are the candidate's in the bake."""

    found: Bake | None
    units: int = 0
    bad: int = 0


def begin(units: float, bad: float, margin: Margin, divisor: float) -> Baking:
    """After the last step: `units` of the stable, of which `bad`, over the past and the rollout."""
    if units < FEWEST:
        return Baking(None)
    # Three standard deviations of a Poisson count above what was seen.
    upper = (bad + 3.0 * math.sqrt(bad + 1.0) + 3.0) / units
    limit = min(margin.ratio * upper + margin.extra, 0.99)
    return Baking(Bake(limit, divisor=max(1.0, divisor)))


def seen(baking: Baking, counts: Counts) -> Baking:
    """With one more second of the candidate; an alarm stays."""
    found = None if baking.found is None else detectors.seen(baking.found, counts.finished, counts.bad)
    return Baking(found, baking.units + counts.finished, baking.bad + counts.bad)


def judge(baking: Baking) -> CheckJudgement:
    """`failed` at an alarm; else `inconclusive`: a bake passes by its time alone."""
    found = baking.found
    alarmed = found is not None and found.alarmed_at_look is not None
    return CheckJudgement(
        check="errors",
        verdict=Verdict.FAILED if alarmed else Verdict.INCONCLUSIVE,
        words=_words(baking, alarmed),
        gating=False,
        on_failure="rollback",
        weight=0.0,
        log_fail=0.0 if found is None else max(found.logs),
        log_pass=0.0,
        candidate=baking.units,
        candidate_bad=baking.bad,
        margin=None if found is None else found.limit,
    )


def _words(baking: Baking, alarmed: bool) -> str:
    if baking.units == 0:
        return "errors: no request is counted yet since the candidate has all traffic"
    said = f"since it has all traffic the candidate has {words.percent(baking.bad / baking.units)} errors on {baking.units:,} requests"
    if baking.found is None:
        return f"{said}; too little is known of the time before to compare it with"
    said += f", at most {words.percent(baking.found.limit)} is no alarm"
    return f"{said}; they have risen above it (a false alarm comes once a week or less)" if alarmed else said
