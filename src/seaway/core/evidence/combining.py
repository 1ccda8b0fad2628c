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


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all checks say together. `cause` is the check with most evidence of harm, where the rollout failed."""

    verdict: Verdict
    log_evidence: float
    verdicts: tuple[tuple[str, Verdict], ...]
    cause: str | None = None


def equal_weights(gating: int) -> float:
    """The share of each gating check."""
    return 1.0 / gating if gating else 0.0


def decide(
    standings: Sequence[Standing],
    *,
    alpha_fail: float = ALPHA_FAIL,
    alpha_pass: float = ALPHA_PASS,
    guard: str | None = None,
) -> Decision:
    """The verdicts of one look. `guard` is which guard has tripped: then nothing is believed.

    A failed verdict holds from then on, so the caller latches it. Harm that was certain beats a metric that broke later;
    nothing passes without data. Raises ValueError where the weights sum to more than 1.
    """
    if sum(one.weight for one in standings) > 1 + 1e-9 or any(one.weight < 0 for one in standings):
        raise ValueError("weights are not negative, and sum to at most 1")
    verdicts = tuple((one.check, verdict_of(one, alpha_fail, alpha_pass, guard)) for one in standings)
    gating = [one for one in standings if one.weight > 0]
    # Evidence that is no number is left out: that can only lower the sum, and hides no harm that others are certain of.
    total = log_sum(standings)
    if guard is not None:
        return Decision(Verdict.ERRORED, total, verdicts)
    if total >= -math.log(alpha_fail):
        return Decision(Verdict.FAILED, total, verdicts, loudest(standings))
    found = {dict(verdicts)[one.check] for one in gating}
    if Verdict.ERRORED in found:
        return Decision(Verdict.ERRORED, total, verdicts)
    passed = found == {Verdict.PASSED}
    return Decision(Verdict.PASSED if passed else Verdict.INCONCLUSIVE, total, verdicts)


def verdict_of(one: Standing, alpha_fail: float, alpha_pass: float, guard: str | None = None) -> Verdict:
    """The verdict of one check at its share of alpha."""
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
    """log of the weighted sum of the evidence of harm; minus infinity where nothing has weight."""
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
