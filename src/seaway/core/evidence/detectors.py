"""After promotion only one arm is left: a CUSUM of evidence against the past. A weaker claim than a canary's.

Shin, Ramdas, Rinaldo (arXiv 2203.03532): the mean number of looks to a false alarm is at least `looks_between`; this is
no probability, and times of day are not cancelled.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np

from seaway.core.evidence import wealth
from seaway.core.evidence.pairs import odds_gains

ODDS: Final = np.array((1.25, 1.5, 2.0, 3.0, 5.0, 10.0))
"""The rates that are bet on, as multiples of the odds at the limit."""
A_WEEK_OF_SECONDS: Final = 604_800


class Bake(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`limit` is the highest rate that is no alarm: of the hours before the rollout, plus the margin."""

    limit: float
    looks_between: int = A_WEEK_OF_SECONDS
    divisor: float = 1.0
    logs: tuple[float, ...] = (0.0,) * len(ODDS)
    looks: int = 0
    alarmed_at_look: int | None = None


def seen(bake: Bake, units: int, bad: int) -> Bake:
    """With one more look; an alarm stays."""
    if units == 0:
        return msgspec.structs.replace(bake, looks=bake.looks + 1)
    gained = odds_gains(bake.limit, ODDS, bad, units - bad) / bake.divisor
    # A CUSUM never falls below where it would start anew: the logs before this look are held at 0 at least.
    logs = np.maximum(np.array(bake.logs), 0.0) + gained
    alarm = float(wealth.log_mean_exp(logs)) >= math.log(bake.looks_between)
    looks = bake.looks + 1
    first = bake.alarmed_at_look if bake.alarmed_at_look is not None else (looks if alarm else None)
    return msgspec.structs.replace(bake, logs=tuple(logs.tolist()), looks=looks, alarmed_at_look=first)
