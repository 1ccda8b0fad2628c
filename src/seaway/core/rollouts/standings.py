"""Where each check of a rollout stands, and its share of the rollout's false alarms. Pure; for `judging` and `verdicts`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seaway.core.evidence.combining import Standing
from seaway.core.evidence.wealth import log_mean_exp
from seaway.core.rollouts.processes import Answers, Mirrored, Paired, Process, Rates
from seaway.core.rollouts.spec import Rollout, RolloutCheck


def weight_of(spec: Rollout, check: RolloutCheck, accepted: Sequence[str]) -> float:
    """A check's share of alpha: equal ones over the whole rollout; none where it is advisory or was accepted.

    What an accepted check had is lost: to hand it on would be to choose by outcome.
    """
    if check.advisory or check.check in accepted:
        return 0.0
    return 1.0 / sum(not one.advisory for one in spec.all_checks)


def of(process: Process, name: str, weight: float) -> Standing:
    """Where a check stands. Its parts share the evidence of harm, and the least sure of them speaks for no harm."""
    match process:
        case Rates(parts=parts) if parts:
            failing = [part.arms for part in parts if part.sides != "pass"]
            passing = [part.arms for part in parts if part.sides != "fail"]
            logs = np.array([one.log_fail for one in failing])
            units = min(min(one.step.candidate, one.step.stable) for one in passing)
            fault = next((one.fault for one in (*failing, *passing) if one.fault is not None), None)
            peak = min(one.peak_pass for one in passing)
            return Standing(name, weight, float(log_mean_exp(logs)), peak, units, fault)
        case Answers(found=found) if found is not None:
            units = found.step_units if found.step_weight > 0 else 0
            return Standing(name, weight, found.log_fail, found.peak_pass, units, found.fault)
        case Mirrored(found=pairs) | Paired(found=pairs):
            return Standing(name, weight, pairs.log_fail, pairs.peak_pass, sum(pairs.step), pairs.fault)
    return Standing(name, weight, 0.0, 0.0, 0)
