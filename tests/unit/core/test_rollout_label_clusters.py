"""The checks `quality` and `outcome`: labels that are wrong together, while nothing is known of how they hang together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seaway.core.evidence import units
from seaway.core.rollouts import processes
from seaway.core.rollouts.baseline import Baseline
from seaway.core.rollouts.processes import LabelLook, Rates
from seaway.core.rollouts.spec import RolloutCheck

CLUSTER, EACH_S = 8, 16


def failed(seed: int, check: RolloutCheck, seconds: int = 70) -> bool:
    """Whether labels of both arms, 15 % wrong and eight neighbours of one arm alike, ever fail the check."""
    draw = np.random.default_rng(seed)
    found = processes.begin(check, Baseline(), (), 0.0)
    for second in range(seconds):
        wrong = draw.random(EACH_S // CLUSTER) < 0.15
        ours = draw.random(EACH_S // CLUSTER) < 0.5
        candidate, stable = (np.repeat(wrong[arm], CLUSTER).astype(float).tolist() for arm in (ours, ~ours))
        look = units.labels(second + 1.0, candidate, stable)
        found = processes.labelled(found, check, LabelLook(look, look))
        assert isinstance(found, Rates)
        if found.parts[0].arms.log_fail >= math.log(20):
            return True
    return False


@pytest.mark.parametrize(
    "check",
    [RolloutCheck("quality"), RolloutCheck("quality", strict=True), RolloutCheck("outcome", good="1")],
)
def test_the_first_minute_is_taken_for_clusters(check: RolloutCheck) -> None:
    """Else 36 % of healthy rollouts fail within it; so 1 to 2 % of them do in ten minutes (300 runs)."""
    assert sum(failed(seed, check) for seed in range(10)) <= 1
