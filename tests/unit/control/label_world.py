"""A home's outcomes as the checks `quality` and `outcome` read them, look by look."""

from __future__ import annotations

from pathlib import Path

import msgspec
from outcome_lookups import Lookup, Made, answered

from seaway.control.rollouts.labels import LabelCursor, Labels, LabelsAsked
from seaway.core.evidence.streams import Look
from seaway.core.feedback import Fact
from seaway.core.provenance import AnsweredBy
from seaway.core.rollouts.processes import LabelLook
from seaway.monitor.feedback.outcomes import OutcomeRules, Outcomes

BEGAN_S = 1_800_000_000.0
STABLE, CANDIDATE = 4, 5
ASKED = LabelsAsked("prices", CANDIDATE, STABLE, BEGAN_S, BEGAN_S + 10.5, 50.0)


class World:
    """Requests that were answered, and what is told of them."""

    def __init__(self, records: Path) -> None:
        self.lookup = Lookup()
        self.outcomes = Outcomes(records, self.lookup, OutcomeRules())
        self.labels = Labels(records)
        self.cursor: LabelCursor | None = None
        self.now_s = BEGAN_S + 20.0

    def answer(
        self,
        name: str,
        *answers: str | float,
        by: int = STABLE,
        after_s: float = 12.0,
        unit: bool = True,
        endpoint: str = "prices",
    ) -> None:
        """One request, answered `after_s` after the rollout began."""
        subject = AnsweredBy(endpoint, by, "sha256:" + "a" * 64)
        self.lookup.made[name] = Made(answered(*answers).rows, at_s=BEGAN_S + after_s, by=subject, unit=unit)

    def known(self, outcome: str, answer: str | float = "up") -> None:
        """An outcome that the stable revision's requests had before the rollout."""
        self.answer("before", answer, after_s=-100.0)
        self.tell(("before", outcome))

    def tell(self, *facts: tuple[str, str] | tuple[str, str, int], name: str = "") -> None:
        """Outcomes as (request, value) or (request, value, row)."""
        self.now_s += 1
        found = [Fact(one[0], one[2] if len(one) > 2 else 0, name, one[1], None, None, None) for one in facts]
        self.outcomes.add([found], self.now_s)

    def look(self, asked: LabelsAsked = ASKED) -> LabelLook:
        """The next look, its cursor stored as JSON in between."""
        self.now_s += 1
        stored = msgspec.json.encode(self.cursor)
        known = msgspec.json.decode(stored, type=LabelCursor | None)
        found, self.cursor = self.labels.look(asked, known, self.now_s)
        return found


def counts(look: Look | None) -> tuple[float, float, float, float] | None:
    """(candidate, wrong ones, stable, wrong ones)"""
    if look is None:
        return None
    return look.candidate, look.candidate_bad, look.stable, look.stable_bad
