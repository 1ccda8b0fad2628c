"""What each check of a rollout tolerates: from the options that users write to the margins of `core.evidence`. Pure.

`judging` tests against them; plans and docs show them.
"""

from __future__ import annotations

from typing import Final

from seaway.core.evidence.streams import Axis, Margin, on_axis
from seaway.core.rollouts.spec import CheckName, RolloutCheck
from seaway.core.sections import percent

_RELATIVE: Final[dict[CheckName, float]] = {"errors": 0.2, "rejections": 0.2, "cost": 0.1}
_POINTS: Final[dict[CheckName, float]] = {"quality": 0.01, "shadow_quality": 0.01, "outcome": 0.01}
_OF_A_KPI: Final = 0.05
_PLUS: Final = 0.002
_TAIL: Final = 0.0025
_SLOWER: Final = ((0.5, 0.1, 0.0), (0.99, 0.2, _TAIL))
"""Quantile, harm on the axis of time, and the share of requests beyond it that is tolerated too: far out, where a tail is
flat, the times alone tell two equal revisions apart only after days."""
_SHARES: Final[dict[CheckName, float]] = {"predictions": 0.1, "confidence": 0.1, "agreement": 0.05}
COST_CAP: Final = 0.99
"""The quantile of the stable's costs before the rollout that caps every cost."""


def margin_of(check: RolloutCheck) -> Margin:
    """The line `ratio * stable + extra` that the candidate's rate of bad units may reach.

    Of `errors`, `rejections`, `cost` and a KPI (relative harm), `quality`, `shadow_quality` and `outcome` (harm in points). A
    wanted gain is harm below nothing. Latency tolerates harm on the axis of time instead, see `slower_by`. Raises KeyError for
    checks that compare answers.
    """
    axis = axis_of(check)
    if axis != "points":
        return on_axis(axis, harm_of(check))
    if check.check in _POINTS:
        return Margin(1.0, harm_of(check))
    harm = _harm(check)
    relative = _RELATIVE[check.check] if harm is None else harm
    if check.check == "cost":
        return Margin(1.0 + relative, 0.0)
    return Margin(1.0 + relative, _PLUS if check.plus is None else percent(check.plus) / 100)


def harm_of(check: RolloutCheck) -> float:
    """Of a check of labels, in points, or for a KPI as a share of the stable's; below 0 it is the gain that is wanted."""
    if check.gain_share is not None:
        return -check.gain_share
    return _harm(check) or (_POINTS[check.check] if check.kpi is None else _OF_A_KPI)


def axis_of(check: RolloutCheck) -> Axis:
    """The scale on which harm is told."""
    if check.kpi is None:
        return "points"
    return "more" if check.better == "lower" else "less"


def slower_by(check: RolloutCheck) -> tuple[tuple[float, float, float], ...]:
    """The quantiles that are compared, by which factor each may be above the stable's, and which share of requests more may
    lie beyond it; of `latency` and `cost`."""
    harm = _harm(check)
    if check.check == "cost":
        return ((COST_CAP, margin_of(check).ratio, _TAIL),)
    said = None if check.plus is None else percent(check.plus) / 100
    return tuple(
        (q, 1.0 + (default if harm is None else harm), plus if said is None else said)
        for q, default, plus in _SLOWER
    )


def tolerance_of(check: RolloutCheck) -> float:
    """The share of answers that may move (`predictions`, `confidence`) or differ (`agreement`)."""
    harm = _harm(check)
    return _SHARES[check.check] if harm is None else harm


def _harm(check: RolloutCheck) -> float | None:
    """None where the default stands: `strict` with a harm of 0 says nothing of what may pass."""
    return check.harm_share or None
