"""How many labels a check of labels takes, told before a rollout: from what is known of the stable revision's. Called by plans."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from seaway.control.rollouts import past_labels
from seaway.core.evidence.combining import ALPHA_PASS
from seaway.core.evidence.wealth import PASS_ODDS
from seaway.core.rollouts import margins
from seaway.core.rollouts.spec import CheckName, RolloutCheck

FEWEST: Final = 100
"""Labels that are enough to say anything."""
_BETTER: Final = 2.0
"""Where a gain is wanted: how many times that the candidate is supposed to bring."""


class PastLabels(msgspec.Struct, frozen=True):
    """What the stable revision's labels were before: how many, the mean of how bad they are (0 to 1), and its variance."""

    count: int
    mean: float
    variance: float


def past(
    records: Path, endpoint: str, stable: int, now_s: float, checks: Iterable[RolloutCheck]
) -> dict[CheckName, PastLabels]:
    """Of each check of labels whose labels are known. Blocking; raises as `monitor.feedback.reading`."""
    found: dict[CheckName, PastLabels] = {}
    for check in checks:
        bad = [loss for _, loss in past_labels.losses(records, endpoint, stable, now_s, check)]
        if len(bad) >= FEWEST:
            found[check.check] = PastLabels(len(bad), float(np.mean(bad)), float(np.var(bad)))
    return found


def needed(check: RolloutCheck, known: PastLabels, share: float) -> int | None:
    """About how many of the candidate's labels it takes to pass, at this share of the traffic (more than 0, less than 1), one
    that is as good as the stable revision, or better by twice the gain that is wanted; None where nothing varies, or where
    no candidate could have that gain.

    As the bet that fits best would need, in the normal approximation: an order of magnitude.
    """
    margin = margins.margin_of(check)
    candidate = known.mean
    if check.gain is not None:
        line = margins.margin_of(msgspec.structs.replace(check, gain=_times(check)))
        candidate = max(0.0, line.ratio * known.mean + line.extra)
    apart = margin.ratio * known.mean + margin.extra - candidate
    if known.variance <= 0 or apart <= 0:
        return None
    bits = math.log(1 / ALPHA_PASS) + math.log(len(PASS_ODDS))
    units = 2 * bits * known.variance / (1 - share) / apart**2
    return math.ceil(float(f"{units:.2g}"))


def _times(check: RolloutCheck) -> str:
    return f"{min(99.0, 100 * _BETTER * (check.gain_share or 0.0)):g}%"
