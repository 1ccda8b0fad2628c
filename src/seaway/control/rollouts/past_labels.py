"""How bad the stable revision's labels were before a rollout: for its first look, and for plans. Blocking."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from seaway.control.rollouts import figures, labels
from seaway.control.rollouts.labels import LabelsAsked
from seaway.core.errors import SeawayError
from seaway.core.evidence import dispersion, means
from seaway.core.evidence.dispersion import Dispersion
from seaway.core.rollouts.processes import LabelLook, LabelPast
from seaway.core.rollouts.spec import RolloutCheck
from seaway.monitor.feedback import arrivals


def losses(
    records: Path, endpoint: str, stable: int, until_s: float, check: RolloutCheck
) -> list[tuple[float, float]]:
    """When each of the latest labels came, and how bad it was (0 to 1), in the order in which they came; of requests that were
    answered before `until_s`. Empty of checks that have no labels, and where too few are known to tell a cap.

    Raises as `monitor.feedback.reading`.
    """
    of = records, endpoint, stable, until_s
    if check.kpi is not None:
        cap = figures.begin(*of, check).cap
        values = [] if cap is None else arrivals.past_figures(*of, figures.MOST_PAST, check.kpi)
        found = [(at_s, figures.lacking(value, cap or 1.0, check)) for at_s, value in values]
    elif check.check == "outcome":
        told = arrivals.past_outcomes(*of, labels.MOST_ERRORS)
        found = [(one.received_s, float(not labels.is_good(one.value, check.good or ""))) for one in told]
    elif check.check == "quality":
        found = _wrong(of)
    else:
        return []
    return sorted(found)


def with_past(
    look: LabelLook, records: Path, asked: LabelsAsked, checks: Iterable[RolloutCheck]
) -> LabelLook:
    """A rollout's first look, with how the labels of `checks` hung together before. Where that cannot be read it begins with
    caution, as where nothing is known."""
    of = records, asked.endpoint, asked.stable, asked.started_s
    try:
        found = {check.check: known(*of, check) for check in checks}
    except SeawayError:
        return look
    return msgspec.structs.replace(look, quality_past=found.get("quality"), outcome_past=found.get("outcome"))


def known(records: Path, endpoint: str, stable: int, until_s: float, check: RolloutCheck) -> LabelPast | None:
    """How they hang together, by when they came; None where there were none. Raises as `losses`."""
    found = losses(records, endpoint, stable, until_s, check)
    if not found:
        return None
    spread = Dispersion(cautious=True)
    for at_s, bad in found:
        spread = dispersion.seen(spread, at_s, (), (bad, 1.0 - bad))
    return LabelPast(spread, means.variance([bad for _, bad in found]))


def _wrong(of: tuple[Path, str, int, float]) -> list[tuple[float, float]]:
    told = [one for one in arrivals.past_outcomes(*of, labels.MOST_ERRORS) if one.truth is not None]
    cap = labels.past_cap(*of)
    if cap is None and any(isinstance(one.answer, float) for one in told):
        return []
    return [(one.received_s, labels.loss(one, cap)) for one in told]
