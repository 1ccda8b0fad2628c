"""Labels as evidence: what outcomes say of both arms of a rollout, look by look. Called by `control.rollouts.analysis`.

Why arms may be compared by the labels that come in one look: the share of the traffic is the same for all requests that
are counted (those answered since the step's share began), and which arm answered one was drawn by a hash that knows
nothing of it. So as long as the arm has no say in whether and when a label comes, the requests that are labelled in a
look are a random split of one crowd, as old in one arm as in the other, however late labels are. Whether labels come in
the share of the split is watched (`core.evidence.guards.SampleRatio`): where they do not, nothing is concluded from them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import msgspec

from seaway.control.rollouts import figures
from seaway.control.rollouts.figures import FigureCursor
from seaway.core import feedback
from seaway.core.errors import SeawayError
from seaway.core.evidence import guards, units
from seaway.core.evidence.guards import SampleRatio
from seaway.core.evidence.streams import Look
from seaway.core.rollouts.processes import LabelLook
from seaway.core.rollouts.spec import RolloutCheck
from seaway.monitor.feedback import arrivals
from seaway.monitor.feedback.arrivals import Arrived, PastOutcome

FEWEST_ERRORS: Final = 100
"""Labels of the stable revision's numbers, from which the cap of a loss is taken."""
MOST_ERRORS: Final = 10_000
LOST: Final = "outcomes.db is not the one that was counted before: labels are lost"
_NAMED: Final = 5
"""Outcomes that are named where none is the wanted one."""
_LONGEST: Final = 40


class LabelsAsked(msgspec.Struct, frozen=True):
    """Of which rollout. `since_s` is when the present share of `percent` began, `started_s` when the rollout did.

    `quality` asks how often (how far) both arms were wrong; `outcome` what that check does, None asks for nothing.
    """

    endpoint: str
    candidate: int
    stable: int
    started_s: float
    since_s: float
    percent: float
    quality: bool = True
    outcome: RolloutCheck | None = None


class LabelCursor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far labels are counted. Stored in the same write as the evidence that they went into, a kill at any point
    neither counts a label twice nor loses one.

    `number` is that of the last fact looked at, `since_s` the step that `guard` watches. `cap` is the error of a number that
    counts as a loss of 1; None while it is learnt from `errors`. `figure` is of a KPI; `met` says whether any outcome was the
    wanted one, `others` are names of those that were not.
    """

    number: int
    since_s: float = 0.0
    cap: float | None = None
    errors: tuple[float, ...] = ()
    guard: SampleRatio = SampleRatio()
    figure: FigureCursor = FigureCursor()
    met: bool = False
    others: tuple[str, ...] = ()


class Labels:
    """The outcomes of HOME/records. Blocking, one thread at a time; keeps nothing between calls."""

    def __init__(self, records: Path) -> None:
        self._records = records

    def look(
        self, asked: LabelsAsked, cursor: LabelCursor | None, now_s: float
    ) -> tuple[LabelLook, LabelCursor | None]:
        """The labels that came after `cursor`, at most `arrivals.MOST`, and where the next look goes on; None begins with
        the rollout's first.

        A request counts once, with its first labelled row, in the look in which that came; only requests that were units
        (sent by the split and, where it is sticky, the first of their user), answered in whole seconds since `since_s`. Where
        outcomes cannot be read now, `fault` says so, and the cursor stays. Never raises `SeawayError`.
        """
        kpi = None if asked.outcome is None else asked.outcome.kpi
        try:
            cursor = cursor or self._begin(asked)
            page = arrivals.after(
                self._records,
                cursor.number,
                asked.endpoint,
                (asked.candidate, asked.stable),
                math.ceil(asked.since_s),
                kpi=kpi or "",
            )
        except SeawayError as error:
            return LabelLook(fault=f"outcomes cannot be read: {error.message}"), cursor
        if page.last < cursor.number:
            return LabelLook(fault=LOST), cursor
        if cursor.since_s != asked.since_s:
            cursor = _at_step(cursor, asked.since_s)
        outcomes = [one for one in page.found if not one.name]
        judged = [one for one in outcomes if one.first_judged] if asked.quality else []
        cap, errors, counted = learnt(cursor.cap, cursor.errors, judged, asked.stable)
        guard = cursor.guard if kpi and not asked.quality else _watched(cursor.guard, asked, outcomes)
        cursor = msgspec.structs.replace(cursor, number=page.through, guard=guard, cap=cap, errors=errors)
        losses = [(one.revision, loss(one, cursor.cap)) for one in counted]
        found = LabelLook(quality=_look(asked, losses, now_s), fault=_unequal(cursor.guard))
        if asked.outcome is None:
            return found, cursor
        if kpi:
            return _figured(found, asked, asked.outcome, cursor, page.found, now_s)
        return _wanted(found, asked, asked.outcome.good or "", cursor, outcomes, now_s)

    def _begin(self, asked: LabelsAsked) -> LabelCursor:
        both = (asked.candidate, asked.stable)
        number = arrivals.before(self._records, asked.endpoint, both, asked.started_s)
        cap = past_cap(self._records, asked.endpoint, asked.stable, asked.started_s)
        begun = LabelCursor(number, asked.since_s, cap)
        past = self._records, asked.endpoint, asked.stable, asked.started_s
        check = asked.outcome
        if check is None:
            return begun
        if check.kpi is not None:
            return msgspec.structs.replace(begun, figure=figures.begin(*past, check))
        known = arrivals.past_outcomes(*past, MOST_ERRORS)
        return msgspec.structs.replace(begun, met=any(is_good(one.value, check.good or "") for one in known))


def loss(label: Arrived | PastOutcome, cap: float | None) -> float:
    """How wrong an answer was, in [0, 1]: of a class all or nothing, of a number its error as a share of the cap."""
    if isinstance(label.answer, str) or isinstance(label.truth, str):
        return float(label.answer != label.truth)
    return share_of(error_of(label), cap)


def share_of(error: float, cap: float | None) -> float:
    """An error as a loss in [0, 1]; without a cap, or with one of 0, every error is a loss of 1."""
    return min(error, cap) / cap if cap else float(error > 0)


def past_cap(records: Path, endpoint: str, stable: int, started_s: float) -> float | None:
    """The cap by the stable revision's labels from before the rollout; None where they are too few. Blocking; raises as
    `monitor.feedback.outcomes`."""
    errors = arrivals.past_errors(records, endpoint, stable, started_s, MOST_ERRORS)
    return figures.cap_of(errors) if len(errors) >= FEWEST_ERRORS else None


def learnt(
    cap: float | None, errors: tuple[float, ...], judged: list[Arrived], stable: int
) -> tuple[float | None, tuple[float, ...], list[Arrived]]:
    """The cap, the errors that it is still learnt from, and what of the labels is counted: classes always, numbers once a
    cap is known. Those that it is learnt from, and those that came in the same look, are not."""
    if cap is not None:
        return cap, (), judged
    numbers = [one for one in judged if not isinstance(one.answer, str)]
    errors = (*errors, *(error_of(one) for one in numbers if one.revision == stable))
    classes = [one for one in judged if isinstance(one.answer, str)]
    if len(errors) < FEWEST_ERRORS:
        return None, errors, classes
    return figures.cap_of(errors), (), classes


def is_good(value: str, good: feedback.Outcome) -> bool:
    """Whether an outcome's text is the wanted one; 1, 1.0, "1" and true are the same."""
    wanted = feedback.outcome_text(good)
    number = feedback.as_number(wanted)
    return value == wanted or (number is not None and feedback.as_number(value) == number)


