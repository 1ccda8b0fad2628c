"""A KPI as evidence: what the business figures of feedback say of both arms of a rollout, look by look. Used by `labels`.

A value counts between 0 and a cap, so that one large order decides nothing. The cap is the user's, else the 99th percentile of
the stable revision's values above 0 from before the rollout; where those are too few it is learned from the first ones in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from seaway.core.evidence import guards, units
from seaway.core.evidence.guards import SampleRatio
from seaway.core.evidence.streams import Look
from seaway.core.rollouts.spec import RolloutCheck
from seaway.monitor.feedback import arrivals
from seaway.monitor.feedback.arrivals import Arrived

FEWEST: Final = 100
"""Values above 0 of the stable revision, from which the cap is taken."""
MOST_PAST: Final = 10_000
_CAP_QUANTILE: Final = 0.99


class FigureCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a KPI is known. `cap` is None while it is learned from `values`; `below` values that counted were less than 0."""

    cap: float | None = None
    values: tuple[float, ...] = ()
    below: int = 0
    guard: SampleRatio = SampleRatio()


class FigureLook(msgspec.Struct, frozen=True):
    """What came since the look before, and on which scale: bad is what lacks to the `cap` (where lower is better: the value
    itself), as a share of it."""

    look: Look
    cap: float
    below: int


def begin(records: Path, endpoint: str, stable: int, started_s: float, check: RolloutCheck) -> FigureCursor:
    """Before the first look. Blocking; raises as `monitor.feedback.outcomes`."""
    if check.cap is not None or check.kpi is None:
        return FigureCursor(check.cap)
    past = arrivals.past_figures(records, endpoint, stable, started_s, MOST_PAST, check.kpi)
    return _learned(FigureCursor(), [value for _, value in past])


def seen(
    cursor: FigureCursor,
    check: RolloutCheck,
    found: list[Arrived],
    candidate: int,
    percent: float,
    now_s: float,
) -> tuple[FigureLook | None, FigureCursor]:
    """With the KPIs that came; None where none counts. What the cap is learned from, and what came with it, does not."""
    firsts = [one for one in found if one.first and isinstance(one.truth, float)]
    ours = sum(one.revision == candidate for one in firsts)
    watched = guards.assigned(cursor.guard, percent / 100, ours, len(firsts))
    cursor = msgspec.structs.replace(cursor, guard=watched)
    if cursor.cap is None:
        stable = [_number(one) for one in firsts if one.revision != candidate]
        return None, _learned(cursor, [*cursor.values, *stable])
    if not firsts:
        return None, cursor
    cap, below = cursor.cap, cursor.below + sum(_number(one) < 0 for one in firsts)
    arms: dict[bool, list[float]] = {True: [], False: []}
    for one in firsts:
        arms[one.revision == candidate].append(lacking(_number(one), cap, check))
    look = FigureLook(units.labels(now_s, arms[True], arms[False]), cap, below)
    return look, msgspec.structs.replace(cursor, below=below)


def lacking(value: float, cap: float, check: RolloutCheck) -> float:
    """How bad a value is, 0 to 1."""
    share = min(max(value, 0.0), cap) / cap
    return share if check.better == "lower" else 1.0 - share


def cap_of(values: Sequence[float]) -> float:
    """From which value on one counts no more: the 99th percentile; also of the errors of numbers, see `labels`.

    Raises ValueError on none.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[math.ceil(_CAP_QUANTILE * len(values)) - 1]


def _learned(cursor: FigureCursor, values: list[float]) -> FigureCursor:
    """With a cap once there are enough values above 0; those of 0 and less say nothing of how large one is."""
    above = [value for value in values if value > 0]
    if len(above) < FEWEST:
        return msgspec.structs.replace(cursor, values=tuple(above))
    return msgspec.structs.replace(cursor, cap=cap_of(above), values=())


def _number(one: Arrived) -> float:
    assert isinstance(one.truth, float)
    return one.truth
