"""From evidence to verdicts: one false-alarm rate for a rollout over all its checks, steps and looks.

The weighted mean of e-processes is one, whatever the checks have to do with each other (Vovk, Wang, arXiv 1912.06116). So
a rollout fails where it reaches 1/alpha; it may be promoted where every gating check has passed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from seaway.core.checks import Verdict

ALPHA_FAIL: Final = 0.05
ALPHA_PASS: Final = 0.05


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one check stands: log E of its fail side now, the highest of its pass side in this step.

    `weight` is its share of alpha; an advisory check has 0 and decides nothing. `fault` is why it is broken: a silent or
    impossible metric. `units` are the candidate's in this step.
    """

    check: str
    weight: float
    log_fail: float
    peak_pass: float
    units: float
    fault: str | None = None


def verdict_of(one: Standing, alpha_fail: float, alpha_pass: float, guard: str | None = None) -> Verdict:
    """The verdict of one check at its share of alpha. `guard` is which guard has tripped: then nothing is believed.

    Harm that is certain beats a metric that broke later; nothing passes without data.
    """
    # An advisory check is judged as if it were alone, and decides nothing.
    weight = one.weight if one.weight > 0 else 1.0
    if guard is not None:
        return Verdict.ERRORED
    if math.isnan(one.log_fail) or math.isnan(one.peak_pass):
        return Verdict.ERRORED
    if math.log(weight) + one.log_fail >= -math.log(alpha_fail):
        return Verdict.FAILED
    if one.fault is not None:
        return Verdict.ERRORED
    if one.units > 0 and one.peak_pass >= -math.log(alpha_pass):
        return Verdict.PASSED
    return Verdict.INCONCLUSIVE


def log_sum(standings: Sequence[Standing]) -> float:
    """log of the weighted sum of the evidence of harm; minus infinity where nothing has weight.

    Evidence that is no number is left out: that can only lower the sum, and hides no harm that others are certain of.
    """
    logs = [
        math.log(one.weight) + one.log_fail
        for one in standings
        if one.weight > 0 and not math.isnan(one.log_fail)
    ]
    if not logs:
        return -math.inf
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))


def loudest(standings: Sequence[Standing]) -> str:
    """The check with most evidence of harm, by its weight. Raises ValueError where nothing has weight."""
    sound = [one for one in standings if one.weight > 0 and not math.isnan(one.log_fail)]
    return max(sound, key=lambda one: math.log(one.weight) + one.log_fail).check