def error_of(label: Arrived | PastOutcome) -> float:
    """How far a number is from what came true."""
    return abs(float(label.answer or 0.0) - float(label.truth or 0.0))


def _watched(guard: SampleRatio, asked: LabelsAsked, found: list[Arrived]) -> SampleRatio:
    labelled = [one for one in found if one.first]
    candidate = sum(one.revision == asked.candidate for one in labelled)
    return guards.assigned(guard, asked.percent / 100, candidate, len(labelled))


def _at_step(cursor: LabelCursor, since_s: float) -> LabelCursor:
    """The share of the split is another from here on."""
    figure = msgspec.structs.replace(cursor.figure, guard=SampleRatio())
    return msgspec.structs.replace(cursor, since_s=since_s, guard=SampleRatio(), figure=figure)


def _wanted(
    found: LabelLook,
    asked: LabelsAsked,
    good: feedback.Outcome,
    cursor: LabelCursor,
    outcomes: list[Arrived],
    now_s: float,
) -> tuple[LabelLook, LabelCursor]:
    """With how often the outcome was not the wanted one.

    Until it was once, nothing counts: a name that no outcome ever has would make both arms equally bad, and so good enough. The
    look in which it first came does not count either: it decides when the test begins, and a body may be sorted by its outcomes,
    so that what stands behind the first is no fair part of it.
    """
    firsts = [one for one in outcomes if one.first]
    if not cursor.met:
        if any(is_good(one.value, good) for one in firsts):
            return found, msgspec.structs.replace(cursor, met=True, others=())
        others = tuple(sorted({*cursor.others, *(one.value for one in firsts)})[:_NAMED])
        cursor = msgspec.structs.replace(cursor, others=others)
        said = ", ".join(repr(name[:_LONGEST]) for name in others)
        fault = f"no outcome was {good!r} yet, but {said}" if others else None
        return msgspec.structs.replace(found, outcome_fault=fault), cursor
    bad = [(one.revision, float(not is_good(one.value, good))) for one in firsts]
    return msgspec.structs.replace(found, outcome=_look(asked, bad, now_s)), cursor


def _figured(
    found: LabelLook,
    asked: LabelsAsked,
    check: RolloutCheck,
    cursor: LabelCursor,
    came: list[Arrived],
    now_s: float,
) -> tuple[LabelLook, LabelCursor]:
    """With what came of the KPI."""
    of_kpi = [one for one in came if one.name]
    look, figure = figures.seen(cursor.figure, check, of_kpi, asked.candidate, asked.percent, now_s)
    cursor = msgspec.structs.replace(cursor, figure=figure)
    found = msgspec.structs.replace(found, outcome_fault=_unequal(figure.guard))
    if look is None:
        return found, cursor
    return msgspec.structs.replace(found, outcome=look.look, cap=look.cap, below=look.below), cursor


def _unequal(guard: SampleRatio) -> str | None:
    if not guard.tripped:
        return None
    expected = guard.expected / guard.assigned
    return (
        f"{guard.candidate:,} of {guard.assigned:,} labelled requests are the candidate's, its share is {expected:.3g}: "
        "whether a label comes depends on which revision answered"
    )


def _look(asked: LabelsAsked, losses: list[tuple[int, float]], now_s: float) -> Look | None:
    """One look of the losses (0 to 1) by revision; None of none."""
    if not losses:
        return None
    candidate = [value for revision, value in losses if revision == asked.candidate]
    stable = [value for revision, value in losses if revision == asked.stable]
    return units.labels(now_s, candidate, stable)
