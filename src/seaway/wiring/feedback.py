"""Feedback put together, for the one process that holds HOME/lock: the control process, or a verb without a server."""

from __future__ import annotations

import functools
from pathlib import Path

from seaway.control.feedback import Feedback
from seaway.core.ports import Clock
from seaway.monitor import provenance_files
from seaway.monitor.outcomes import OutcomeRules, Outcomes
from seaway.monitor.outcomes_writer import OutcomeWriter
from seaway.monitor.quality import AnsweredPages


def open_feedback(
    records: Path,
    clock: Clock,
    answered: AnsweredPages | None = None,
    rules: OutcomeRules | None = None,
) -> Feedback:
    """The feedback of HOME/records; whoever opens it closes it. No file is opened before it is used."""
    lookup = functools.partial(provenance_files.lookup, records)
    outcomes = Outcomes(records, lookup, rules or OutcomeRules())
    return Feedback(OutcomeWriter(outcomes, clock), records, clock, answered)
